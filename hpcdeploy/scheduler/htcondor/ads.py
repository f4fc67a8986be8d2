"""Parse ClassAds from the ``-json`` output of HTCondor's programs."""

from collections.abc import Callable, Mapping
from typing import Any

from hpcdeploy.errors import SchedulerError
from hpcdeploy.json_text import MOST, read_json
from hpcdeploy.run import TaskStatus
from hpcdeploy.scheduler.answers import Rows, shown
from hpcdeploy.whole_number import LARGEST, whole_number

Ad = Mapping[str, Any]
"""One ad: its attributes by name. Their values are unchecked."""

_BYTES_OF_A_VALUE = 8
"""Minimum length in bytes of a value or key: condor_q prints each attribute on its own line of 20 bytes or more."""


def read_ads(text: str, program: str) -> list[object]:
    """Return the elements of the list that `program` printed, unchecked; empty output means no ads.

    Raises:
        SchedulerError: The output is not a JSON list.
    """
    try:
        ads = read_json(text, most=max(MOST, len(text) // _BYTES_OF_A_VALUE)) if text.strip() else []
    except ValueError as error:
        raise SchedulerError(f"{program} printed {text.strip()[:200]!r}, which is not JSON ({error}); try again") from error
    if not isinstance(ads, list):
        raise SchedulerError(f"{program} printed {text.strip()[:200]!r}; expected a JSON list of ads; try again")
    return ads


def read_rows(text: str, program: str, read_ad: Callable[[str, Ad], TaskStatus | None]) -> Rows:
    """Parse the ads in the output of `program` as tasks.

    They are grouped by the number of their job, or of the DAGMan job that submitted it.

    Args:
        text: The output.
        program: The name of the program, for messages.
        read_ad: Returns the task for this number and an ad, or None if there is none. It raises `ValueError` for a
            malformed ad.

    Raises:
        SchedulerError: The output is not a JSON list.
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
    """Return the attribute `name` of an ad; 0 if there is none.

    Raises:
        ValueError: It is not a whole number from 0 to `most`.
    """
    number = whole_number(ad.get(name, 0), most)
    if number is None:
        raise ValueError(name)
    return number
