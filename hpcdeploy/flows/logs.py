"""Read the output of tasks, once or continuously."""

import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hpcdeploy import limits
from hpcdeploy.checked_values import whole_number
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import SchedulerError, TransportError
from hpcdeploy.flows.follow import GROWTH, ROUNDS_UNTIL_LOST, SLOWEST, check_submitted, status
from hpcdeploy.remote.answers import SHELL
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.output import check_began, last_words
from hpcdeploy.remote.scripts import log_piece, reading_logs, spans
from hpcdeploy.run import Run, RunStatus, State
from hpcdeploy.scheduler.answers import Section, read_sections
from hpcdeploy.store import Store

_AT_ONCE = 500
"""Maximum number of tasks whose files are read together; running tasks come first."""

_QUIETEST = 10.0
"""Maximum time in seconds between two reads of files that do not grow."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """New output of a task on standard output and standard error; `more`: there may be more."""

    task: int
    out: bytes
    err: bytes
    more: bool = False


@dataclass(kw_only=True)
class _Reading:
    """The state of reading a run's logs.

    Attributes:
        run: The run.
        offsets: The number of bytes read from standard output and standard error, by task.
        ended: The tasks that recorded their end.
    """

    run: Run
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)

    def look(self, tasks: Sequence[int], cluster: Cluster, connections: Connections, overrides: Path | None) -> list[Piece]:
        """Read new output in one round trip for all of `tasks`; tasks without new output are left out."""
        wanted = [(task, *self.offsets.get(task, (0, 0))) for task in tasks]
        fence = secrets.token_hex(8)
        script = reading_logs(cluster, self.run, wanted, fence, overrides=overrides)
        transport = connections.to(cluster)
        completed = transport.run(SHELL, stdin=script.encode(), limit=limits.LOGS)
        check_began(completed, transport.where)
        try:
            answers = read_sections(completed.stdout, fence, "ended")
        except SchedulerError as error:
            raise SchedulerError(
                f"the logs of run {self.run.id} could not be read on {transport.where} (exit code {completed.exit_code}): "
                f"{error}; standard error: {last_words(completed.stderr)}"
            ) from error
        ended = (whole_number(word, self.run.tasks - 1) for word in answers["ended"].content.split())
        self.ended.update(task for task in ended if task is not None)
        most = log_piece(len(tasks))
        pieces = [_piece(task, answers, most) for task in tasks]
        for piece in pieces:
            out, err = self.offsets.get(piece.task, (0, 0))
            self.offsets[piece.task] = (out + len(piece.out), err + len(piece.err))
        return [piece for piece in pieces if piece.out or piece.err]


def ignore_report(_words: str) -> None:
    """Ignore a message."""


def read(
    known: RunStatus,
    task: int,
    cluster: Cluster,
    connections: Connections,
    *,
    offsets: tuple[int, int] = (0, 0),
    overrides: Path | None = None,
) -> Piece:
    """Read the output of `task` from `offsets` on as one value.

    Args:
        known: The run.
        task: The task.
        cluster: The cluster.
        connections: The connections.
        offsets: Bytes of standard output and standard error to skip.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        SchedulerError: There is no such task, its logs cannot be read, or they are larger than
            `hpcdeploy.limits.LARGEST_LOG_AS_JSON`.
        TransportError: The connection failed.
        UncertainSubmissionError: The run may have no job.
    """
    out, err = bytearray(), bytearray()
    for piece in pieces(known, task, cluster, connections, offsets=offsets, overrides=overrides):
        out += piece.out
        err += piece.err
        if len(out) + len(err) > limits.LARGEST_LOG_AS_JSON:
            most = limits.bytes_in_words(limits.LARGEST_LOG_AS_JSON)
            raise SchedulerError(
                f"task {task} of run {known.run.id} has written more than {most}, which is too large for one value; read "
                "it without --json, or fetch the run's files"
            )
    return Piece(task=task, out=bytes(out), err=bytes(err))


def pieces(
    known: RunStatus,
    task: int,
    cluster: Cluster,
    connections: Connections,
    *,
    offsets: tuple[int, int] = (0, 0),
    overrides: Path | None = None,
) -> Iterator[Piece]:
    """Yield the output of `task` from `offsets` on in pieces; an empty piece if there is none.

    Args:
        known: The run.
        task: The task.
        cluster: The cluster.
        connections: The connections.
        offsets: Bytes of standard output and standard error to skip.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        SchedulerError: There is no such task, or its logs cannot be read.
        TransportError: The connection failed.
        UncertainSubmissionError: The run may have no job.
    """
    _check(known, task)
    reading = _Reading(run=known.run, offsets={task: offsets})
    looked = reading.look([task], cluster, connections, overrides)
    yield from looked or [Piece(task=task, out=b"", err=b"")]
    while looked and looked[0].more:
        looked = reading.look([task], cluster, connections, overrides)
        yield from looked


def follow(
    known: RunStatus,
    tasks: Sequence[int],
    cluster: Cluster,
    connections: Connections,
    store: Store,
    *,
    interval: float = 2.0,
    pause: Callable[[float], None] = time.sleep,
    report: Callable[[str], None] = ignore_report,
    overrides: Path | None = None,
) -> Iterator[Piece]:
    """Yield the output of `tasks` until all have ended, including their last output.

    After a lost connection a new one is opened; no output is lost or repeated. The scheduler is queried at most once in the
    cluster's ``poll-interval``, at growing intervals, and when a task recorded its own end.

    Args:
        known: The run.
        tasks: The tasks.
        cluster: The cluster.
        connections: The connections.
        store: The record.
        interval: Time between two reads of the files, in seconds; it grows while there is no new output.
        pause: Waits for a number of seconds.
        report: Receives the errors of lost connections.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        SchedulerError: The remaining tasks are unknown to the scheduler, so they will never end.
        TransportError: No first connection can be opened.
        UncertainSubmissionError: The run may have no job.
    """
    for task in tasks:
        _check(known, task)
    reading = _Reading(run=known.run)
    current, left = known, set(tasks)
    reached, lost = False, 0
    quiet, between, queried, noted = interval, float(cluster.poll_interval), -math.inf, 0
    while left:
        news = len(reading.ended & left) > noted
        if time.monotonic() - queried >= (cluster.poll_interval if news else between):
            noted = len(reading.ended & left)
            current = status([current], lambda _name: cluster, connections, store, overrides=overrides).statuses[0]
            between = between if queried < 0 else min(between * GROWTH, max(SLOWEST, cluster.poll_interval))
            queried = time.monotonic()
            lost = lost + 1 if all(task.lost for task in current.tasks if task.task in left - current.over) else 0
        looked = _first(current, left)
        try:
            received = reading.look(looked, cluster, connections, overrides)
        except TransportError as error:
            if not reached:
                raise
            connections.drop(cluster)
            report(str(error))
            quiet = min(quiet * GROWTH, SLOWEST)
            pause(quiet)
            continue
        reached = True
        yield from received
        more = {piece.task for piece in received if piece.more}
        left -= (current.over & set(looked)) - more
        quiet = interval if received else min(quiet * GROWTH, max(interval, _QUIETEST))
        if left and not more and not left & current.over:
            if lost >= ROUNDS_UNTIL_LOST:
                raise SchedulerError(
                    f"the result of these tasks is unknown, and no more output is expected: {_unknown(current, left)}"
                )
            pause(quiet)


def _first(current: RunStatus, left: set[int]) -> list[int]:
    """Return the tasks to read first: ended ones, then running ones, then waiting ones."""
    waiting = {task.task for task in current.tasks if task.state in {State.PENDING, State.HELD}}
    return sorted(left, key=lambda task: (task not in current.over, task in waiting, task))[:_AT_ONCE]


def _check(known: RunStatus, task: int) -> None:
    check_submitted([known])
    if not 0 <= task < known.run.tasks:
        raise SchedulerError(f"run {known.run.id} has tasks 0 to {known.run.tasks - 1}; there is no task {task}")


def _unknown(current: RunStatus, left: set[int]) -> str:
    """Describe the tasks that are `left`, and why their state is unknown."""
    reason = next(task.reason for task in current.tasks if task.task in left)
    return f"{current.run.id}, task {spans(left)}: {reason}"


def _piece(task: int, answers: Mapping[str, Section], most: int) -> Piece:
    """Return the new output of one task; a piece of the maximum size, `most` bytes, may have more after it."""
    out, err = (answers[name].content if name in answers else b"" for name in (f"out.{task}", f"err.{task}"))
    return Piece(task=task, out=out, err=err, more=most in {len(out), len(err)})
