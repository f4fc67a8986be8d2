"""One submission, and what is known of it: plain frozen values."""

import secrets
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property

from hpcdeploy.cluster import SchedulerName


class State(Enum):
    """Where a task is, in Slurm's words (HTCondor's are told in them); `TERMINAL` is the closed list of ends.

    ``UNKNOWN`` is what cannot be told: the scheduler could not be asked, or said a word that this version does not know. It
    never counts as an end.
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
"""How the reason begins of a task of which the scheduler's answer cannot be read; the row follows, quoted."""

NEVER_BEGAN = "the program never began: the image's environment script ended first"
"""The reason of a task that is FAILED although its container ended with 0."""


@dataclass(frozen=True, kw_only=True)
class TaskStatus:
    """One task of a run. ``word`` is what the outside said, as it came; ``reason`` is its own account of why.

    ``code`` is HTCondor's number for a hold, ``"34.102"`` (HoldReasonCode, HoldReasonSubCode). ``exit_code`` is None until
    it is known (128 + n: killed by signal n); times are seconds since 1970, 0: not known. ``expected`` is when the scheduler
    means to start it, ``restarts`` how often it was begun anew.
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
        """Whether the scheduler answered something of it that cannot be read: another answer may tell."""
        return self.state is State.UNKNOWN and self.reason.startswith(UNREAD)

    @property
    def lost(self) -> bool:
        """Whether the scheduler answered, has it no longer, and no end was noted: nothing more will ever be known of it."""
        return self.state is State.UNKNOWN and self.reason.startswith("gone ")


def numbered(status: TaskStatus, task: int) -> TaskStatus:
    """Return the same of another task; itself where that is its own, since making thousands takes a while."""
    return status if status.task == task else replace(status, task=task)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One of the scheduler's jobs that a run is made of: its number, its name there, its first task, and how many."""

    job_id: str
    name: str
    first: int
    tasks: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """One submission.

    ``id`` is also the job's name in the scheduler; ``job_id`` is the scheduler's own number, empty until it is known. Where
    a site's limit makes several jobs of a run, it is all their numbers with commas between, and ``part`` the number of tasks
    in each but the last (0: one job). ``repeats`` is the id of the run some of whose tasks this one repeats.
    ``tasks`` is how many there are; ``folder`` is the run's folder on the cluster. ``sha256`` is the image's.
    ``submitted`` is in seconds since 1970. ``workdir`` and ``outputs`` are the job's: where its files are, and which come
    home. ``code_sha256`` is the snapshot of the code that it runs, ``code_commit`` the commit that git said, ``code_dirty``
    that the files differed from it, None that git did not say.
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

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The run's jobs, in the order of their tasks; none before it has one."""
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


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """A run with the state of each of its tasks; ``asked`` is when (seconds since 1970)."""

    run: Run
    tasks: tuple[TaskStatus, ...]
    asked: int

    @property
    def ended(self) -> bool:
        """Whether every task came to an end."""
        return len(self.tasks) == self.run.tasks and all(task.state in TERMINAL for task in self.tasks)

    @property
    def unsure(self) -> bool:
        """Whether nobody knows if it has a job: its submission was cut off, or still goes on."""
        return not self.run.job_id and not self.ended

    @cached_property
    def over(self) -> frozenset[int]:
        """The tasks that came to an end: nobody need be asked of them any more. Made once: it is asked for by each task."""
        return frozenset(task.task for task in self.tasks if task.state in TERMINAL)

    @cached_property
    def state(self) -> State:
        """The run in one word: what is still going on wins over ends, and a bad end over a good one."""
        present = {task.state for task in self.tasks}
        return next((state for state in _LOUDEST_FIRST if state in present), State.UNKNOWN)

    @property
    def exit_code(self) -> int | None:
        """The first task's exit code that is not 0, else 0; None until the run ended. A bad end without one is 1."""
        if not self.ended:
            return None
        codes = (
            task.exit_code if task.exit_code is not None else int(task.state is not State.COMPLETED) for task in self.tasks
        )
        bad = (task for task in self.tasks if task.state is not State.COMPLETED)
        return next((code for code in codes if code), 1 if next(bad, None) else 0)


_LOUDEST_FIRST = (
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
    """Make the id of a new run: the job's name and 40 random bits, short enough for every scheduler's job name."""
    return f"{job[:40]}-{secrets.token_hex(5)}"
