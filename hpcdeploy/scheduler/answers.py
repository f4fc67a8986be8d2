"""The follow script's output, cut into the answers that stand in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hpcdeploy.errors import SchedulerError
from hpcdeploy.run import TaskStatus


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one command on the login node said, and its exit status."""

    text: str
    exit_code: int


_LONGEST_ROW = 200

Answers = dict[str, Answer]
"""By the section's name (``squeue``, ``sacct``, ``records``, ``condor_q``, ``events``)."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What the rows of one answer tell.

    ``found`` are tasks by their job's number. ``unread`` are rows that cannot be read, one for each job; under the empty
    number stands one of which not even the job can be read, so that it may be any job's.
    """

    found: Mapping[str, list[TaskStatus]]
    unread: Mapping[str, str]

    def __getitem__(self, job_id: str) -> list[TaskStatus]:
        """Return what was told of a job."""
        return self.found[job_id]

    def unread_of(self, job_id: str) -> str:
        """Return the row that cannot be read and may be the job's; empty where there is none."""
        return self.unread.get(job_id) or self.unread.get("", "")


NO_ROWS = Rows(found={}, unread={})


def shown(row: object) -> str:
    """Return a row that cannot be read as a message shows it: quoted, and at most 200 characters of it."""
    return repr(row if isinstance(row, str) else str(row)[:_LONGEST_ROW])[:_LONGEST_ROW]


def read_answers(output: bytes, fence: str, *needed: str) -> Answers:
    """Cut `output` at the marks that bear `fence`; whatever login shells print outside of them is left out.

    A mark begins anywhere in a line: a profile may have printed text without a line break. Raises `SchedulerError` where
    not a single section came to its end, or one that is `needed` did not.
    """
    text = output.decode("utf-8", "surrogateescape")
    mark = f"HPCDEPLOY {re.escape(fence)}"
    pattern = re.compile(
        rf"{mark} begin (?P<name>\S+)\n(?P<text>.*?)\n{mark} end (?P=name) (?P<code>[0-9]{{1,3}})$", re.DOTALL | re.MULTILINE
    )
    found = {match["name"]: Answer(text=match["text"], exit_code=int(match["code"])) for match in pattern.finditer(text)}
    missing = [name for name in needed if name not in found]
    if missing or not found:
        raise SchedulerError(
            f"the login node's output holds no complete section {' or '.join(missing) or 'at all'}; it ends with: "
            + (text.strip()[-500:] or "(nothing)")
        )
    return found
