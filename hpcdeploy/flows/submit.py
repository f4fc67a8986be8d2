"""Submit a run exactly once: record the run, run its submission script on the login node, and record the job id.

The run gets exactly one job, even if the connection fails several times.
"""

from collections.abc import Sequence

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import ConfigError, HpcdeployError, SchedulerError, UncertainSubmissionError
from hpcdeploy.frozen import frozen
from hpcdeploy.job import Job, Request
from hpcdeploy.progress import NO_FEEDBACK, Feedback
from hpcdeploy.remote.answers import Submission
from hpcdeploy.remote.session import Session
from hpcdeploy.remote.submission import submit_once
from hpcdeploy.run import Run, RunStatus, new_run_id
from hpcdeploy.staged_files import Delivery, StagedFile
from hpcdeploy.store import Store


@frozen
class Submitted:
    """A submitted run.

    Attributes:
        run: The run with its job id.
        already: An earlier call had submitted the run; this call only found its job.
    """

    run: Run
    already: bool


def plan_run(job: Job, cluster: Cluster, scheduler: SchedulerName, delivery: Delivery, *, now: float) -> Run:
    """Return a new run with a new id. The run is not recorded yet.

    Args:
        job: The job to run.
        cluster: The cluster that will run it.
        scheduler: One of the cluster's schedulers.
        delivery: How the cluster gets the job's image.
        now: The time of the submission, in seconds since 1970.
    """
    return Run(
        id=new_run_id(job.name),
        job=job.name,
        cluster=cluster.name,
        scheduler=scheduler,
        image=job.image,
        sha256=delivery.sha256,
        tasks=job.array.size if job.array else 1,
        command=job.command,
        submitted=int(now),
        workdir=job.workdir,
        outputs=job.outputs,
    )


def submit(
    run: Run,
    script: str,
    session: Session,
    store: Store,
    *,
    uploads: Sequence[StagedFile] = (),
    request: Request | None = None,
    feedback: Feedback = NO_FEEDBACK,
) -> Submitted:
    """Record a new `run`, run its `script` on the login node until the script answers, and record the job id.

    If the submission certainly failed, the run has no job and is removed from the record. If it may have succeeded, the run
    stays in the record.

    Args:
        run: The new run (`plan_run`).
        script: The run's submission script.
        session: A session with the run's cluster.
        store: The record of runs and images.
        uploads: The files to upload if they are missing on the cluster.
        request: The user's request. It is recorded with the run.
        feedback: Shows messages and the progress of an upload.

    Raises:
        SchedulerError: The submission was rejected, or the run was cancelled while it was submitted.
        UncertainSubmissionError: The result is unknown, because a connection was lost or the scheduler did not answer.
            Calling `resume` for this run is safe.
        TransportError: The first connection cannot be opened, or an upload failed.
        ConfigError: A file to upload has changed, or the record cannot be written.
    """
    store.add(run, script, uploads, request)
    try:
        done = _submit_once(run, script, session, uploads, feedback, again=False)
    except UncertainSubmissionError:
        raise
    except HpcdeployError:
        store.forget(run)
        raise
    return _recorded(done, store)


def resume(
    run: Run,
    script: str,
    session: Session,
    store: Store,
    *,
    uploads: Sequence[StagedFile] = (),
    feedback: Feedback = NO_FEEDBACK,
) -> Submitted:
    """Find the job of a recorded `run` whose submission was interrupted, or submit the run; record the job id.

    If this call fails, the run stays in the record, because the earlier call may have submitted it.

    Args:
        run: The recorded run.
        script: The run's recorded submission script.
        session: A session with the run's cluster.
        store: The record of runs and images.
        uploads: The run's recorded uploads. Each file is compared with its recorded checksum before it is uploaded.
        feedback: Shows messages and the progress of an upload.

    Raises:
        SchedulerError: The submission was rejected, or the run was cancelled.
        UncertainSubmissionError: The result is unknown, because a connection was lost or the scheduler did not answer.
            Calling `resume` again is safe.
        TransportError: The first connection cannot be opened, or an upload failed.
        ConfigError: A file to upload has changed, or the record cannot be written.
        UnknownRunError: The run is no longer in the record: the call that was submitting it failed and removed it.
    """
    store.resumed(run)
    try:
        done = _submit_once(run, script, session, uploads, feedback, again=True)
    except UncertainSubmissionError:
        raise
    except HpcdeployError as error:
        if run.job_id:
            raise
        raise type(error)(
            f"{error}. Run {run.id} remains in the record. Fix this, then run 'hpcdeploy submit --resume {run.id}'; or "
            f"cancel the run: hpcdeploy cancel {run.id}"
        ) from error
    return _recorded(done, store)


def _submit_once(
    run: Run, script: str, session: Session, uploads: Sequence[StagedFile], feedback: Feedback, *, again: bool
) -> Submission:
    """Run a submission script until it has submitted the run (`submit_once`).

    If the user presses Ctrl-C, print how to resume the run.
    """
    try:
        return submit_once(run, script, session, uploads, feedback=feedback, again=again)
    except KeyboardInterrupt:
        feedback.report(
            f"run {run.id} may have been submitted; 'hpcdeploy submit --resume {run.id}' finds or submits it\n".encode()
        )
        raise


def _recorded(done: Submission, store: Store) -> Submitted:
    """Record the job id that a submission script reported; raise `SchedulerError` for a run that was cancelled."""
    if done.cancelled:
        raise SchedulerError(f"{done.cancelled}. Run 'hpcdeploy cancel {done.run.id}' to record the cancellation")
    _record(done.run, store)
    return Submitted(run=done.run, already=done.already)


def _record(done: Run, store: Store) -> None:
    try:
        store.submitted(done)
    except ConfigError as error:
        raise ConfigError(
            f"run {done.id} was submitted as job {done.job_id}, but the job id could not be recorded ({error}). Fix this, "
            f"then run 'hpcdeploy submit --resume {done.id}' to record the job id"
        ) from error


def check_resumable(known: RunStatus) -> None:
    """Raise `ConfigError` for a run that was cancelled before it was submitted."""
    if known.ended and not known.run.job_id:
        raise ConfigError(
            f"run {known.run.id} was cancelled before it was submitted, so it cannot be resumed; submit job "
            f"{known.run.job} again"
        )
