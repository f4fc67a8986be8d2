"""Cancel: one call to each scheduler, for all the runs that it has. A run that nobody is sure of is looked for before."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import ConnectionLostError, HpcdeployError, SchedulerError, TransportError, UncertainSubmissionError
from hpcdeploy.flows.answered import check_submission
from hpcdeploy.flows.asking import alive_by_scheduler
from hpcdeploy.flows.connections import Connections
from hpcdeploy.flows.follow import ClusterOf
from hpcdeploy.flows.last_words import check_began, last_words
from hpcdeploy.login_node import SHELL, read_answer
from hpcdeploy.run import Run, RunStatus, State, TaskStatus
from hpcdeploy.scheduler.login_node import cancelling, revoking
from hpcdeploy.store import Store
from hpcdeploy.whole_number import whole_number


def ignore_run(_run: Run) -> None:
    """Take a run and do nothing."""


def cancel(
    known: Sequence[RunStatus],
    cluster_of: ClusterOf,
    connections: Connections,
    store: Store,
    *,
    report: Callable[[Run], None] = ignore_run,
    overrides: Path | None = None,
) -> list[Run]:
    """Cancel those of the runs that have not ended, and return them; each that was cancelled is told to `report`.

    A run whose submission was cut off is looked for: its job is cancelled too, or none is ever made of it, and the record
    learns which. A cluster that fails keeps nobody from the others; its error is raised at the end, the first one where
    several fail, with what the others said: `SchedulerError` with the scheduler's own words where it refused,
    `UncertainSubmissionError` where still nobody can say whether such a run has a job, and what a transport raises.
    `overrides` is the folder of the project whose own templates count.
    """
    told = [one for one in known if not one.unsure]
    cancelled: list[Run] = []
    failures: list[HpcdeployError] = []

    def note(runs: Iterable[Run]) -> None:
        for run in runs:
            cancelled.append(run)
            report(run)

    for one in (one for one in known if one.unsure):
        try:
            found = _revoke(one.run, cluster_of(one.run.cluster), connections, store, overrides)
        except HpcdeployError as error:
            failures.append(error)
        else:
            told.append(found)
            note([] if found.run.job_id else [found.run])
    for (cluster_name, scheduler), group in alive_by_scheduler(told).items():
        runs = [one.run for one in group]
        try:
            _cancel(runs, scheduler, cluster_of(cluster_name), connections, overrides)
        except HpcdeployError as error:
            failures.append(error)
        else:
            note(runs)
    if len(failures) > 1:
        raise type(failures[0])("; ".join(map(str, failures))) from failures[0]
    if failures:
        raise failures[0]
    return cancelled


def _cancel(
    runs: Sequence[Run], scheduler: SchedulerName, cluster: Cluster, connections: Connections, overrides: Path | None
) -> None:
    script = cancelling(cluster, runs, overrides=overrides)
    transport = connections.to(cluster)
    completed = transport.run(SHELL, stdin=script.encode())
    check_began(completed, transport.where)
    if completed.exit_code:
        said = completed.stderr.decode("utf-8", "replace").strip()
        which = ("all of " if len(runs) > 1 else "") + ", ".join(run.id for run in runs)
        raise SchedulerError(f"{scheduler} on {cluster.name} did not cancel {which}: {said}")


def _revoke(run: Run, cluster: Cluster, connections: Connections, store: Store, overrides: Path | None) -> RunStatus:
    """Learn which job a run has that nobody is sure of, or see to it that it never gets one; note what is known then."""
    # Another client may still be submitting the run: that it then fails is no reason to forget it.
    store.resumed(run)
    script = revoking(cluster, run, overrides=overrides)
    again = f"run 'hpcdeploy cancel {run.id}' again in a while"
    transport = connections.to(cluster)
    try:
        completed = transport.run(SHELL, stdin=script.encode())
    except TransportError as error:
        connections.drop(cluster)
        if not isinstance(error, ConnectionLostError):
            raise
        raise UncertainSubmissionError(
            f"the connection died while run {run.id} was being cancelled ({error}); it may have a job: {again}"
        ) from error
    check_began(completed, transport.where)
    said = last_words(completed.stderr)
    if completed.exit_code == 10:
        raise SchedulerError(f"run {run.id} was not cancelled: {said}")
    try:
        answer = None if completed.exit_code else read_answer(completed.stdout)
        answer = answer and check_submission(answer, run, may_lack_job=True)
    except ValueError as error:
        answer, said = None, str(error)
    if answer is None:
        raise UncertainSubmissionError(f"{said}; {again}")
    part = whole_number(answer.get("part", 0)) or 0
    found = replace(run, job_id=str(answer["job_id"]), part=part, folder=str(answer["folder"]))
    there = {task for part in found.parts for task in range(part.first, part.first + part.tasks)}
    # Of a large array the later parts may never have been submitted.
    tasks = tuple(
        TaskStatus(task=task, state=State.PENDING)
        if task in there
        else TaskStatus(task=task, state=State.CANCELLED, reason="before it was submitted")
        for task in range(run.tasks)
    )
    status = RunStatus(run=found, tasks=tasks, asked=int(time.time()))
    store.submitted(found)
    store.learned(status)
    return status
