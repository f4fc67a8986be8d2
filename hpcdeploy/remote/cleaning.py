"""List and remove folders of ended runs and staged files on a cluster (``login/clean.sh``)."""

import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hpcdeploy import limits
from hpcdeploy.checked_values import LARGEST, whole_number
from hpcdeploy.errors import SchedulerError
from hpcdeploy.remote.scripts import cleaning
from hpcdeploy.remote.session import Session
from hpcdeploy.run import Run
from hpcdeploy.scheduler.answers import read_sections

BUSY = "busy"
"""The verdict on all staged files while a run may be in submission."""

_VERDICTS = frozenset({"free", "removed", "gone", "queued", "foreign", "named", "failed", BUSY})
_STAGED = re.compile(r"(?:code|inputs)/(?:[0-9a-f]{64}(?:\.tar|\.archive)?|\.[0-9a-f]{64}(?:\.[0-9]{1,20})?\.parcel)|-")
_KIB = 1024


@dataclass(frozen=True, kw_only=True)
class Item:
    """A run's folder or a staged file.

    Attributes:
        name: The run's id, or the path of the file below the cluster's root.
        verdict: ``free`` (can be removed), ``removed``, ``failed`` (removed in part), or why it stays: ``gone`` (it was not
            there), ``queued`` (a job of the run is in the queue), ``named`` (another run's files name it), ``foreign`` (it
            is not a run's folder of this user).
        size: Its size in bytes; 0 if it stays.
    """

    name: str
    verdict: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What can be removed from a cluster, or was.

    Attributes:
        runs: The folders of runs.
        staged: The staged files.
        busy: No staged file was examined, because a run may be in submission.
        errors: The script's standard error.
    """

    runs: Sequence[Item]
    staged: Sequence[Item]
    busy: bool = False
    errors: str = ""


def clean(session: Session, runs: Sequence[Run], staged: Sequence[str] | None, *, older_than: int) -> Cleaned:
    """Remove the folders of `runs`, which have ended, and `staged`; with None list only what can be removed.

    Raises:
        SchedulerError: Nothing was removed, or the answer cannot be read: a scheduler did not answer, or the root is unsafe.
        TransportError: The connection failed.
    """
    fence = secrets.token_hex(8)
    script = cleaning(session.cluster, runs, staged, fence, older_than=older_than, overrides=session.overrides)
    result = session.run(script, limit=limits.CLEANING)
    if result.exit_code:
        raise SchedulerError(f"{result.where}: {result.message}")
    sections = read_sections(result.stdout, fence, "runs", "staged")
    known = {run.id for run in runs}
    found = [one for one in read_items(sections["runs"].content) if one.name in known]
    others = [one for one in read_items(sections["staged"].content) if _STAGED.fullmatch(one.name)]
    return Cleaned(
        runs=tuple(found),
        staged=tuple(one for one in others if one.verdict != BUSY),
        busy=any(one.verdict == BUSY for one in others),
        errors=result.errors,
    )


def read_items(content: bytes) -> Iterator[Item]:
    """Yield the items in a section of the script's output; malformed lines are left out.

    Raises:
        SchedulerError: There are more than `hpcdeploy.limits.MOST_CLEANED`.
    """
    for number, line in enumerate(limits.text_lines(content.decode("utf-8", "replace"))):
        if number >= limits.MOST_CLEANED:
            raise SchedulerError(f"there are more than {limits.MOST_CLEANED} runs or staged files; clean with a greater age")
        verdict, _, rest = line.partition(" ")
        size, _, name = rest.partition(" ")
        kib = whole_number(size, LARGEST // _KIB)
        if verdict in _VERDICTS and kib is not None and name:
            yield Item(name=name, verdict=verdict, size=kib * _KIB)
