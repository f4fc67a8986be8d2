"""Which runs a new one waits for: names of jobs and ids of runs, looked up in the record."""

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.config.project import Project
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import After, Job, Predecessor
from hpcdeploy.run import Run
from hpcdeploy.store import Store


def predecessors(
    job: Job, project: Project, cluster: Cluster, scheduler: SchedulerName, store: Store
) -> tuple[Predecessor, ...]:
    """Say which runs `job` waits for; all are on `cluster` and of `scheduler`, which can wait for its own jobs only.

    Raises `ConfigError` where a run has no job there, `UnknownRunError` where nothing or more than one thing has the name.
    """
    found: list[Predecessor] = []
    for after in job.after:
        if after.what in project.jobs and not store.knows(after.what):
            run = _newest(after, job, cluster, scheduler, store)
        else:
            run = store.find([after.what])[0].run
        if (run.cluster, run.scheduler) != (cluster.name, scheduler):
            raise ConfigError(
                f"job {job.name} waits for run {run.id}, which is on {run.cluster} ({run.scheduler}), and is to run on "
                f"{cluster.name} ({scheduler}) itself: a scheduler can wait for its own jobs only; submit both to one"
            )
        if not run.job_id and store.find([run.id])[0].ended:
            raise ConfigError(
                f"job {job.name} waits for run {run.id}, which was cancelled before it was submitted; submit {run.job} anew"
            )
        if not run.job_id:
            raise ConfigError(
                f"job {job.name} waits for run {run.id}, and nobody knows yet whether that was submitted; "
                f"run 'hpcdeploy submit --resume {run.id}' first, or cancel it"
            )
        found.append(Predecessor(run_id=run.id, kind=after.kind, tasks=run.tasks))
    return tuple(found)


def _newest(after: After, job: Job, cluster: Cluster, scheduler: SchedulerName, store: Store) -> Run:
    runs = [known.run for known in store.latest() if known.run.job == after.what]
    here = [run for run in runs if (run.cluster, run.scheduler) == (cluster.name, scheduler)]
    if here:
        return here[0]
    elsewhere = sorted({f"{run.cluster} ({run.scheduler})" for run in runs})
    if after.what == job.name:
        raise ConfigError(
            f"job {job.name} waits for its own newest run, and has none on {cluster.name} ({scheduler}) yet; take after out "
            f"of its settings, and say it for each run but the first: hpcdeploy submit {job.name} --after {job.name}"
        )
    raise ConfigError(
        f"job {job.name} waits for {after.what}, which has no run on {cluster.name} ({scheduler}) yet"
        + (f", only on {', '.join(elsewhere)}" if elsewhere else "")
        + f"; submit it first: hpcdeploy submit {after.what} --cluster {cluster.name} --scheduler {scheduler}"
    )
