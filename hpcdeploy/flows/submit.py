"""Submit a run exactly once: record it, deliver it, record its job. It has one job, however often the connection fails."""

from collections.abc import Sequence

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import ConfigError, HpcdeployError, SchedulerError, UncertainSubmissionError
from hpcdeploy.frozen import frozen
from hpcdeploy.job import Job, Request
from hpcdeploy.progress import NO_FEEDBACK, Feedback
from hpcdeploy.remote.answers import Submission
from hpcdeploy.remote.session import Session
from hpcdeploy.remote.submission import deliver
from hpcdeploy.run import Run, RunStatus, new_run_id
from hpcdeploy.staged_files import Delivery, StagedFile
from hpcdeploy.store import Store


@frozen
class Submitted:
    """A run with its job; ``already``: an earlier call had submitted it."""

    run: Run
    already: bool


def plan_run(job: Job, cluster: Cluster, scheduler: SchedulerName, delivery: Delivery, *, now: float) -> Run:
    """Return a new run with a new id; nothing is recorded."""
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
    """Record a new `run`, run its `script` on the login node until it answers, and record the job id.

    A run that was rejected, or never delivered, is removed from the record: it has no job.

    Args:
        run: The run.
        script: Its submission script.
        session: A session with its cluster.
        store: The record.
        uploads: The files to upload if the cluster does not have them.
        request: The request, for the record.
        feedback: Shows messages and the progress of an upload.

    Raises:
        SchedulerError: The submission was rejected.
        UncertainSubmissionError: The connection failed in each attempt; `resume` is safe.
        TransportError: No first connection can be opened, or an upload failed.
        ConfigError: A source file has changed, or the record cannot be written.
    """
    store.add(run, script, uploads, request)
    try:
        done = _deliver(run, script, session, uploads, feedback, again=False)
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
    """Find the job of a recorded `run` whose submission was interrupted, or submit it; record the job id.

    The run stays in the record if this fails, because the earlier call may have submitted it.

    Args:
        run: The run.
        script: Its recorded script.
        session: A session with its cluster.
        store: The record.
        uploads: Its recorded uploads. They are checked before they are sent.
        feedback: Shows messages and the progress of an upload.

    Raises:
        SchedulerError: The submission was rejected.
        UncertainSubmissionError: The connection failed in each attempt; `resume` is safe.
        TransportError: No first connection can be opened, or an upload failed.
        ConfigError: A source file has changed, or the record cannot be written.
        UnknownRunError: The call that submits the run has just removed it.
    """
    store.resumed(run)
    try:
        done = _deliver(run, script, session, uploads, feedback, again=True)
    except UncertainSubmissionError:
        raise
    except HpcdeployError as error:
        if run.job_id:
            raise
        raise type(error)(
            f"{error}. Run {run.id} remains in the record: resume it after fixing this, or "
            f"cancel it: hpcdeploy cancel {run.id}"
        ) from error
    return _recorded(done, store)


def _deliver(
    run: Run, script: str, session: Session, uploads: Sequence[StagedFile], feedback: Feedback, *, again: bool
) -> Submission:
    """Deliver a submission script; if the user interrupts that, print how to continue."""
    try:
        return deliver(run, script, session, uploads, feedback=feedback, again=again)
    except KeyboardInterrupt:
        feedback.report(
            f"run {run.id} may have been submitted; 'hpcdeploy submit --resume {run.id}' finds or submits it\n".encode()
        )
        raise


def _recorded(done: Submission, store: Store) -> Submitted:
    """Record the job id that a submission script reported."""
    if done.cancelled:
        raise SchedulerError(f"{done.cancelled}. Run 'hpcdeploy cancel {done.run.id}' to record that")
    _record(done.run, store)
    return Submitted(run=done.run, already=done.already)


def _record(done: Run, store: Store) -> None:
    try:
        store.submitted(done)
    except ConfigError as error:
        raise ConfigError(
            f"run {done.id} was submitted as job {done.job_id}, but that could not be recorded ({error}). After fixing "
            f"this, run 'hpcdeploy submit --resume {done.id}' to record it"
        ) from error


def check_resumable(known: RunStatus) -> None:
    """Raise `ConfigError` for a run that was cancelled before it was submitted."""
    if known.ended and not known.run.job_id:
        raise ConfigError(
            f"run {known.run.id} was cancelled before it was submitted; submit {known.run.job} again to run it"
        )
