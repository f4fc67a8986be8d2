"""Define the interface of a scheduler, and split a script's output into sections. Nothing here runs a program."""

import sys
from collections.abc import Mapping, Sequence
from typing import Protocol

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import SchedulerError
from hpcdeploy.frozen import frozen
from hpcdeploy.job import Job
from hpcdeploy.run import Run, TaskStatus

_JSON = frozenset({"sacct_json", "condor_q", "condor_history"})
"""The names of sections that contain JSON."""

_MOST = 10_000
"""Maximum number of sections in one output.

The largest expected output has 1001 sections: two streams for each of 500 tasks, and one more (`hpcdeploy.flows.logs`).
"""

_LONGEST_MARK = 200
"""Maximum length in bytes of a marker line after its fence: ``begin`` or ``end``, the section's name, the exit status."""


@frozen
class Answer:
    """The decoded output of one command on the login node, and the command's exit code."""

    text: str
    exit_code: int


_LONGEST_ROW = 200
"""Maximum number of characters of a malformed row in a message."""

Answers = dict[str, Answer]
"""Answers by section name (``squeue``, ``sacct``, ``records``, ``condor_q``, ``events``)."""


@frozen
class Rows:
    """The parsed rows of one section.

    Attributes:
        found: Task states by job id.
        unread: One malformed row for each job id. If even the job id of a row is malformed, the row is under the empty id,
            because it may belong to any job.
    """

    found: Mapping[str, list[TaskStatus]]
    unread: Mapping[str, str]

    def __getitem__(self, job_id: str) -> list[TaskStatus]:
        """Return the task states of a job.

        Raises:
            KeyError: The section has no row of this job.
        """
        return self.found[job_id]

    def unread_of(self, job_id: str) -> str:
        """Return a malformed row that may belong to the job; empty for none."""
        return self.unread.get(job_id) or self.unread.get("", "")


NO_ROWS = Rows(found={}, unread={})


def shown(row: object) -> str:
    """Return the first 200 characters of a malformed row, quoted, for a message."""
    return repr(row if isinstance(row, str) else str(row)[:_LONGEST_ROW])[:_LONGEST_ROW]


@frozen
class Section:
    """The undecoded output of one command on the login node, and the command's exit code."""

    content: bytes
    exit_code: int


def read_answers(output: bytes, fence: str, *needed: str, lines: int = sys.maxsize) -> Answers:
    """Split `output` at the markers that contain `fence`, and decode its sections.

    Bytes that are not UTF-8 become surrogates (PEP 383).

    Args:
        output: The output of the follow script.
        fence: The unpredictable word in its markers.
        *needed: The names of required sections.
        lines: Maximum number of lines in a section. Sections with JSON are exempt, because the JSON parser limits them.

    Raises:
        SchedulerError: No section is complete, a required section is missing or incomplete, or a section has more than
            `lines` lines.
    """
    sections = read_sections(output, fence, *needed)
    for name, one in sections.items():
        if name not in _JSON and one.content.count(b"\n") > lines:
            raise SchedulerError(
                f"the login node's output has {name} with more than {lines} lines, too many for the queried runs; "
                "check what that command prints there"
            )
    return {
        name: Answer(text=one.content.decode("utf-8", "surrogateescape"), exit_code=one.exit_code)
        for name, one in sections.items()
    }


def read_sections(output: bytes, fence: str, *needed: str) -> dict[str, Section]:
    """Split `output` at the markers that contain `fence`; text outside of sections is ignored (output of login shells).

    A section begins after ``HPCDEPLOY FENCE begin NAME`` and ends before a line ``HPCDEPLOY FENCE end NAME STATUS``. Other
    text may precede a begin marker in its line, because a login profile may have printed text without a line break.

    Args:
        output: The output of the follow script.
        fence: The unpredictable word in its markers.
        *needed: The names of required sections.

    Raises:
        SchedulerError: No section is complete, or a required section is missing or incomplete.
    """
    mark = f"HPCDEPLOY {fence} ".encode()
    found: dict[str, Section] = {}
    section, start, place = "", 0, -1
    # The output is read in one pass for any number of markers, because the login node knows the fence and may print many.
    while len(found) < _MOST and (place := output.find(mark, place + 1)) >= 0:
        line_end = output.find(b"\n", place, place + len(mark) + _LONGEST_MARK)
        line = output[place + len(mark) : line_end if line_end >= 0 else place + len(mark) + _LONGEST_MARK]
        match line.decode("utf-8", "replace").split(" "):
            case ["begin", name] if name and line_end >= 0:
                section, start = name, line_end + 1
            case ["end", name, status] if section == name and _is_status(status) and output[place - 1 : place] == b"\n":
                found[name] = Section(content=output[start : place - 1], exit_code=int(status))
                section = ""
    missing = [name for name in needed if name not in found]
    if missing or not found:
        ending = output[-2000:].decode("utf-8", "surrogateescape").strip()
        raise SchedulerError(
            f"the login node's output has no complete section {' or '.join(missing) or 'at all'}; it ends with: "
            + (ending[-500:] or "(nothing)")
        )
    return found


def _is_status(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 3


class Scheduler(Protocol):
    """Interface of one scheduler, implemented by `hpcdeploy.scheduler.slurm` and `hpcdeploy.scheduler.htcondor`."""

    @property
    def JOB_TEMPLATE(self) -> str:  # noqa: N802 - a constant of the module
        """The name of this scheduler's template for the file that is submitted."""

    @property
    def SECTIONS(self) -> tuple[str, ...]:  # noqa: N802 - a constant of the module
        """The names of the sections that the follow script always prints."""

    def job_values(self, job: Job, cluster: Cluster, run_id: str) -> Mapping[str, object]:
        """Return the template values that only this scheduler's templates use.

        Args:
            job: The job.
            cluster: The cluster that runs it.
            run_id: The id of the run.

        Raises:
            ConfigError: The scheduler does not support a setting of the job.
        """

    def follow_values(self) -> Mapping[str, str]:
        """Return the template values that only this scheduler's follow script uses."""

    def explain(self, status: TaskStatus) -> str:
        """Return why a task waits, is held or failed, and what the user can do; empty if there is nothing to explain."""

    def states(self, answers: Answers, runs: Sequence[Run]) -> dict[str, tuple[TaskStatus, ...]]:
        """Parse the output of the follow script into the states of each run's tasks, by run id, in the order of the tasks.

        Raises:
            SchedulerError: A section is malformed as a whole. A malformed row in a section is not an error.
        """


def scheduler_of(name: SchedulerName) -> Scheduler:
    """Return the scheduler `name`; the other scheduler's module is not imported, to save start-up time."""
    match name:
        case "slurm":
            from hpcdeploy.scheduler import slurm

            return slurm
        case "htcondor":
            from hpcdeploy.scheduler import htcondor

            return htcondor
