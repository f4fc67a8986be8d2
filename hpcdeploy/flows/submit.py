"""Submit a run exactly once: record it, deliver it, record its job. It has one job, however often the connection fails."""

from collections.abc import Sequence

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import ConfigError, HpcdeployError, SchedulerError, UncertainSubmissionError
from hpcdeploy.frozen import frozen
from hpcdeploy.job import Job, Request
from hpcdeploy.progress import Carrying, silently
from hpcdeploy.remote.scripts import Delivery
from hpcdeploy.remote.session import Session
from hpcdeploy.remote.submission import deliver
from hpcdeploy.run import Run, RunStatus, new_run_id
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.store import Store
from hpcdeploy.transport.contract import Output, ignore_output


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
    report: Output = ignore_output,
    carrying: Carrying = silently,
    again: bool = False,
) -> Submitted:
    """Record `run`, run its `script` on the login node until it answers, and record the job id.

    Args:
        run: The run.
        script: Its submission script.
        session: A session with its cluster.
        store: The record.
        uploads: The files to upload if the cluster does not have them.
        request: The request, recorded with a new run.
        report: Receives messages for the user.
        carrying: Shows the progress of an upload.
        again: The run and its files are already recorded.

    Raises:
        SchedulerError: The submission was rejected.
        UncertainSubmissionError: The connection failed in each attempt; submitting the same run again is safe.
        TransportError: No first connection can be opened, or an upload failed.
        ConfigError: A source file has changed, or the record cannot be written.
    """
    if again:
        store.resumed(run)
    else:
        store.add(run, script, uploads, request)
    try:
        done = deliver(run, script, session, uploads, report=report, carrying=carrying, again=again)
    except UncertainSubmissionError:
        raise
    except KeyboardInterrupt:
        report(f"run {run.id} may have been submitted; 'hpcdeploy submit --resume {run.id}' finds or submits it\n".encode())
        raise
    except HpcdeployError as error:
        # Rejected, or never delivered: there is no job and so nothing to keep, unless an earlier call was uncertain.
        if not again:
            store.forget(run)
        elif not run.job_id:
            raise type(error)(
                f"{error}. Run {run.id} remains in the record: resume it after fixing this, or "
                f"cancel it: hpcdeploy cancel {run.id}"
            ) from error
        raise
    if done.cancelled:
        raise SchedulerError(f"{done.cancelled}. Run 'hpcdeploy cancel {run.id}' to record that")
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
