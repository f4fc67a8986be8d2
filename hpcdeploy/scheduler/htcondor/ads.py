"""ClassAds as HTCondor's programs print them with ``-json``."""

from collections.abc import Mapping
from typing import Any

from hpcdeploy.errors import SchedulerError
from hpcdeploy.json_text import MOST, read_json

_BYTES_OF_A_VALUE = 8
"""Bytes of text for a value or key: condor_q writes each attribute on a line of its own, of 20 bytes or more."""


def read_ads(text: str, program: str) -> list[Mapping[str, Any]]:
    """Return the ads in the output of `program`; nothing at all means none. `SchedulerError` where it is something else."""
    try:
        ads = read_json(text, most=max(MOST, len(text) // _BYTES_OF_A_VALUE)) if text.strip() else []
    except ValueError as error:
        raise SchedulerError(f"{program} answered {text.strip()[:200]!r}, which is no JSON ({error}); try again") from error
    if not isinstance(ads, list) or not all(isinstance(ad, dict) for ad in ads):
        raise SchedulerError(f"{program} answered {text.strip()[:200]!r}, where a list of ads was expected; try again")
    return ads
