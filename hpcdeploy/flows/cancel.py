"""Cancel: one call to each scheduler, for all the runs that it has."""

from collections.abc import Sequence
from pathlib import Path

from hpcdeploy.errors import SchedulerError, UncertainSubmissionError
from hpcdeploy.flows.asking import alive_by_scheduler
from hpcdeploy.flows.connections import Connections
from hpcdeploy.flows.follow import ClusterOf
from hpcdeploy.login_node import SHELL
from hpcdeploy.run import Run, RunStatus
from hpcdeploy.scheduler.login_node import cancelling


def cancel(
    known: Sequence[RunStatus], cluster_of: ClusterOf, connections: Connections, *, overrides: Path | None = None
) -> list[Run]:
    """Cancel those of the runs that have not ended, and return them.

    Raises `SchedulerError` with the scheduler's own words where it refused, and `UncertainSubmissionError` for a run whose
    submission was cut off; what was cancelled before stays cancelled.
    `overrides` is the folder of the project whose own templates count.
    """
    cancelled: list[Run] = []
    for (cluster_name, scheduler), group in alive_by_scheduler(known).items():
        runs = [one.run for one in group]
        cluster = cluster_of(cluster_name)
        script = cancelling(cluster, runs, overrides=overrides)
        completed = connections.to(cluster).run(SHELL, stdin=script.encode())
        if completed.exit_code:
            said = completed.stderr.decode("utf-8", "replace").strip()
            raise SchedulerError(f"{scheduler} on {cluster_name} did not cancel {', '.join(run.id for run in runs)}: {said}")
        cancelled += runs
    unsure = [one.run.id for one in known if not one.ended and not one.run.job_id]
    if unsure:
        raise UncertainSubmissionError(
            f"nobody knows yet whether {', '.join(unsure)} was submitted, or in part; run 'hpcdeploy submit --resume "
            f"{unsure[0]}', then cancel it"
        )
    return cancelled
