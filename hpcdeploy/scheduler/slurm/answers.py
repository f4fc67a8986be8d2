"""What squeue and sacct answer, as states."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from hpcdeploy.limits import text_lines
from hpcdeploy.run import State, TaskStatus, numbered
from hpcdeploy.scheduler.answers import Rows, shown
from hpcdeploy.scheduler.slurm.exit_codes import ExitCodes
from hpcdeploy.whole_number import HIGHEST_EXIT_CODE, MOST_TASKS, moment, whole_number

FORMAT = ",".join(
    f"{field}:|" for field in ("ArrayJobID", "ArrayTaskID", "State", "NodeList", "StartTime", "RestartCnt", "Reason")
)
"""What the follow script asks of squeue with ``--Format``, a bar behind each; the reason, a free text, last.

The start of a job that waits is when Slurm means to start it, as ``squeue --start`` has it. A field with a suffix of its own
and no width is never cut off (squeue(1); so in 22.05 and 24.11).
"""

ACCOUNTING_FORMAT = "JobID,State,ExitCode,NodeList,Start,End,Comment,JobName"
"""Fields that the follow script requests from sacct (``--parsable2``), free text last. Accounting has the comment only where
the site keeps it (slurm.conf(5), AccountingStoreFlags=job_comment)."""

NO_NODE = "None assigned"
"""Printed by sacct as the nodes of a job that never started (src/plugins/accounting_storage/mysql/as_mysql_job.c)."""

# What squeue(1) and sacct(1) call a job's state, in "JOB STATE CODES". A flag such as COMPLETING stands in for the base
# state, and new ones come with new releases: what is not here is UNKNOWN, and never an end.
_STATES = {
    "PENDING": State.PENDING,
    "CONFIGURING": State.PENDING,
    "EXPEDITING": State.PENDING,  # since 25.11: requeued, and eligible to restart at once (doc/html/job_state_codes.shtml)
    "REQUEUED": State.PENDING,
    "REQUEUE_FED": State.PENDING,
    "REQUEUE_HOLD": State.HELD,
    "RESV_DEL_HOLD": State.HELD,
    "SPECIAL_EXIT": State.HELD,
    "RUNNING": State.RUNNING,
    "RESIZING": State.RUNNING,
    "SIGNALING": State.RUNNING,
    "STAGE_OUT": State.COMPLETING,
    "COMPLETING": State.COMPLETING,
    "SUSPENDED": State.SUSPENDED,
    "STOPPED": State.SUSPENDED,
    "COMPLETED": State.COMPLETED,
    "FAILED": State.FAILED,
    "BOOT_FAIL": State.NODE_FAIL,
    "NODE_FAIL": State.NODE_FAIL,
    "CANCELLED": State.CANCELLED,
    "REVOKED": State.CANCELLED,
    "TIMEOUT": State.TIMEOUT,
    "DEADLINE": State.TIMEOUT,
    "OUT_OF_MEMORY": State.OUT_OF_MEMORY,
    "PREEMPTED": State.PREEMPTED,
}

# Held by its owner, an administrator or after a requeue: PENDING to squeue, but it starts only after a release (squeue(1),
# JOB REASON CODES). For a hold after a requeue the reason is a text: "job requeued in held state", "launch failed requeued
# held", "launch failure limit exceeded requeued held", "user env retrieval failed requeued held" (src/slurmctld/job_mgr.c
# of 26.05). scontrol writes an underscore for each blank.
_HOLDS = frozenset({"JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue"})
_HELD = re.compile(r".*\b(?:requeued held|in held state)")


def is_hold(reason: str) -> bool:
    """Return whether a job with this reason is held, so that it does not start before it is released."""
    return reason in _HOLDS or _HELD.match(reason.replace("_", " ")) is not None


def state_of(word: str) -> State:
    """Translate one of Slurm's words; ``CANCELLED by 1000`` and a truncated ``CANCELLED+`` are what they look like."""
    return _STATES.get(word.split(" ", maxsplit=1)[0].rstrip("+").upper(), State.UNKNOWN)


def read_queue(text: str, tasks: Mapping[str, int] | None = None) -> Rows:
    """Read what squeue answered in `FORMAT`; `tasks` are how many tasks each job has of which more than one may be told.

    One line may speak of many pending tasks (``0-99%10``). A line that cannot be read keeps nobody from the others.
    """
    return _read(text, tasks or {}, _queued)


def read_accounting(
    text: str, names: Mapping[str, Sequence[str]], exact: ExitCodes | None = None, tasks: Mapping[str, int] | None = None
) -> Rows:
    """Read what ``sacct --allocations --parsable2`` answered in `ACCOUNTING_FORMAT`; `tasks` as in `read_queue`.

    sacct writes an exit code as ``code:signal``; a job that a signal ended counts as 128 + signal, as in a shell. `names`
    are the names by which each job is known, by its id: Slurm begins anew at its MaxJobId, and another job may have had the
    number (slurm.conf(5)). A job bears one of them as its name, or in its comment: ``hpcdeploy:NAME``. `exact` are the exit
    codes where sacct subtracts 128 (see `hpcdeploy.scheduler.slurm.exit_codes`): one that it lacks is unknown.
    """
    return _read(text, tasks or {}, partial(_accounted, names=names, exact=exact))


_Row = tuple[str, Callable[[int], TaskStatus]]
"""A row that was read: its tasks as they are written, and what makes the status of each."""


def _read(text: str, tasks: Mapping[str, int], read_row: Callable[[str], _Row | None]) -> Rows:
    """Read the rows of an answer. No more tasks of a job are told than `_REPEATED` times as many as it has."""
    found: dict[str, list[TaskStatus]] = {}
    unread: dict[str, str] = {}
    for line in text_lines(text):
        job_id = line.partition("|")[0].partition("_")[0]
        if whole_number(job_id) is None:
            unread[""] = shown(line)
            continue
        told = found.setdefault(job_id, [])
        size = tasks.get(job_id, MOST_TASKS)
        try:
            row = read_row(line)
            numbers = indices(row[0], size) if row else []
        except ValueError:
            row, numbers = None, []
            unread[job_id] = shown(line)
        if len(told) + len(numbers) > _REPEATED * size:
            unread[job_id] = shown(line)
        elif row:
            told.extend(map(row[1], numbers))
    return Rows(found=found, unread=unread)


_REPEATED = 10
"""How often one answer may tell of the same task. Slurm tells of each once; a job that is requeued may stand there twice."""


def _queued(line: str) -> _Row:
    _, index, word, node, start, restarts, reason = line.removesuffix("|").split("|", 6)
    state = State.HELD if word == "PENDING" and is_hold(reason) else state_of(word)
    one = TaskStatus(
        task=0,
        state=state,
        word=word,
        reason="" if reason == "None" else reason,
        node=node,
        started=moment(start) if state in {State.RUNNING, State.COMPLETING, State.SUSPENDED} else 0,
        expected=moment(start) if state is State.PENDING else 0,
        restarts=whole_number(restarts) or 0,
    )
    return index, partial(numbered, one)


def _accounted(line: str, *, names: Mapping[str, Sequence[str]], exact: ExitCodes | None) -> _Row | None:
    """Read a row of accounting; None where it is another job's, which once had the number."""
    number, word, code, node, start, end, texts = line.split("|", 6)
    job_id, _, index = number.partition("_")
    known_as = names.get(job_id, ())
    if not any(texts.startswith(f"hpcdeploy:{name}|") or texts.endswith(f"|{name}") for name in known_as):
        return None
    state = state_of(word)
    # Rejected, or failed before it started: ExitCode is that of no program (0:1 in 24.11).
    unstarted = state is State.FAILED and node == NO_NODE
    status, signal = _code(code)

    def status_of(task: int) -> TaskStatus:
        return TaskStatus(
            task=task,
            state=state,
            word=word,
            reason=NO_NODE if unstarted else "",
            exit_code=None if unstarted else _exit_code(status, signal, state, (job_id, task), exact),
            node="" if node == NO_NODE else node,
            started=moment(start),
            ended=moment(end),
        )

    return index, status_of


def _code(text: str) -> tuple[int, int]:
    """Read ``code:signal``. Raises ValueError."""
    code, _, signal = text.partition(":")
    status, number = whole_number(code, HIGHEST_EXIT_CODE), whole_number(signal or 0, HIGHEST_EXIT_CODE - 128)
    if status is None or number is None:
        raise ValueError(text)
    return status, number


def _exit_code(status: int, signal: int, state: State, task: tuple[str, int], exact: ExitCodes | None) -> int | None:
    """Return a task's exit code, None where it has none or where it cannot be known."""
    if signal and not status:
        return 128 + signal
    if state is State.COMPLETED or not (status or state is State.FAILED):
        return 0 if state is State.COMPLETED else None
    if exact is None:
        return status
    # What does not fit the other answer is wrong: the JSON of 22.05 has 0 for all (exit_codes.py).
    known = exact.get(task)
    return known if known in {status, status + 128} and known else None


_SPAN = re.compile(r"(?P<first>[0-9]{1,10})(?:-(?P<last>[0-9]{1,10}))?(?::(?P<step>[0-9]{1,10}))?")


def indices(text: str, tasks: int = MOST_TASKS) -> list[int]:
    """Expand an array index as squeue and sacct write it: ``7``, ``[3,5-9%2]``, ``0-98:2``; none (``N/A``) is task 0.

    Of numbers from `tasks` on, which an array of so many has not, nothing is returned. Raises ValueError where `text` is
    something else, or names more tasks than there are.
    """
    bare = text.strip("[]").partition("%")[0]
    if bare in {"", "N/A"}:
        return [0]
    found: list[int] = []
    for part in bare.split(","):
        match = _SPAN.fullmatch(part)
        if not match:
            raise ValueError(text)
        first = int(match["first"])
        # A step of 0 is a ValueError of range().
        span = range(first, min(int(match["last"] or first) + 1, tasks), int(match["step"] or 1))
        if len(found) + len(span) > tasks:
            raise ValueError(text)
        found.extend(span)
    return found
