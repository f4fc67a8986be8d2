"""Read the output of tasks, once or continuously."""

import math
import time
from collections.abc import Callable, Iterator, Sequence

from hpcdeploy import limits
from hpcdeploy.errors import SchedulerError
from hpcdeploy.flows.follow import GROWTH, ROUNDS_UNTIL_LOST, SLOWEST, check_submitted, status
from hpcdeploy.remote.logs import LogReader, Piece, ignore_report
from hpcdeploy.remote.query import spans
from hpcdeploy.remote.session import Session
from hpcdeploy.run import RunStatus, State
from hpcdeploy.store import Store

_AT_ONCE = 500
"""Maximum number of tasks whose output is read in one round trip (`_first` chooses them)."""

_QUIETEST = 10.0
"""Maximum time in seconds between two reads while there is no new output."""


def read(
    known: RunStatus,
    task: int,
    session: Session,
    *,
    tail: int | None = None,
) -> Piece:
    """Read the output of `task` as one value.

    Args:
        known: The run with its last known state.
        task: The task's number, starting at 0.
        session: A session with the run's cluster.
        tail: Read only the last `tail` lines of standard output and of standard error; None for everything.

    Raises:
        SchedulerError: The run has no task with this number, the logs cannot be read, or they are larger than
            `hpcdeploy.limits.LARGEST_LOG_AS_JSON`.
        TransportError: The connection failed.
        UncertainSubmissionError: It is not known whether the run was submitted.
    """
    out, err = bytearray(), bytearray()
    for piece in pieces(known, task, session, tail=tail):
        out += piece.out
        err += piece.err
        if len(out) + len(err) > limits.LARGEST_LOG_AS_JSON:
            most = limits.format_bytes(limits.LARGEST_LOG_AS_JSON)
            raise SchedulerError(
                f"task {task} of run {known.run.id} has written more than {most}, which is the maximum for --json; omit "
                f"--json, use --tail, or run 'hpcdeploy fetch {known.run.id}'"
            )
    return Piece(task=task, out=bytes(out), err=bytes(err))


def pieces(
    known: RunStatus,
    task: int,
    session: Session,
    *,
    tail: int | None = None,
) -> Iterator[Piece]:
    """Yield the output of `task` in pieces; yield one empty piece if the task has no output.

    Args:
        known: The run with its last known state.
        task: The task's number, starting at 0.
        session: A session with the run's cluster.
        tail: Read only the last `tail` lines of standard output and of standard error; None for everything.

    Raises:
        SchedulerError: The run has no task with this number, or the logs cannot be read.
        TransportError: The connection failed.
        UncertainSubmissionError: It is not known whether the run was submitted.
    """
    _check(known, task)
    reader = LogReader(session=session, run=known.run, tail=tail)
    received = reader.read([task])
    yield from received or [Piece(task=task, out=b"", err=b"")]
    while received and received[0].more:
        received = reader.read([task])
        yield from received


def follow(
    known: RunStatus,
    tasks: Sequence[int],
    session: Session,
    store: Store,
    *,
    tail: int | None = None,
    interval: float = 2.0,
    report: Callable[[str], None] = ignore_report,
) -> Iterator[Piece]:
    """Yield the output of `tasks` until all tasks have ended and all their output was read.

    After a lost connection, a new connection is opened. No output is lost or repeated.

    The scheduler is queried at growing intervals. A task that recorded its own end causes an earlier query. There is never
    more than one query per ``poll-interval`` of the cluster.

    Args:
        known: The run with its last known state.
        tasks: The numbers of the tasks, starting at 0.
        session: A session with the run's cluster.
        store: The record of runs and images.
        tail: Start with the last `tail` lines of each task's standard output and standard error; None for everything.
        interval: Time between two reads of the files, in seconds; it grows while there is no new output.
        report: Called with the error message of each lost connection.

    Raises:
        SchedulerError: The run has no task with one of these numbers, or the logs cannot be read. Or the scheduler did not
            know the remaining tasks in `ROUNDS_UNTIL_LOST` consecutive queries, so these tasks would never end.
        TransportError: The first connection cannot be opened.
        UncertainSubmissionError: It is not known whether the run was submitted.
    """
    for task in tasks:
        _check(known, task)
    reader = LogReader(session=session, run=known.run, tail=tail, interval=interval, report=report)
    poll_interval = session.cluster.poll_interval
    current, left, lost = known, set(tasks), 0
    quiet, between, asked, noted = interval, float(poll_interval), -math.inf, 0
    while left:
        news = len(reader.ended & left) > noted
        if time.monotonic() - asked >= (poll_interval if news else between):
            noted = len(reader.ended & left)
            current = status([current], lambda _name: session, store).statuses[0]
            between = between if asked < 0 else min(between * GROWTH, max(SLOWEST, poll_interval))
            asked = time.monotonic()
            lost = lost + 1 if all(task.lost for task in current.tasks if task.task in left - current.over) else 0
        looked = _first(current, left)
        received = reader.keep_reading(looked)
        if received is None:
            continue
        yield from received
        more = {piece.task for piece in received if piece.more}
        left -= (current.over & set(looked)) - more
        quiet = interval if received else min(quiet * GROWTH, max(interval, _QUIETEST))
        if left and not more and not left & current.over:
            if lost >= ROUNDS_UNTIL_LOST:
                raise SchedulerError(
                    f"the result of these tasks is unknown, and waiting does not help: {_unknown(current, left)}"
                )
            time.sleep(quiet)


def _first(current: RunStatus, left: set[int]) -> list[int]:
    """Return up to `_AT_ONCE` tasks to read now: first ended tasks, then running tasks, then waiting tasks."""
    waiting = {task.task for task in current.tasks if task.state in {State.PENDING, State.HELD}}
    return sorted(left, key=lambda task: (task not in current.over, task in waiting, task))[:_AT_ONCE]


def _check(known: RunStatus, task: int) -> None:
    check_submitted([known])
    if not 0 <= task < known.run.tasks:
        raise SchedulerError(f"run {known.run.id} has tasks 0 to {known.run.tasks - 1}; there is no task {task}")


def _unknown(current: RunStatus, left: set[int]) -> str:
    """Return the numbers of the tasks that are `left`, and the reason why their state is unknown, for a message."""
    reason = next(task.reason for task in current.tasks if task.task in left)
    return f"{current.run.id}, task {spans(left)}: {reason}"
