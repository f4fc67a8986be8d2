"""Logs: what tasks have written, and what they go on writing."""

import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hpcdeploy import limits
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import SchedulerError, TransportError
from hpcdeploy.flows.connections import Connections
from hpcdeploy.flows.follow import GROWTH, ROUNDS_UNTIL_LOST, SLOWEST, check_submitted, status
from hpcdeploy.flows.last_words import check_began, last_words
from hpcdeploy.login_node import SHELL
from hpcdeploy.run import Run, RunStatus, State
from hpcdeploy.scheduler.answers import Section, read_sections
from hpcdeploy.scheduler.login_node import log_piece, reading_logs, spans
from hpcdeploy.store import Store
from hpcdeploy.whole_number import whole_number

_AT_ONCE = 500
"""Tasks whose files are looked at together: those that run, and as many others as there is room for."""

_QUIETEST = 10.0
"""Seconds between two looks at files that do not grow."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What a task wrote since the last look, on its output and its error stream; `more`: there may be more of it."""

    task: int
    out: bytes
    err: bytes
    more: bool = False


@dataclass(kw_only=True)
class _Reading:
    """How far the logs of a run were read: bytes of output and of error, by task; and who has noted its end."""

    run: Run
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)

    def look(self, tasks: Sequence[int], cluster: Cluster, connections: Connections, overrides: Path | None) -> list[Piece]:
        """Read on, one round trip for all of `tasks`; a task that wrote nothing more has no piece."""
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
    """Take words for a person and do nothing."""


def read(
    known: RunStatus,
    task: int,
    cluster: Cluster,
    connections: Connections,
    *,
    offsets: tuple[int, int] = (0, 0),
    overrides: Path | None = None,
) -> Piece:
    """Read what `task` has written from `offsets` (bytes of output, of error) on, as one value.

    Raises `SchedulerError` where that is more than one value holds (`hpcdeploy.limits.LARGEST_LOG_AS_JSON`), and what
    `pieces` raises.
    """
    out, err = bytearray(), bytearray()
    for piece in pieces(known, task, cluster, connections, offsets=offsets, overrides=overrides):
        out += piece.out
        err += piece.err
        if len(out) + len(err) > limits.LARGEST_LOG_AS_JSON:
            most = limits.bytes_in_words(limits.LARGEST_LOG_AS_JSON)
            raise SchedulerError(
                f"task {task} of run {known.run.id} has written more than {most}, which is not held as one value; read "
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
    """Yield what `task` has written from `offsets` (bytes of output, of error) on, piece by piece; an empty one for nothing.

    Raises `SchedulerError` where there is no such task, `UncertainSubmissionError` where the run may have no job.
    `overrides` is the folder of the project whose own templates count.
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
    """Yield what `tasks` write, as they start, until all have ended, and what each wrote last.

    A connection that dies is told to `report` and opened again, where there was one; nothing is lost or told twice.

    Their files are looked at every `interval` seconds, less often while they do not grow. The scheduler is asked where they
    are no more often than the cluster's ``poll-interval``, less and less often, and when a task has noted its own end.
    Raises `SchedulerError` where nobody can ever say that the tasks that are left have ended, and what `read` raises.
    """
    for task in tasks:
        _check(known, task)
    reading = _Reading(run=known.run)
    current, left = known, set(tasks)
    begun, lost = False, 0
    quiet, between, asked, noted = interval, float(cluster.poll_interval), -math.inf, 0
    while left:
        news = len(reading.ended & left) > noted
        if time.monotonic() - asked >= (cluster.poll_interval if news else between):
            noted = len(reading.ended & left)
            current = status([current], lambda _name: cluster, connections, store, overrides=overrides).statuses[0]
            between = between if asked < 0 else min(between * GROWTH, max(SLOWEST, cluster.poll_interval))
            asked = time.monotonic()
            lost = lost + 1 if all(task.lost for task in current.tasks if task.task in left - current.over) else 0
        looked = _first(current, left)
        try:
            told = reading.look(looked, cluster, connections, overrides)
        except TransportError as error:
            if not begun:
                raise
            connections.drop(cluster)
            report(str(error))
            quiet = min(quiet * GROWTH, SLOWEST)
            pause(quiet)
            continue
        begun = True
        yield from told
        more = {piece.task for piece in told if piece.more}
        left -= (current.over & set(looked)) - more
        quiet = interval if told else min(quiet * GROWTH, max(interval, _QUIETEST))
        if left and not more and not left & current.over:
            if lost >= ROUNDS_UNTIL_LOST:
                raise SchedulerError(f"nobody knows how these ended, and nothing more will come: {_told(current, left)}")
            pause(quiet)


def _first(current: RunStatus, left: set[int]) -> list[int]:
    """Choose whose files are looked at: who has ended, then who runs, then who waits."""
    waiting = {task.task for task in current.tasks if task.state in {State.PENDING, State.HELD}}
    return sorted(left, key=lambda task: (task not in current.over, task in waiting, task))[:_AT_ONCE]


def _check(known: RunStatus, task: int) -> None:
    check_submitted([known])
    if not 0 <= task < known.run.tasks:
        raise SchedulerError(f"run {known.run.id} has tasks 0 to {known.run.tasks - 1}, and no task {task}")


def _told(current: RunStatus, left: set[int]) -> str:
    """Name the tasks that are `left`, and why nothing is known of them."""
    reason = next(task.reason for task in current.tasks if task.task in left)
    return f"{current.run.id}, task {spans(left)}: {reason}"


def _piece(task: int, answers: Mapping[str, Section], most: int) -> Piece:
    """Return what a look brought of one task; one that was filled to its limit, `most` bytes, may have more."""
    out, err = (answers[name].content if name in answers else b"" for name in (f"out.{task}", f"err.{task}"))
    return Piece(task=task, out=out, err=err, more=most in {len(out), len(err)})
