"""The follow script's output, cut into the answers that stand in it."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from hpcdeploy.errors import SchedulerError
from hpcdeploy.run import TaskStatus

_JSON = frozenset({"sacct_json", "condor_q", "condor_history"})
"""Sections that hold JSON."""

_MOST = 10_000
"""Sections of one output: those of two streams of 500 tasks are 1001 (`hpcdeploy.flows.logs`)."""

_LONGEST_MARK = 200
"""Bytes of a section's name and exit status."""


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


@dataclass(frozen=True, kw_only=True)
class Section:
    """An answer as it came."""

    content: bytes
    exit_code: int


def read_answers(output: bytes, fence: str, *needed: str, lines: int = sys.maxsize) -> Answers:
    """Cut `output` at the marks that bear `fence`, as `read_sections` does; bytes that are no UTF-8 become surrogates.

    Raises `SchedulerError` also for a section of more than `lines` lines; JSON, which is limited where it is read, may have
    any number of them.
    """
    sections = read_sections(output, fence, *needed)
    for name, one in sections.items():
        if name not in _JSON and one.content.count(b"\n") > lines:
            raise SchedulerError(
                f"the login node's output has more than {lines} lines of {name}, which is more than there can be of the "
                "runs that were asked for; look at what that command prints there"
            )
    return {
        name: Answer(text=one.content.decode("utf-8", "surrogateescape"), exit_code=one.exit_code)
        for name, one in sections.items()
    }


def read_sections(output: bytes, fence: str, *needed: str) -> dict[str, Section]:
    """Cut `output` at the marks that bear `fence`; whatever login shells print outside of them is left out.

    A section begins behind ``HPCDEPLOY FENCE begin NAME``, and ends before a line ``HPCDEPLOY FENCE end NAME STATUS``. The
    first mark stands anywhere in a line: a profile may have printed text without a line break. Raises `SchedulerError`
    where not a single section came to its end, or one that is `needed` did not.
    """
    mark = f"HPCDEPLOY {fence} ".encode()
    found: dict[str, Section] = {}
    begun, start, place = "", 0, -1
    # One pass, whatever marks there are: the other side knows the fence.
    while len(found) < _MOST and (place := output.find(mark, place + 1)) >= 0:
        line_end = output.find(b"\n", place, place + len(mark) + _LONGEST_MARK)
        line = output[place + len(mark) : line_end if line_end >= 0 else place + len(mark) + _LONGEST_MARK]
        match line.decode("utf-8", "replace").split(" "):
            case ["begin", name] if name and line_end >= 0:
                begun, start = name, line_end + 1
            case ["end", name, status] if begun == name and _is_status(status) and output[place - 1 : place] == b"\n":
                found[name] = Section(content=output[start : place - 1], exit_code=int(status))
                begun = ""
    missing = [name for name in needed if name not in found]
    if missing or not found:
        ending = output[-2000:].decode("utf-8", "surrogateescape").strip()
        raise SchedulerError(
            f"the login node's output holds no complete section {' or '.join(missing) or 'at all'}; it ends with: "
            + (ending[-500:] or "(nothing)")
        )
    return found


def _is_status(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 3
