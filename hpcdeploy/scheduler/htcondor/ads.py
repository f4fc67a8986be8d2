"""Parse ClassAds from the ``-json`` output of HTCondor's programs."""

from collections.abc import Mapping
from typing import Any

from hpcdeploy.errors import SchedulerError
from hpcdeploy.json_text import read_json


def read_ads(text: str, program: str) -> list[Mapping[str, Any]]:
    """Return the ads in the output of `program`; empty output means no ads.

    Raises:
        SchedulerError: The output is not a JSON list of ads.
    """
    try:
        ads = read_json(text) if text.strip() else []
    except ValueError as error:
        raise SchedulerError(f"{program} printed {text.strip()[:200]!r}, which is not JSON ({error}); try again") from error
    if not isinstance(ads, list) or not all(isinstance(ad, dict) for ad in ads):
        raise SchedulerError(f"{program} printed {text.strip()[:200]!r}; expected a JSON list of ads; try again")
    return ads
