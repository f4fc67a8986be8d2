"""Submit: render, note, deliver, note. A run has one job, however often the connection dies on the way."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from hpcdeploy import limits
from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import (
    ConfigError,
    ConnectionLostError,
    HpcdeployError,
    SchedulerError,
    TransportError,
    UncertainSubmissionError,
)
from hpcdeploy.flows.answered import check_submission
from hpcdeploy.flows.connections import Connections
from hpcdeploy.flows.last_words import Listening, check_began
from hpcdeploy.job import Job, Request
from hpcdeploy.login_node import SUBMITTING, read_answer
from hpcdeploy.parcel import Parcel
from hpcdeploy.progress import Carrying, silently
from hpcdeploy.run import Run, RunStatus, new_run_id
from hpcdeploy.scheduler.login_node import Delivery
from hpcdeploy.store import Store
from hpcdeploy.transport.contract import Completed, Output, ignore_output
from hpcdeploy.whole_number import whole_number

_PAUSES = (0, 2, 4)

_MOST_DELIVERIES = 4
"""How often a script may ask for files that were brought already, before it is clear that it cannot see them."""

_Bring = Callable[[Sequence[Mapping[str, object]]], None]


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A run that has its job; ``already`` where an earlier call had submitted it."""

    run: Run
    already: bool


def plan_run(job: Job, cluster: Cluster, scheduler: SchedulerName, delivery: Delivery, *, now: float) -> Run:
    """Make the value of a new run, with a fresh id; nothing is touched."""
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
    """Note `run`, run its `script` on the login node until it has answered, and note the job's id.

    What the script finds missing of `parcels` is brought, and the script run again. `report` takes what the scripts say to
    people, `carrying` shows transfers; `again` says that the run, with its parcels, is on record already; `request`
    is noted of a new one. Raises `SchedulerError` (refused), `UncertainSubmissionError` (the connection died in each
    attempt: submitting the same run again is safe), `TransportError` where not even the first connection could be made, or
    the parcels could not be brought to their end, and what `hpcdeploy.flows.deliver.deliver` raises.
    """
    if again:
        store.resumed(run)
    else:
        store.add(run, script, parcels, request)

    def bring(needed: Sequence[Mapping[str, object]]) -> None:
        from hpcdeploy.flows.deliver import deliver  # most submissions find everything there

        deliver(needed, parcels, cluster, connections, report=report, carrying=carrying, overrides=overrides, check=again)

    try:
        answer = _deliver(run, script, cluster, connections, report, bring, again=again)
    except UncertainSubmissionError:
        raise
    except KeyboardInterrupt:
        report(f"run {run.id} may have been submitted; 'hpcdeploy submit --resume {run.id}' finds or submits it\n".encode())
        raise
    except HpcdeployError as error:
        # Plainly refused, or never reached: there is no job, and so nothing to remember, unless an earlier call did.
        if not again:
            store.forget(run)
        elif not run.job_id:
            raise type(error)(
                f"{error}. Run {run.id} stays on record: resume it once that can be, or end it: hpcdeploy cancel {run.id}"
            ) from error
        raise
    if "cancelled" in answer:
        raise SchedulerError(
            f"{answer['cancelled']}. Where this record does not say so, 'hpcdeploy cancel {run.id}' notes it"
        )
    part = whole_number(answer.get("part", 0)) or 0
    done = replace(run, job_id=str(answer["job_id"]), part=part, folder=str(answer["folder"]))
    _note(done, store)
    return Submitted(run=done, already=bool(answer["already"]))


def _note(done: Run, store: Store) -> None:
    try:
        store.submitted(done)
    except ConfigError as error:
        raise ConfigError(
            f"run {done.id} was submitted as job {done.job_id}, but that could not be noted ({error}). Once it can be, "
            f"'hpcdeploy submit --resume {done.id}' notes it"
        ) from error


def check_resumable(known: RunStatus) -> None:
    """Raise `ConfigError` for a run that was cancelled before it was submitted."""
    if known.ended and not known.run.job_id:
        raise ConfigError(
            f"run {known.run.id} was cancelled before it was submitted; if it is still to run, submit {known.run.job} anew"
        )


def _deliver(
    run: Run, script: str, cluster: Cluster, connections: Connections, report: Output, bring: _Bring, *, again: bool
) -> Mapping[str, object]:
    """Run the script as often as it takes: it is made to be run again, so a cut connection is answered by running it."""
    needed: Sequence[Mapping[str, object]] = ()
    lost: TransportError | None = None
    for _ in range(_MOST_DELIVERIES):
        answer, lost = _ask(run, script, cluster, connections, report, lost, again=again)
        if "needs" not in answer:
            return answer
        needed = cast("Sequence[Mapping[str, object]]", answer["needs"])
        try:
            bring(needed)
        except HpcdeployError as error:
            if lost is None:
                raise
            # The call that was cut off may be alive over there, and submit once somebody else has brought what is missing.
            raise _uncertain(run, error) from error
    missed = SchedulerError(
        f"what was brought for run {run.id} is not where the login node looks for it: "
        f"{', '.join(str(need['path']) for need in needed)}; is the cluster's root one folder for all its login nodes?"
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
    """Run the script until it answers; return its answer, and how an earlier call of it was `lost`, if one was.

    Once a call was lost no failure of a later one is believed: the lost one may be alive over there, and submit yet.
    """
    for pause in _PAUSES:
        time.sleep(pause)
        shell = (*SUBMITTING, *(("again",) if again or lost else ()))
        try:
            text, heard = script.encode("utf-8", "surrogateescape"), Listening(report)
            transport = connections.to(cluster)
            completed = transport.run(shell, stdin=text, on_stderr=heard.take, limit=limits.SUBMISSION)
            return _answer(run, completed, heard.words(completed), transport.where), lost
        except TransportError as error:
            connections.drop(cluster)
            if lost is None and not isinstance(error, ConnectionLostError):
                raise
            lost = error
            report(f"{error}; asking again\n".encode())
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
        f"the connection died while run {run.id} was being submitted ({lost}); the job may or may not be there. "
        f"Run 'hpcdeploy submit --resume {run.id}': it finds the job, or submits it, once"
    )


def _answer(run: Run, completed: Completed, said: str, where: str) -> Mapping[str, object]:
    """Return what the script answered, or raise what its exit code means, in the words that it `said`."""
    if 0 <= completed.exit_code <= 128:
        check_began(completed, where)
    match completed.exit_code:
        case 0 | 14:  # 14: files are to be brought first
            try:
                answer = read_answer(completed.stdout)
                if answer is not None:
                    return check_submission(answer, run)
            except ValueError as error:
                said = str(error)
            raise UncertainSubmissionError(
                f"the login node ran run {run.id}'s script but did not say how it ended; its last words: {said[-500:]}. "
                f"Run 'hpcdeploy submit --resume {run.id}' to ask again"
            )
        case 15:
            return {"cancelled": said}
        case 13:
            raise UncertainSubmissionError(
                f"{said}. Run 'hpcdeploy submit --resume {run.id}' in a while: it finds or makes the job, once"
            )
        case code if code < 0 or 128 < code < 193:  # 128 + n: sshd's shell tells of a shell that it started itself
            raise ConnectionLostError(
                f"the script of run {run.id} was killed by signal {-code if code < 0 else code - 128} on the login node"
            )
        case _:
            raise SchedulerError(said)
