"""Submit: render, note, deliver, note. A run has one job, however often the connection dies on the way."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import ConnectionLostError, HpcdeployError, SchedulerError, TransportError, UncertainSubmissionError
from hpcdeploy.flows.connections import Connections
from hpcdeploy.job import Job
from hpcdeploy.login_node import SHELL, read_answer
from hpcdeploy.run import Run, new_run_id
from hpcdeploy.scheduler.login_node import Delivery
from hpcdeploy.store import Store
from hpcdeploy.transport.contract import Completed, Output, ignore_output

_PAUSES = (0, 2, 4)


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
    )


def submit(
    run: Run,
    script: str,
    cluster: Cluster,
    connections: Connections,
    store: Store,
    *,
    report: Output = ignore_output,
    again: bool = False,
) -> Submitted:
    """Note `run`, run its `script` on the login node until it has answered, and note the job's id.

    `report` takes what the script says to people; `again` says that the run is on record already. Raises `SchedulerError`
    (refused), `UncertainSubmissionError` (the connection died in each attempt: submitting the same run again is safe), and
    `TransportError` where not even the first connection could be made.
    """
    if not again:
        store.add(run, script)
    try:
        answer = _deliver(run, script, cluster, connections, report)
    except UncertainSubmissionError:
        raise
    except HpcdeployError:
        # Plainly refused, or never reached: there is no job, and so nothing to remember, unless an earlier call did.
        if not again:
            store.forget(run)
        raise
    done = replace(run, job_id=str(answer["job_id"]), folder=str(answer["folder"]))
    store.submitted(done)
    return Submitted(run=done, already=bool(answer["already"]))


def _deliver(run: Run, script: str, cluster: Cluster, connections: Connections, report: Output) -> Mapping[str, object]:
    """Run the script as often as it takes: it is made to be run again, so a cut connection is answered by running it."""
    lost: TransportError | None = None
    for pause in _PAUSES:
        time.sleep(pause)
        try:
            completed = connections.to(cluster).run(SHELL, stdin=script.encode("utf-8", "surrogateescape"), on_stderr=report)
            return _answer(run, completed)
        except TransportError as error:
            connections.drop(cluster)
            if lost is None and not isinstance(error, ConnectionLostError):
                raise
            lost = error
            report(f"{error}; asking again\n".encode())
    raise UncertainSubmissionError(
        f"the connection died while run {run.id} was being submitted ({lost}); the job may or may not be there. "
        f"Run 'hpcdeploy submit --resume {run.id}': it finds the job, or submits it, once"
    ) from lost


def _answer(run: Run, completed: Completed) -> Mapping[str, object]:
    """Return what the script answered, or raise what its exit code means."""
    said = completed.stderr.decode("utf-8", "replace").strip()
    match completed.exit_code:
        case 0:
            try:
                answer = read_answer(completed.stdout)
            except ValueError as error:
                answer, said = None, str(error)
            if answer is not None:
                return answer
            raise UncertainSubmissionError(
                f"the login node ran run {run.id}'s script but did not say how it ended; its last words: {said[-500:]}. "
                f"Run 'hpcdeploy submit --resume {run.id}' to ask again"
            )
        case 13:
            raise UncertainSubmissionError(
                f"{_last_words(said)}. Run 'hpcdeploy submit --resume {run.id}' in a while: it finds or makes the job, once"
            )
        case code if code < 0:
            raise ConnectionLostError(f"the script of run {run.id} was killed by signal {-code} on the login node")
        case _:
            raise SchedulerError(_last_words(said))


def _last_words(said: str) -> str:
    """Pick what a person needs of the script's words: its own error line, and what the scheduler printed before it."""
    lines = [line for line in said.splitlines() if line.strip()]
    return (
        "\n".join(line.removeprefix("error: ") for line in lines[-4:]) or "the login node's script failed and said nothing"
    )
