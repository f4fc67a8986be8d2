"""ClassAds as HTCondor's programs print them with ``-json``."""

from collections.abc import Callable, Mapping
from typing import Any

from hpcdeploy.errors import SchedulerError
from hpcdeploy.json_text import MOST, read_json
from hpcdeploy.run import TaskStatus
from hpcdeploy.scheduler.answers import Rows, shown
from hpcdeploy.whole_number import LARGEST, whole_number

Ad = Mapping[str, Any]
"""One ad: attributes by their names. What a value is has to be checked where it is used."""

_BYTES_OF_A_VALUE = 8
"""Bytes of text for a value or key: condor_q writes each attribute on a line of its own, of 20 bytes or more."""


def read_ads(text: str, program: str) -> list[object]:
    """Return the ads in the output of `program`; nothing at all means none. `SchedulerError` where it is no list.

    An element of the list that is no ad is returned too: it keeps nobody from the others.
    """
    try:
        ads = read_json(text, most=max(MOST, len(text) // _BYTES_OF_A_VALUE)) if text.strip() else []
    except ValueError as error:
        raise SchedulerError(f"{program} answered {text.strip()[:200]!r}, which is no JSON ({error}); try again") from error
    if not isinstance(ads, list):
        raise SchedulerError(f"{program} answered {text.strip()[:200]!r}, where a list of ads was expected; try again")
    return ads


def read_rows(text: str, program: str, read_ad: Callable[[str, Ad], TaskStatus | None]) -> Rows:
    """Read the ads in the output of `program` as tasks, by the number of their job: DAGMan's, of what DAGMan submitted.

    `read_ad` takes this number and the ad; None is what tells nothing, `ValueError` what cannot be read.
    """
    found: dict[str, list[TaskStatus]] = {}
    unread: dict[str, str] = {}
    for ad in read_ads(text, program):
        cluster = whole_number(ad.get("DAGManJobId", ad.get("ClusterId"))) if isinstance(ad, dict) else None
        number = "" if cluster is None else str(cluster)
        if not isinstance(ad, dict) or not number:
            unread[""] = shown(ad)
            continue
        try:
            status = read_ad(number, ad)
        except ValueError:
            unread[number] = shown(ad)
        else:
            found.setdefault(number, []).extend([status] if status else [])
    return Rows(found=found, unread=unread)


def number_in(ad: Ad, name: str, most: int = LARGEST) -> int:
    """Return the whole number, at most `most`, under `name`; 0 where there is none. Raises ValueError for another value."""
    number = whole_number(ad.get(name, 0), most)
    if number is None:
        raise ValueError(name)
    return number
