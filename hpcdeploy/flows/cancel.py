"""Cancel runs, with one call to each scheduler; a run whose submission is uncertain is looked up first."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from hpcdeploy.checked_values import whole_number
from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import ConnectionLostError, HpcdeployError, SchedulerError, TransportError, UncertainSubmissionError
from hpcdeploy.flows.follow import ClusterOf
from hpcdeploy.remote.answers import SHELL, check_submission, read_answer
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.output import check_began, last_words
from hpcdeploy.remote.query import alive_by_scheduler
from hpcdeploy.remote.scripts import cancelling, revoking
from hpcdeploy.run import Run, RunStatus, State, TaskStatus
from hpcdeploy.store import Store


def ignore_run(_run: Run) -> None:
    """Ignore a run."""


def cancel(
    known: Sequence[RunStatus],
    cluster_of: ClusterOf,
    connections: Connections,
    store: Store,
    *,
    report: Callable[[Run], None] = ignore_run,
    overrides: Path | None = None,
) -> list[Run]:
    """Cancel those of the runs that have not ended, and return them.

    A run whose submission was interrupted is looked up: either its job is cancelled, or its submission is prevented. The
    record is updated. A failing cluster does not stop the others; its error is raised at the end. If several fail, the first
    error class is raised with all messages.

    Args:
        known: The runs with their last known states.
        cluster_of: Returns the cluster of a name.
        connections: The connections.
        store: The record.
        report: Called with each run that was cancelled.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        SchedulerError: A scheduler rejected the request; the message contains its own.
        UncertainSubmissionError: It is still not known whether a run has a job.
        TransportError: A connection failed.
    """
    certain = [one for one in known if not one.unsure]
    cancelled: list[Run] = []
    failures: list[HpcdeployError] = []

    def note(runs: Iterable[Run]) -> None:
        for run in runs:
            cancelled.append(run)
            report(run)

    for one in (one for one in known if one.unsure):
        try:
            found = _cancel_uncertain(one.run, cluster_of(one.run.cluster), connections, store, overrides)
        except HpcdeployError as error:
            failures.append(error)
        else:
            certain.append(found)
            note([] if found.run.job_id else [found.run])
    for (cluster_name, scheduler), group in alive_by_scheduler(certain).items():
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
        message = completed.stderr.decode("utf-8", "replace").strip()
        which = ("all of " if len(runs) > 1 else "") + ", ".join(run.id for run in runs)
        raise SchedulerError(f"{scheduler} on {cluster.name} did not cancel {which}: {message}")


def _cancel_uncertain(
    run: Run, cluster: Cluster, connections: Connections, store: Store, overrides: Path | None
) -> RunStatus:
    """Find the job of a run whose submission is uncertain, or prevent its submission; record and return the result."""
    # Another client may still be submitting this run; a failure here must not remove it from the record.
    store.resumed(run)
    script = revoking(cluster, run, overrides=overrides)
    again = f"run 'hpcdeploy cancel {run.id}' again later"
    transport = connections.to(cluster)
    try:
        completed = transport.run(SHELL, stdin=script.encode())
    except TransportError as error:
        connections.drop(cluster)
        if not isinstance(error, ConnectionLostError):
            raise
        raise UncertainSubmissionError(
            f"the connection failed while run {run.id} was being cancelled ({error}); it may have a job: {again}"
        ) from error
    check_began(completed, transport.where)
    message = last_words(completed.stderr)
    if completed.exit_code == 10:
        raise SchedulerError(f"run {run.id} was not cancelled: {message}")
    try:
        answer = None if completed.exit_code else read_answer(completed.stdout)
        answer = answer and check_submission(answer, run, may_lack_job=True)
    except ValueError as error:
        answer, message = None, str(error)
    if answer is None:
        raise UncertainSubmissionError(f"{message}; {again}")
    part = whole_number(answer.get("part", 0)) or 0
    found = replace(run, job_id=str(answer["job_id"]), part=part, folder=str(answer["folder"]))
    submitted_tasks = {task for part in found.parts for task in range(part.first, part.first + part.tasks)}
    # The later chunks of a large array may never have been submitted.
    tasks = tuple(
        TaskStatus(task=task, state=State.PENDING)
        if task in submitted_tasks
        else TaskStatus(task=task, state=State.CANCELLED, reason="before it was submitted")
        for task in range(run.tasks)
    )
    status = RunStatus(run=found, tasks=tasks, asked=int(time.time()))
    store.submitted(found)
    store.learned(status)
    return status
