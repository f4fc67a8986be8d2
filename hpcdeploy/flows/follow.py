"""Follow: where runs are, in one round trip for each cluster and scheduler; and waiting until they end."""

import math
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import SchedulerError, TransportError, UncertainSubmissionError, WaitTimeoutError
from hpcdeploy.flows.connections import Connections
from hpcdeploy.login_node import SHELL
from hpcdeploy.run import TERMINAL, Run, RunStatus, State, TaskStatus
from hpcdeploy.scheduler.answers import read_answers
from hpcdeploy.scheduler.contract import scheduler_of
from hpcdeploy.scheduler.login_node import following
from hpcdeploy.store import Store
from hpcdeploy.transport.contract import Transport

ClusterOf = Callable[[str], Cluster]
"""Finds a cluster's settings by its name."""


_ROUNDS_UNTIL_LOST = 6


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was learned: each run's status in the order asked for, and for each cluster that could not be asked, why."""

    statuses: tuple[RunStatus, ...]
    failures: tuple[str, ...]


def status(
    known: Sequence[RunStatus],
    cluster_of: ClusterOf,
    connections: Connections,
    store: Store,
    *,
    overrides: Path | None = None,
) -> Asked:
    """Ask where the runs are that had not ended when last seen; one round trip for each cluster and scheduler.

    A cluster that cannot be asked makes its runs unknown and is told in `Asked.failures`; the others are not held up. What
    was learned is noted in the record, what could not be asked is not. `overrides` is the folder of the project whose own
    templates count.
    """
    fresh: dict[str, RunStatus] = {one.run.id: one for one in known}
    failures: list[str] = []
    for (cluster_name, scheduler), runs in alive_by_scheduler(known).items():
        cluster = cluster_of(cluster_name)
        try:
            learned = ask(connections.to(cluster), cluster, scheduler, runs, overrides=overrides)
        except (TransportError, SchedulerError) as error:
            connections.drop(cluster)
            failures.append(f"{cluster_name}: {error}")
            fresh.update({run.id: _unknown(run, str(error)) for run in runs})
            continue
        for one in learned:
            store.learned(one)
            fresh[one.run.id] = one
    return Asked(statuses=tuple(fresh[one.run.id] for one in known), failures=tuple(failures))


def ask(
    transport: Transport,
    cluster: Cluster,
    scheduler: SchedulerName,
    runs: Sequence[Run],
    *,
    overrides: Path | None = None,
) -> list[RunStatus]:
    """Ask one cluster's one scheduler about `runs`, in one round trip."""
    fence = secrets.token_hex(8)
    script = following(cluster, scheduler, runs, fence, overrides=overrides)
    completed = transport.run(SHELL, stdin=script.encode())
    try:
        answers = read_answers(completed.stdout, fence)
        told = scheduler_of(scheduler).states(answers, runs)
    except SchedulerError as error:
        said = completed.stderr.decode("utf-8", "replace").strip()[-500:]
        raise SchedulerError(f"{error}; on its error stream: {said or '(nothing)'}") from error
    except ValueError as error:
        raise SchedulerError(f"{scheduler} answered in a form that this version cannot read: {error}") from error
    now = int(time.time())
    return [RunStatus(run=run, tasks=told[run.id], asked=now) for run in runs]


def wait(
    known: Sequence[RunStatus],
    cluster_of: ClusterOf,
    connections: Connections,
    store: Store,
    *,
    first: float = 1.0,
    slowest: float = 60.0,
    patience: float = math.inf,
    pause: Callable[[float], None] = time.sleep,
    overrides: Path | None = None,
) -> Iterator[Asked]:
    """Yield what is known, again and again, until every run has ended; more and more slowly, up to `slowest` seconds apart.

    A connection that dies is opened again at the next round: its runs are unknown meanwhile. Raises `WaitTimeoutError` after
    `patience` seconds, and `SchedulerError` where for several rounds nobody could say anything of a run though asked:
    waiting on would be waiting for ever.
    """
    unsure = [one.run.id for one in known if not one.run.job_id]
    if unsure:
        raise UncertainSubmissionError(
            f"nobody knows yet whether {', '.join(unsure)} was submitted; run 'hpcdeploy submit --resume {unsure[0]}' first"
        )
    interval = first
    current = tuple(known)
    began = time.monotonic()
    lost_rounds = 0
    while True:
        asked = status(current, cluster_of, connections, store, overrides=overrides)
        yield asked
        current = asked.statuses
        if all(one.ended for one in current):
            return
        left = [one for one in current if not one.ended]
        lost_rounds = lost_rounds + 1 if not asked.failures and all(map(_lost, left)) else 0
        if lost_rounds == _ROUNDS_UNTIL_LOST:
            told = "; ".join(f"{one.run.id}: {next(task.reason for task in one.tasks if task.reason)}" for one in left)
            raise SchedulerError(f"nobody knows how these ended, and waiting will not tell: {told}")
        if time.monotonic() - began > patience:
            raise WaitTimeoutError(f"not ended after {patience:.0f} s: {', '.join(one.run.id for one in left)}; they go on")
        pause(interval)
        interval = min(interval * 1.5, slowest)


def alive_by_scheduler(known: Sequence[RunStatus]) -> dict[tuple[str, SchedulerName], list[Run]]:
    """Sort the runs that have a job and have not ended by cluster and scheduler: each such group is one question."""
    groups: dict[tuple[str, SchedulerName], list[Run]] = {}
    for one in known:
        if not one.ended and one.run.job_id:
            groups.setdefault((one.run.cluster, one.run.scheduler), []).append(one.run)
    return groups


def _lost(one: RunStatus) -> bool:
    """Whether nothing is left to wait for: what has not ended is unknown, though the scheduler was asked and answered."""
    open_tasks = [task for task in one.tasks if task.state not in TERMINAL]
    return bool(open_tasks) and all(task.state is State.UNKNOWN and task.reason.startswith("gone ") for task in open_tasks)


def _unknown(run: Run, why: str) -> RunStatus:
    tasks = tuple(TaskStatus(task=task, state=State.UNKNOWN, reason=why) for task in range(run.tasks))
    return RunStatus(run=run, tasks=tasks, asked=int(time.time()))
