"""Logs: what a task has written, and what it goes on writing."""

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import SchedulerError
from hpcdeploy.flows.connections import Connections
from hpcdeploy.flows.follow import status
from hpcdeploy.login_node import SHELL
from hpcdeploy.run import TERMINAL, RunStatus
from hpcdeploy.scheduler.answers import read_answers
from hpcdeploy.scheduler.login_node import reading_logs
from hpcdeploy.store import Store


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What a task wrote since the last look, on its output and its error stream."""

    out: bytes
    err: bytes


def read(
    known: RunStatus,
    task: int,
    cluster: Cluster,
    connections: Connections,
    *,
    offsets: tuple[int, int] = (0, 0),
    overrides: Path | None = None,
) -> Piece:
    """Read what `task` has written from `offsets` (bytes of output, of error) on; `SchedulerError`: no such task.

    `overrides` is the folder of the project whose own templates count.
    """
    if not 0 <= task < known.run.tasks:
        raise SchedulerError(f"run {known.run.id} has tasks 0 to {known.run.tasks - 1}, and no task {task}")
    fence = secrets.token_hex(8)
    script = reading_logs(cluster, known.run, task, offsets, fence, overrides=overrides)
    completed = connections.to(cluster).run(SHELL, stdin=script.encode())
    answers = read_answers(completed.stdout, fence)
    return Piece(
        out=answers["out"].text.encode("utf-8", "surrogateescape"),
        err=answers["err"].text.encode("utf-8", "surrogateescape"),
    )


def follow(
    known: RunStatus,
    task: int,
    cluster: Cluster,
    connections: Connections,
    store: Store,
    *,
    interval: float = 2.0,
    pause: Callable[[float], None] = time.sleep,
    overrides: Path | None = None,
) -> Iterator[Piece]:
    """Yield what `task` writes until it ends, then what it wrote last; looks every `interval` seconds."""
    out = err = 0
    current = known
    while True:
        ended = any(one.task == task and one.state in TERMINAL for one in current.tasks)
        piece = read(current, task, cluster, connections, offsets=(out, err), overrides=overrides)
        out, err = out + len(piece.out), err + len(piece.err)
        yield piece
        if ended:
            return
        pause(interval)
        current = status([current], lambda _name: cluster, connections, store, overrides=overrides).statuses[0]
