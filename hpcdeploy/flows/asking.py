"""Asking: what one cluster says of many runs, in one round trip for each of its schedulers."""

import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from hpcdeploy import limits
from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import SchedulerError
from hpcdeploy.flows.last_words import check_began, last_words
from hpcdeploy.login_node import SHELL
from hpcdeploy.run import UNREAD, RunStatus, State, TaskStatus
from hpcdeploy.scheduler.answers import read_answers
from hpcdeploy.scheduler.contract import scheduler_of
from hpcdeploy.scheduler.login_node import following
from hpcdeploy.transport.contract import Transport

_SILENCE = 120.0
"""Seconds in which a login node must say something: longer than a busy controller takes (slurm.conf(5), MessageTimeout)."""

_OVER_LIMIT = 13
"""Exit status of the follow script if a scheduler printed more than is read: nothing is known then."""

_AT_ONCE = 5000
"""Runs in one question: their numbers may be one argument of sacct, which Linux limits to 128 KiB (execve(2))."""


def ask(
    transport: Transport,
    cluster: Cluster,
    scheduler: SchedulerName,
    known: Sequence[RunStatus],
    *,
    overrides: Path | None = None,
) -> Iterator[RunStatus]:
    """Ask one cluster's one scheduler about runs that have not ended, and yield what was learned.

    What is known to have ended stays as it is, and nothing is said of it again. Raises `SchedulerError` where the answer
    cannot be read, and what the transport raises. Where only some rows of it cannot be read, it is raised at the end.
    """
    unread: dict[str, None] = {}
    for start in range(0, len(known), _AT_ONCE):
        for one in _ask(transport, cluster, scheduler, known[start : start + _AT_ONCE], overrides):
            unread |= {task.reason.removeprefix(UNREAD): None for task in one.tasks if task.unread}
            yield one
    if unread:
        rows = f"{next(iter(unread))}" + (f" and {len(unread) - 1} more" if len(unread) > 1 else "")
        raise SchedulerError(f"{scheduler} answered what cannot be read as a task: {rows}; ask again, or ask the site")


def _ask(
    transport: Transport, cluster: Cluster, scheduler: SchedulerName, known: Sequence[RunStatus], overrides: Path | None
) -> list[RunStatus]:
    transport.begin(SHELL)
    fence = secrets.token_hex(8)
    runs = [one.run for one in known]
    over = {one.run.id: one.over for one in known}
    script = following(cluster, scheduler, runs, fence, over=over, overrides=overrides)
    tasks = sum(run.tasks for run in runs)
    limit = limits.following(tasks)
    completed = transport.run(SHELL, stdin=script.encode(), timeout=_SILENCE, limit=limit)
    check_began(completed, transport.where)
    if completed.exit_code == _OVER_LIMIT:
        raise SchedulerError(f"{transport.where}: {last_words(completed.stderr)}")
    try:
        answers = read_answers(
            completed.stdout, fence, *scheduler_of(scheduler).SECTIONS, lines=limits.lines_following(tasks)
        )
        told = scheduler_of(scheduler).states(answers, runs)
    except SchedulerError as error:
        said = completed.stderr.decode("utf-8", "replace").strip()[-500:]
        raise SchedulerError(f"{error}; on its error stream: {said or '(nothing)'}") from error
    now = int(time.time())
    return [RunStatus(run=one.run, tasks=_joined(one, told[one.run.id]), asked=now) for one in known]


def _joined(before: RunStatus, told: Sequence[TaskStatus]) -> tuple[TaskStatus, ...]:
    kept = {task.task: task for task in before.tasks if task.task in before.over}
    # Tasks of which nothing was told are those that were cancelled before they were submitted.
    joined = {task.task: task for task in told} | kept
    return tuple(joined[task] for task in sorted(joined))


def alive_by_scheduler(known: Sequence[RunStatus]) -> dict[tuple[str, SchedulerName], list[RunStatus]]:
    """Sort the runs that have a job and have not ended by cluster and scheduler: each such group is one question."""
    groups: dict[tuple[str, SchedulerName], list[RunStatus]] = {}
    for one in alive(known):
        groups.setdefault((one.run.cluster, one.run.scheduler), []).append(one)
    return groups


def alive(known: Sequence[RunStatus]) -> list[RunStatus]:
    """Pick the runs that have a job and have not ended: of the others nothing need be asked."""
    return [one for one in known if one.run.job_id and not one.ended]


def unknown(before: RunStatus, why: str) -> RunStatus:
    """Say that nobody knows where a run's tasks are, but for those that are known to have ended."""
    tasks = tuple(TaskStatus(task=task, state=State.UNKNOWN, reason=why) for task in range(before.run.tasks))
    return RunStatus(run=before.run, tasks=_joined(before, tasks), asked=int(time.time()))
