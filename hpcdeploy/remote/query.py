"""Query one cluster for the states of many runs, with one round trip for each of its schedulers."""

import secrets
import time
from collections.abc import Iterator, Sequence

from hpcdeploy import limits
from hpcdeploy.cluster import SchedulerName
from hpcdeploy.errors import HpcdeployError, SchedulerError
from hpcdeploy.frozen import frozen
from hpcdeploy.remote.answers import ExitCode
from hpcdeploy.remote.scripts import following
from hpcdeploy.remote.session import Session
from hpcdeploy.run import UNREAD, RunStatus, State, TaskStatus
from hpcdeploy.scheduler.answers import read_answers
from hpcdeploy.scheduler.contract import scheduler_of

_SILENCE = 120.0
"""Timeout for output from a login node, in seconds; more than a busy controller takes (slurm.conf(5), MessageTimeout)."""

_AT_ONCE = 5000
"""Maximum number of runs in one query: their job ids may be one argument of sacct, which Linux limits to 128 KiB
(execve(2))."""


@frozen
class QueryResult:
    """The new states of runs on a cluster, and the first error, if not all of its schedulers answered."""

    statuses: tuple[RunStatus, ...] = ()
    error: HpcdeployError | None = None


def query(session: Session, known: Sequence[RunStatus]) -> QueryResult:
    """Query the schedulers of a cluster for those runs that have not ended; an error ends the connection.

    An error of one scheduler does not keep the other from its query, and what was learned before it counts.
    """
    learned: list[RunStatus] = []
    failure: HpcdeployError | None = None
    try:
        for (_, scheduler), group in alive_by_scheduler(known).items():
            try:
                for one in query_scheduler(session, scheduler, group):
                    learned.append(one)  # noqa: PERF402 - states received before an error count
            except SchedulerError as error:
                failure = failure or error
    except HpcdeployError as error:
        failure = error
    if failure:
        session.reconnect()
    return QueryResult(statuses=tuple(learned), error=failure)


def query_scheduler(session: Session, scheduler: SchedulerName, known: Sequence[RunStatus]) -> Iterator[RunStatus]:
    """Query one scheduler of a cluster for runs that have not ended, and yield their new states.

    Tasks that are known to have ended keep their state.

    Raises:
        SchedulerError: The output cannot be parsed. If only some rows cannot, it is raised after the other runs were
            yielded.
        TransportError: The connection failed.
    """
    unread: dict[str, None] = {}
    for start in range(0, len(known), _AT_ONCE):
        for one in _query_once(session, scheduler, known[start : start + _AT_ONCE]):
            unread |= {task.reason.removeprefix(UNREAD): None for task in one.tasks if task.unread}
            yield one
    if unread:
        rows = f"{next(iter(unread))}" + (f" and {len(unread) - 1} more" if len(unread) > 1 else "")
        raise SchedulerError(f"{scheduler} printed rows that cannot be parsed: {rows}; try again, or contact the site")


def _query_once(session: Session, scheduler: SchedulerName, known: Sequence[RunStatus]) -> list[RunStatus]:
    session.begin()
    fence = secrets.token_hex(8)
    runs = [one.run for one in known]
    over = {one.run.id: one.over for one in known}
    script = following(session.cluster, scheduler, runs, fence, over=over, overrides=session.overrides)
    tasks = sum(run.tasks for run in runs)
    result = session.run(script, timeout=_SILENCE, limit=limits.following(tasks))
    if result.exit_code == ExitCode.UNKNOWN:
        raise SchedulerError(f"{result.where}: {result.message}")
    try:
        answers = read_answers(result.stdout, fence, *scheduler_of(scheduler).SECTIONS, lines=limits.lines_following(tasks))
        states = scheduler_of(scheduler).states(answers, runs)
    except SchedulerError as error:
        raise SchedulerError(f"{error}; standard error: {result.end_of_errors or '(empty)'}") from error
    now = int(time.time())
    return [RunStatus(run=one.run, tasks=_joined(one, states[one.run.id]), asked=now) for one in known]


def _joined(before: RunStatus, states: Sequence[TaskStatus]) -> tuple[TaskStatus, ...]:
    kept = {task.task: task for task in before.tasks if task.task in before.over}
    # Tasks without a new state were cancelled before they were submitted.
    joined = {task.task: task for task in states} | kept
    return tuple(joined[task] for task in sorted(joined))


def alive_by_scheduler(known: Sequence[RunStatus]) -> dict[tuple[str, SchedulerName], list[RunStatus]]:
    """Group the runs that have a job and have not ended by cluster and scheduler; each group is one query."""
    groups: dict[tuple[str, SchedulerName], list[RunStatus]] = {}
    for one in alive(known):
        groups.setdefault((one.run.cluster, one.run.scheduler), []).append(one)
    return groups


def alive(known: Sequence[RunStatus]) -> list[RunStatus]:
    """Return the runs that have a job and have not ended; the others need no query."""
    return [one for one in known if one.run.job_id and not one.ended]


def unknown(before: RunStatus, why: str) -> RunStatus:
    """Return `before` with state UNKNOWN and the reason `why` for all tasks that are not known to have ended."""
    tasks = tuple(TaskStatus(task=task, state=State.UNKNOWN, reason=why) for task in range(before.run.tasks))
    return RunStatus(run=before.run, tasks=_joined(before, tasks), asked=int(time.time()))
