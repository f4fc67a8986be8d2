"""Submit a run exactly once: render, record, deliver, record. A run has one job, however often the connection fails."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from hpcdeploy import limits
from hpcdeploy.checked_values import whole_number
from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import (
    ConfigError,
    ConnectionLostError,
    HpcdeployError,
    SchedulerError,
    TransportError,
    UncertainSubmissionError,
)
from hpcdeploy.job import Job, Request
from hpcdeploy.progress import Carrying, silently
from hpcdeploy.remote.answers import SUBMITTING, check_submission, read_answer
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.output import Listening, check_began
from hpcdeploy.remote.scripts import Delivery
from hpcdeploy.run import Run, RunStatus, new_run_id
from hpcdeploy.staged_files import Parcel
from hpcdeploy.store import Store
from hpcdeploy.transport.contract import Completed, Output, ignore_output

_PAUSES = (0, 2, 4)

_MOST_DELIVERIES = 4
"""Maximum number of times that a script may request uploaded files; after that it evidently cannot see them."""

_Upload = Callable[[Sequence[Mapping[str, object]]], None]


@dataclass(frozen=True, kw_only=True)
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
    cluster: Cluster,
    connections: Connections,
    store: Store,
    *,
    parcels: Sequence[Parcel] = (),
    request: Request | None = None,
    report: Output = ignore_output,
    carrying: Carrying = silently,
    again: bool = False,
    overrides: Path | None = None,
) -> Submitted:
    """Record `run`, run its `script` on the login node until it answers, and record the job id.

    Files of `parcels` that the script reports as missing are uploaded, and the script is run again.

    Args:
        run: The run.
        script: Its submission script.
        cluster: The cluster.
        connections: The connections.
        store: The record.
        parcels: The files to upload if they are missing.
        request: The request, recorded with a new run.
        report: Receives messages for the user.
        carrying: Shows the progress of an upload.
        again: The run and its parcels are already recorded.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        SchedulerError: The submission was rejected.
        UncertainSubmissionError: The connection failed in each attempt; submitting the same run again is safe.
        TransportError: No first connection can be opened, or an upload failed.
        ConfigError: A source file has changed, or the record cannot be written.
    """
    if again:
        store.resumed(run)
    else:
        store.add(run, script, parcels, request)

    def upload(needed: Sequence[Mapping[str, object]]) -> None:
        from hpcdeploy.remote.upload import deliver  # most submissions find all files on the cluster

        deliver(needed, parcels, cluster, connections, report=report, carrying=carrying, overrides=overrides, check=again)

    try:
        answer = _deliver(run, script, cluster, connections, report, upload, again=again)
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
    if "cancelled" in answer:
        raise SchedulerError(f"{answer['cancelled']}. Run 'hpcdeploy cancel {run.id}' to record that")
    part = whole_number(answer.get("part", 0)) or 0
    done = replace(run, job_id=str(answer["job_id"]), part=part, folder=str(answer["folder"]))
    _record(done, store)
    return Submitted(run=done, already=bool(answer["already"]))


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


def _deliver(
    run: Run, script: str, cluster: Cluster, connections: Connections, report: Output, upload: _Upload, *, again: bool
) -> Mapping[str, object]:
    """Run the script as often as needed; it is idempotent, so after a lost connection it is run again."""
    needed: Sequence[Mapping[str, object]] = ()
    lost: TransportError | None = None
    for _ in range(_MOST_DELIVERIES):
        answer, lost = _ask(run, script, cluster, connections, report, lost, again=again)
        if "needs" not in answer:
            return answer
        needed = cast("Sequence[Mapping[str, object]]", answer["needs"])
        try:
            upload(needed)
        except HpcdeployError as error:
            if lost is None:
                raise
            # The interrupted script may still run there, and submit after another client has uploaded the missing files.
            raise _uncertain(run, error) from error
    missed = SchedulerError(
        f"the files uploaded for run {run.id} are not visible on the login node:  "
        f"{', '.join(str(need['path']) for need in needed)}; check that all login nodes share the cluster's root"
    )
    raise missed if lost is None else _uncertain(run, missed)


def _ask(
    run: Run,
    script: str,
    cluster: Cluster,
    connections: Connections,
    report: Output,
    lost: TransportError | None,
    *,
    again: bool,
) -> tuple[Mapping[str, object], TransportError | None]:
    """Run the script until it answers; return its answer, and the error of an earlier interrupted call, if any.

    After an interrupted call the failure of a later one is not final: the first script may still run, and submit.
    """
    for pause in _PAUSES:
        time.sleep(pause)
        shell = (*SUBMITTING, *(("again",) if again or lost else ()))
        try:
            text, stderr = script.encode("utf-8", "surrogateescape"), Listening(report)
            transport = connections.to(cluster)
            completed = transport.run(shell, stdin=text, on_stderr=stderr.take, limit=limits.SUBMISSION)
            return _answer(run, completed, stderr.words(completed), transport.where), lost
        except TransportError as error:
            connections.drop(cluster)
            if lost is None and not isinstance(error, ConnectionLostError):
                raise
            lost = error
            report(f"{error}; trying again\n".encode())
        except UncertainSubmissionError:
            raise
        except HpcdeployError as error:
            if lost is None:
                raise
            raise _uncertain(run, error) from error
    assert lost is not None
    raise _uncertain(run, lost) from lost


def _uncertain(run: Run, lost: HpcdeployError) -> UncertainSubmissionError:
    return UncertainSubmissionError(
        f"the connection was lost while run {run.id} was being submitted ({lost}); it is not known whether the job exists. "
        f"Run 'hpcdeploy submit --resume {run.id}': it finds the job or submits it, once"
    )


def _answer(run: Run, completed: Completed, message: str, where: str) -> Mapping[str, object]:
    """Return the script's answer, or raise the error for its exit code with the message `message`."""
    if 0 <= completed.exit_code <= 128:
        check_began(completed, where)
    match completed.exit_code:
        case 0 | 14:  # 14: files must be uploaded first
            try:
                answer = read_answer(completed.stdout)
                if answer is not None:
                    return check_submission(answer, run)
            except ValueError as error:
                message = str(error)
            raise UncertainSubmissionError(
                f"the login node ran run {run.id}'s script, but reported no result; standard error ends: {message[-500:]}. "
                f"Run 'hpcdeploy submit --resume {run.id}' to query it again"
            )
        case 15:
            return {"cancelled": message}
        case 13:
            raise UncertainSubmissionError(
                f"{message}. Run 'hpcdeploy submit --resume {run.id}' later: it finds the job or submits it, once"
            )
        case code if (
            code < 0 or 128 < code < 193
        ):  # 128 + n: sshd's shell reports the signal of a shell that it started itself
            raise ConnectionLostError(
                f"the script of run {run.id} was killed by signal {-code if code < 0 else code - 128} on the login node"
            )
        case _:
            raise SchedulerError(message)
