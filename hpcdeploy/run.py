"""Define a run, which is one submission of a job, and the last known state of its tasks."""

import secrets
from dataclasses import replace
from enum import Enum
from functools import cached_property

from hpcdeploy.cluster import SchedulerName
from hpcdeploy.frozen import frozen


class State(Enum):
    """The state of a task, with Slurm's names (also for HTCondor). A task has finished if its state is in `TERMINAL`.

    ``UNKNOWN`` means that the state could not be determined. For example, the scheduler no longer has the task, or reported
    a state that this version of hpcdeploy does not know. The task is then treated as unfinished.
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

LOST = "lost: no longer in the queue, and its end is not recorded"
"""Reason of a task whose state will stay unknown."""

_LOST_BEFORE = "gone "
"""Beginning of that reason in records of releases up to November 2026."""

UNREAD = "its row cannot be read: "
"""Prefix of a task's reason if the scheduler's output about the task is malformed. The malformed row follows."""

NEVER_BEGAN = "the program never began: the image's environment script ended first"
"""Reason of a task whose container exited with 0 although the program never started. The task's exit code is 125."""


@frozen
class TaskStatus:
    """The state of one task of a run.

    Attributes:
        task: The number of the task, from 0.
        state: The state of the task.
        word: The scheduler's own name of the state.
        reason: Why the task has this state, as reported by the scheduler or by hpcdeploy; empty if unknown.
        exit_code: The exit code of the program; None if unknown. 128 + N means that signal N killed the program.
        node: The name of the compute node; empty if unknown.
        started: Start time in seconds since 1970; 0 if unknown.
        ended: End time in seconds since 1970; 0 if unknown.
        code: HTCondor's codes for a hold, such as ``"34.102"`` (HoldReasonCode, HoldReasonSubCode); empty for none.
        expected: Start time that the scheduler expects, in seconds since 1970; 0 if unknown.
        restarts: The number of times that the task was restarted.
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
        """Tell whether the scheduler's output about the task was malformed. A later query may succeed."""
        return self.state is State.UNKNOWN and self.reason.startswith(UNREAD)

    @property
    def lost(self) -> bool:
        """Tell whether the state of the task will stay unknown.

        This is true if the scheduler no longer has the task, and the end of the task was not recorded.
        """
        return self.state is State.UNKNOWN and self.reason.startswith((LOST, _LOST_BEFORE))


def numbered(status: TaskStatus, task: int) -> TaskStatus:
    """Return a copy of `status` with the task number `task`.

    If `status` already has this number, return `status` itself, because copying thousands of objects is slow.
    """
    return status if status.task == task else replace(status, task=task)


@frozen
class Part:
    """A scheduler job: the only one of a run, or one of its array chunks.

    Attributes:
        job_id: The id of the scheduler job.
        name: The name of the scheduler job.
        first: The number of its first task in the run.
        tasks: The number of its tasks.
    """

    job_id: str
    name: str
    first: int
    tasks: int


@frozen
class Run:
    """One submission.

    Attributes:
        id: The id of the run. A scheduler job of the run has this name.
        job: The NAME of the job in ``[jobs.NAME]``.
        cluster: The NAME of the cluster in ``[clusters.NAME]``.
        scheduler: The name of the scheduler.
        image: The image, as the job's settings name it.
        sha256: The checksum of the image file (64 hex digits); empty if unknown.
        tasks: The number of tasks.
        command: The program and its arguments; empty if the image's run script runs.
        submitted: Submission time in seconds since 1970.
        job_id: The id of the scheduler job; empty until it is known. If the run has several array chunks because of a limit
            of the site, the ids of all chunks, separated by commas.
        part: The number of tasks in each array chunk (the last may have fewer); 0 if there is only one scheduler job.
        repeats: The id of another run, if this run repeats tasks of that run; empty for none.
        folder: The path of the run's folder on the cluster; empty until it is known.
        workdir: The path of the job's working folder on the cluster; empty for `folder`.
        outputs: The patterns of the files to download; empty for all files in the run's own folder.
        code_sha256: The checksum of the uploaded code (64 hex digits); empty if the job has no code.
        code_commit: The git commit of the code; empty if unknown.
        code_dirty: Whether the code differed from `code_commit`; None if unknown.
        project: The path of the project's folder, without links; empty if it was not recorded.
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
    """A run and the last known states of its tasks.

    Attributes:
        run: The run.
        tasks: The states of its tasks.
        asked: The time of the last query of the scheduler, in seconds since 1970; 0 if there was none.
    """

    run: Run
    tasks: tuple[TaskStatus, ...]
    asked: int

    @property
    def ended(self) -> bool:
        """Tell whether every task has finished."""
        return len(self.tasks) == self.run.tasks and all(task.state in TERMINAL for task in self.tasks)

    @property
    def unsure(self) -> bool:
        """Tell whether the run may have a scheduler job although the record has no job id.

        This is true while the submission of the run is in progress, and after the submission was interrupted.
        """
        return not self.run.job_id and not self.ended

    @property
    def alive(self) -> bool:
        """Tell whether the run has a scheduler job and has not ended. Then its scheduler can be queried."""
        return bool(self.run.job_id) and not self.ended

    @cached_property
    def over(self) -> frozenset[int]:
        """Return the numbers of the finished tasks, which need no further queries.

        The result is cached, because callers use this property once for each task.
        """
        return frozenset(task.task for task in self.tasks if task.state in TERMINAL)

    @cached_property
    def state(self) -> State:
        """Return the state of the whole run, which is the state of one of its tasks.

        It is the first state in `_MOST_IMPORTANT_FIRST` that a task has: states of unfinished tasks precede those of
        finished tasks, and failures precede success.
        """
        present = {task.state for task in self.tasks}
        return next((state for state in _MOST_IMPORTANT_FIRST if state in present), State.UNKNOWN)

    @property
    def exit_code(self) -> int | None:
        """Return the exit code of the whole run; None until the run has ended.

        It is the exit code of the first task with another code than 0. A failed task without an exit code has the code 1. If
        all codes are 0, the result is 1 if a task did not complete, else 0.
        """
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
    """Return the id of a new run: at most 40 characters of the job's name, and 40 random bits as 10 hex digits.

    The id is short enough for the name of a job in each scheduler.
    """
    return f"{job[:40]}-{secrets.token_hex(5)}"
