"""Define the interface of a scheduler, and the sections of command output that it parses. It never runs a program."""

import sys
from collections.abc import Mapping, Sequence
from typing import Protocol

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import SchedulerError
from hpcdeploy.frozen import frozen
from hpcdeploy.job import Job
from hpcdeploy.run import Run, TaskStatus

_JSON = frozenset({"sacct_json", "condor_q", "condor_history"})
"""Sections that hold JSON."""

_MOST = 10_000
"""Maximum number of sections in one output: two streams of 500 tasks are 1001 (`hpcdeploy.flows.logs`)."""

_LONGEST_MARK = 200
"""Maximum length in bytes of a section's name and exit status."""


@frozen
class Answer:
    """The output of one command on the login node, and its exit code."""

    text: str
    exit_code: int


_LONGEST_ROW = 200

Answers = dict[str, Answer]
"""Answers by section name (``squeue``, ``sacct``, ``records``, ``condor_q``, ``events``)."""


@frozen
class Rows:
    """The parsed rows of one section.

    Attributes:
        found: Task states by job id.
        unread: One malformed row for each job id. The empty id has a row whose job id is malformed too, so it may belong to
            any job.
    """

    found: Mapping[str, list[TaskStatus]]
    unread: Mapping[str, str]

    def __getitem__(self, job_id: str) -> list[TaskStatus]:
        """Return the task states of a job.

        Raises:
            KeyError: There are none.
        """
        return self.found[job_id]

    def unread_of(self, job_id: str) -> str:
        """Return a malformed row that may belong to the job; empty for none."""
        return self.unread.get(job_id) or self.unread.get("", "")


NO_ROWS = Rows(found={}, unread={})


def shown(row: object) -> str:
    """Return a malformed row for a message: quoted, and at most 200 characters of it."""
    return repr(row if isinstance(row, str) else str(row)[:_LONGEST_ROW])[:_LONGEST_ROW]


@frozen
class Section:
    """A section as received."""

    content: bytes
    exit_code: int


def read_answers(output: bytes, fence: str, *needed: str, lines: int = sys.maxsize) -> Answers:
    """Split `output` at the markers that contain `fence`, and decode its sections.

    Bytes that are not UTF-8 become surrogates.

    Args:
        output: The output of the follow script.
        fence: The unpredictable word in its markers.
        *needed: The names of required sections.
        lines: Maximum number of lines in a section. JSON is exempt, because its parser has a limit of its own.

    Raises:
        SchedulerError: No section is complete, a required one is not, or one has more than `lines` lines.
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
    """Split `output` at the markers that contain `fence`; output of login shells outside of them is ignored.

    A section begins after ``HPCDEPLOY FENCE begin NAME`` and ends before a line ``HPCDEPLOY FENCE end NAME STATUS``. The
    first marker may begin anywhere in a line, because a profile may have printed text without a line break.

    Args:
        output: The output of the follow script.
        fence: The unpredictable word in its markers.
        *needed: The names of required sections.

    Raises:
        SchedulerError: No section is complete, or a required one is not.
    """
    mark = f"HPCDEPLOY {fence} ".encode()
    found: dict[str, Section] = {}
    section, start, place = "", 0, -1
    # Only one pass, for any number of markers: the login node knows the fence and may print many.
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
        """Return the values for this scheduler's own templates.

        Args:
            job: The job.
            cluster: The cluster that runs it.
            run_id: The id of the run.

        Raises:
            ConfigError: The scheduler does not support a setting of the job.
        """

    def follow_values(self) -> Mapping[str, str]:
        """Return the values that only this scheduler's follow script needs."""

    def explain(self, status: TaskStatus) -> str:
        """Return why a task waits, is held or failed, and what the user can do; empty if there is nothing to explain."""

    def states(self, answers: Answers, runs: Sequence[Run]) -> dict[str, tuple[TaskStatus, ...]]:
        """Parse the output of the follow script into the states of each run's tasks, by run id, in the order of the tasks.

        Raises:
            SchedulerError: A section is malformed.
        """


def scheduler_of(name: SchedulerName) -> Scheduler:
    """Return the scheduler of that name, and import only its own module."""
    match name:
        case "slurm":
            from hpcdeploy.scheduler import slurm

            return slurm
        case "htcondor":
            from hpcdeploy.scheduler import htcondor

            return htcondor
