"""Query one cluster for the states of many runs, with one round trip for each of its schedulers."""

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from hpcdeploy import limits
from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import HpcdeployError, SchedulerError
from hpcdeploy.frozen import frozen
from hpcdeploy.remote.answers import ExitCode
from hpcdeploy.remote.script_parts import query_script
from hpcdeploy.remote.session import Session
from hpcdeploy.run import UNREAD, Run, RunStatus, State, TaskStatus
from hpcdeploy.scheduler.contract import read_answers, scheduler_of
from hpcdeploy.shell_script import Value
from hpcdeploy.templates import refuse_former

_SILENCE = 120.0
"""Maximum time in seconds without output from a login node.

A busy slurmctld answers sooner: Slurm's commands time out after MessageTimeout, by default 10 s (slurm.conf(5)).
"""

_AT_ONCE = 5000
"""Maximum number of runs in one query.

The job ids of all runs may become one argument of sacct, and Linux limits an argument to 128 KiB (execve(2)).
"""


@frozen
class QueryResult:
    """The new states of runs on a cluster.

    Attributes:
        statuses: The states that were received.
        error: The first error if a query failed; None if all succeeded.
    """

    statuses: tuple[RunStatus, ...] = ()
    error: HpcdeployError | None = None


def query(session: Session, known: Sequence[RunStatus]) -> QueryResult:
    """Query the schedulers of a cluster for the runs in `known` that have not finished.

    If one scheduler's answer is invalid, the other scheduler is still queried. States that were received before an error are
    returned with the error. After an error the connection is closed.
    """
    alive = [one for one in known if one.alive]
    learned: list[RunStatus] = []
    failure: HpcdeployError | None = None
    try:
        for scheduler in dict.fromkeys(one.run.scheduler for one in alive):
            try:
                for one in query_scheduler(session, scheduler, [one for one in alive if one.run.scheduler == scheduler]):
                    learned.append(one)  # noqa: PERF402 - states received before an error are returned
            except SchedulerError as error:
                failure = failure or error
    except HpcdeployError as error:
        failure = error
    if failure:
        session.reconnect()
    return QueryResult(statuses=tuple(learned), error=failure)


def query_scheduler(session: Session, scheduler: SchedulerName, known: Sequence[RunStatus]) -> Iterator[RunStatus]:
    """Query one scheduler of a cluster for runs that have not finished, and yield their new states.

    Tasks that are known to have finished keep their state.

    Raises:
        SchedulerError: The output cannot be parsed. If only some rows are malformed, the error is raised after all runs were
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


def following(
    cluster: Cluster,
    scheduler: SchedulerName,
    runs: Sequence[Run],
    fence: str,
    *,
    over: Mapping[str, Iterable[int]] | None = None,
    overrides: Path | None = None,
) -> str:
    """Render the script that prints the state of `runs`.

    Args:
        cluster: The cluster.
        scheduler: The scheduler of all the runs.
        runs: The runs.
        fence: An unpredictable word for the markers in the output.
        over: Finished tasks by run id. The script prints nothing about them.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        ConfigError: A path contains a line break or a NUL.
        TemplateError: A template is broken.
    """
    refuse_former(overrides)
    limit = limits.following(sum(run.tasks for run in runs)).stdout
    values: dict[str, Value] = {
        "fence": fence,
        "queried": "\n".join(line for run in runs for line in _query_lines(run, (over or {}).get(run.id, ()))),
        "most": limit,
        "most_in_all": limits.ALL_JOBS,
        **scheduler_of(scheduler).follow_values(),
    }
    if scheduler == "htcondor":
        values["run_ids"] = tuple(run.id for run in runs)
        values["job_ids"] = tuple(part.job_id for run in runs for part in run.parts)
        values["since"] = int(min(run.submitted for run in runs))
    title = "Print the state of runs: the scheduler's output, and the runs' own records. It changes nothing."
    return query_script(title, values, cluster, f"{scheduler}-follow", with_variables=True)


def _query_lines(run: Run, over: Iterable[int]) -> Iterator[str]:
    """Yield a line of the query for each job of a run.

    Its fields are: job id, run id, number of tasks, finished tasks, number of the job's first task in the run.
    """
    ended = frozenset(over)
    for part in run.parts:
        known = spans(task for task in range(part.tasks) if part.first + task in ended)
        yield f"{part.job_id}|{run.id}|{part.tasks}|{known}|{part.first}"


def spans(numbers: Iterable[int]) -> str:
    """Return whole numbers as text for awk on the login node, such as ``0-57,60``; ``-`` if there are no numbers."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in found) or "-"


def _joined(before: RunStatus, states: Sequence[TaskStatus]) -> tuple[TaskStatus, ...]:
    kept = {task.task: task for task in before.tasks if task.task in before.over}
    # A finished task may have no new state: it was cancelled before it was submitted, so it has no job.
    joined = {task.task: task for task in states} | kept
    return tuple(joined[task] for task in sorted(joined))


def unknown(before: RunStatus, why: str) -> RunStatus:
    """Return `before` with state UNKNOWN and the reason `why` for all tasks that are not known to have ended."""
    tasks = tuple(TaskStatus(task=task, state=State.UNKNOWN, reason=why) for task in range(before.run.tasks))
    return RunStatus(run=before.run, tasks=_joined(before, tasks), asked=int(time.time()))
