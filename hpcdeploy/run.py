"""One submission and its known state: plain frozen values."""

import secrets
from dataclasses import replace
from enum import Enum
from functools import cached_property

from hpcdeploy.cluster import SchedulerName
from hpcdeploy.frozen import frozen


class State(Enum):
    """The state of a task, with Slurm's names (also for HTCondor); `TERMINAL` lists all states in which a task has finished.

    ``UNKNOWN`` means that the scheduler could not be queried, or that it reported a state which this version does not know.
    It never counts as finished.
    """

    SUBMITTING = "SUBMITTING"
    PENDING = "PENDING"
    HELD = "HELD"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    COMPLETING = "COMPLETING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    NODE_FAIL = "NODE_FAIL"
    PREEMPTED = "PREEMPTED"
    UNKNOWN = "UNKNOWN"


TERMINAL = frozenset(
    {
        State.COMPLETED,
        State.FAILED,
        State.CANCELLED,
        State.TIMEOUT,
        State.OUT_OF_MEMORY,
        State.NODE_FAIL,
        State.PREEMPTED,
    }
)

UNREAD = "its row cannot be read: "
"""Prefix of a task's reason if the scheduler's output for it is malformed; the quoted row follows."""

NEVER_BEGAN = "the program never began: the image's environment script ended first"
"""Reason of a task that is FAILED although its container exited with 0."""


@frozen
class TaskStatus:
    """The state of one task of a run.

    Attributes:
        task: The number of the task.
        state: Its state.
        word: The scheduler's own word for the state.
        reason: The scheduler's own reason.
        exit_code: The exit code; None if unknown. 128 + n: killed by signal n.
        node: The node.
        started: Start time in seconds since 1970; 0 if unknown.
        ended: End time in seconds since 1970; 0 if unknown.
        code: HTCondor's number for a hold, such as ``"34.102"`` (HoldReasonCode, HoldReasonSubCode).
        expected: Start time that the scheduler expects, in seconds since 1970; 0 if unknown.
        restarts: How often the task was restarted.
    """

    task: int
    state: State
    word: str = ""
    reason: str = ""
    exit_code: int | None = None
    node: str = ""
    started: int = 0
    ended: int = 0
    code: str = ""
    expected: int = 0
    restarts: int = 0

    @property
    def unread(self) -> bool:
        """Tell whether the scheduler's output for it is malformed, so that a later query may succeed."""
        return self.state is State.UNKNOWN and self.reason.startswith(UNREAD)

    @property
    def lost(self) -> bool:
        """Tell whether the scheduler no longer has the task and no end was recorded: its state will remain unknown."""
        return self.state is State.UNKNOWN and self.reason.startswith("gone ")


def numbered(status: TaskStatus, task: int) -> TaskStatus:
    """Return `status` with the number `task`.

    It is the same object if the number is already right, because copying thousands is slow.
    """
    return status if status.task == task else replace(status, task=task)


@frozen
class Part:
    """A scheduler job that is a run or one of its array chunks: job id, job name, first task, number of tasks."""

    job_id: str
    name: str
    first: int
    tasks: int


@frozen
class Run:
    """One submission.

    Attributes:
        id: The run's id, which is also its job name in the scheduler.
        job: The name of its job.
        cluster: The name of the cluster.
        scheduler: The scheduler.
        image: The image.
        sha256: The checksum of the image.
        tasks: The number of tasks.
        command: The command.
        submitted: Submission time in seconds since 1970.
        job_id: The scheduler's job id; empty until it is known. If a site's limit splits the run into array chunks, all
            their ids, separated by commas.
        part: The number of tasks in each array chunk but the last; 0 for a single job.
        repeats: The id of the run whose tasks this one repeats.
        folder: The run's folder on the cluster.
        workdir: The job's working folder.
        outputs: The job's patterns of files to download.
        code_sha256: The checksum of its code snapshot.
        code_commit: The commit that git reported for the code.
        code_dirty: The files differed from that commit; None if git did not report it.
        project: The folder of its project, without links; empty if it was not recorded.
    """

    id: str
    job: str
    cluster: str
    scheduler: SchedulerName
    image: str
    sha256: str
    tasks: int
    command: tuple[str, ...]
    submitted: int
    job_id: str = ""
    part: int = 0
    repeats: str = ""
    folder: str = ""
    workdir: str = ""
    outputs: tuple[str, ...] = ()
    code_sha256: str = ""
    code_commit: str = ""
    code_dirty: bool | None = False
    project: str = ""

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Return the run's scheduler jobs in the order of their tasks; empty before the submission."""
        size = self.part or self.tasks
        return tuple(
            Part(
                job_id=job_id,
                name=f"{self.id}.{place * size}" if place else self.id,
                first=place * size,
                tasks=min(size, self.tasks - place * size),
            )
            for place, job_id in enumerate(filter(None, self.job_id.split(",")))
        )


@frozen
class RunStatus:
    """A run with the state of each of its tasks; ``asked`` is the time of the query in seconds since 1970."""

    run: Run
    tasks: tuple[TaskStatus, ...]
    asked: int

    @property
    def ended(self) -> bool:
        """Tell whether every task has finished."""
        return len(self.tasks) == self.run.tasks and all(task.state in TERMINAL for task in self.tasks)

    @property
    def unsure(self) -> bool:
        """Tell whether it is unknown if the run has a job: its submission was interrupted, or is still in progress."""
        return not self.run.job_id and not self.ended

    @property
    def alive(self) -> bool:
        """Tell whether the run has a job and has not ended, so that its scheduler can be queried."""
        return bool(self.run.job_id) and not self.ended

    @cached_property
    def over(self) -> frozenset[int]:
        """Return the finished tasks, which need no further queries. It is cached, because it is read once per task."""
        return frozenset(task.task for task in self.tasks if task.state in TERMINAL)

    @cached_property
    def state(self) -> State:
        """Return the state of the whole run: unfinished states win over finished ones, and failures over success."""
        present = {task.state for task in self.tasks}
        return next((state for state in _MOST_IMPORTANT_FIRST if state in present), State.UNKNOWN)

    @property
    def exit_code(self) -> int | None:
        """Return the first task's exit code that is not 0, else 0; None until the run ended. A failure without one is 1."""
        if not self.ended:
            return None
        codes = (
            task.exit_code if task.exit_code is not None else int(task.state is not State.COMPLETED) for task in self.tasks
        )
        bad = (task for task in self.tasks if task.state is not State.COMPLETED)
        return next((code for code in codes if code), 1 if next(bad, None) else 0)


_MOST_IMPORTANT_FIRST = (
    State.UNKNOWN,
    State.SUBMITTING,
    State.RUNNING,
    State.COMPLETING,
    State.SUSPENDED,
    State.HELD,
    State.PENDING,
    State.NODE_FAIL,
    State.OUT_OF_MEMORY,
    State.TIMEOUT,
    State.FAILED,
    State.PREEMPTED,
    State.CANCELLED,
    State.COMPLETED,
)


def new_run_id(job: str) -> str:
    """Return the id of a new run: the job's name and 40 random bits, short enough for a job name in every scheduler."""
    return f"{job[:40]}-{secrets.token_hex(5)}"
