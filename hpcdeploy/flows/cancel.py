"""Cancel runs, with one call to each scheduler. If it is unknown whether a run has a job, the job is looked up first."""

import time
from collections.abc import Callable, Iterable, Sequence

from hpcdeploy.errors import HpcdeployError
from hpcdeploy.remote.cancellation import cancel_jobs, find_or_prevent
from hpcdeploy.remote.session import Session, SessionOf
from hpcdeploy.run import Run, RunStatus, State, TaskStatus
from hpcdeploy.store import Store


def ignore_run(_run: Run) -> None:
    """Ignore a run."""


def cancel(
    known: Sequence[RunStatus],
    session_of: SessionOf,
    store: Store,
    *,
    report: Callable[[Run], None] = ignore_run,
) -> list[Run]:
    """Cancel the runs in `known` that have not ended, and return the cancelled runs.

    If the submission of a run was interrupted, its job is looked up and cancelled. If the run has no job, its submission is
    prevented. The result of the lookup is recorded. The end of a cancelled job is recorded by the next query of its state. A
    run that ended after its state was recorded is not among the cancelled runs.

    If a cluster fails, the other clusters are still used. The error that is raised has the messages of all failures.

    Args:
        known: The runs with their last known states.
        session_of: Returns the session with a cluster.
        store: The record of runs and images.
        report: Called with each run that was cancelled.

    Raises:
        SchedulerError: A scheduler rejected the request. The message contains the scheduler's message.
        UncertainSubmissionError: It is still not known whether a run has a job.
        TransportError: A connection failed.
        ConfigError: The settings of a cluster are missing or invalid.
        UnknownRunError: A run is no longer in the record: the call that was submitting it failed and removed it.
    """
    certain = [one for one in known if not one.unsure]
    uncertain = {one.run.id for one in known if one.unsure}
    cancelled: list[Run] = []
    failures: list[HpcdeployError] = []

    def note(runs: Iterable[Run]) -> None:
        for run in runs:
            cancelled.append(run)
            report(run)

    for one in (one for one in known if one.unsure):
        try:
            found = _cancel_uncertain(one.run, session_of(one.run.cluster), store)
        except HpcdeployError as error:
            failures.append(error)
        else:
            certain.append(found)
            note([] if found.run.job_id else [found.run])
    alive = [one.run for one in certain if one.alive]
    for cluster, scheduler in dict.fromkeys((run.cluster, run.scheduler) for run in alive):
        runs = [run for run in alive if (run.cluster, run.scheduler) == (cluster, scheduler)]
        try:
            queued = cancel_jobs(runs, session_of(cluster))
            # A job that was just looked up can leave the queue without running: its submission saw the cancellation.
            note(run for run in runs if run in queued or run.id in uncertain)
        except HpcdeployError as error:
            failures.append(error)
    if len(failures) > 1:
        raise type(failures[0])("; ".join(map(str, failures))) from failures[0]
    if failures:
        raise failures[0]
    return cancelled


def _cancel_uncertain(run: Run, session: Session, store: Store) -> RunStatus:
    """Find the job of a run whose submission is uncertain, or prevent its submission; record and return the result."""
    # Another client may still be submitting this run. If that submission fails, the client must not remove the run from the
    # record.
    store.resumed(run)
    found = find_or_prevent(run, session)
    submitted_tasks = {task for part in found.parts for task in range(part.first, part.first + part.tasks)}
    # A large array is submitted in chunks. An interrupted submission may have submitted only the first chunks.
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
