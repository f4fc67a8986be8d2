"""Resolve the runs that a new one waits for (``after``): job names and run ids, looked up in the record."""

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.config.project import Project
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import After, Job, Predecessor
from hpcdeploy.run import RunStatus
from hpcdeploy.store import Store


def predecessors(
    job: Job, project: Project, cluster: Cluster, scheduler: SchedulerName, store: Store
) -> tuple[Predecessor, ...]:
    """Return the runs that `job` waits for; all must be on `cluster` and `scheduler`.

    A scheduler can only wait for its own jobs.

    Raises:
        ConfigError: A run is on another cluster or scheduler, was never submitted, or may not have been.
        UnknownRunError: A name matches no run, or several.
    """
    found: list[Predecessor] = []
    for after in job.after:
        if after.what in project.jobs and not store.knows(after.what):
            known = _newest(after, job, cluster, scheduler, store)
        else:
            [known] = store.find([after.what])
        run = known.run
        if (run.cluster, run.scheduler) != (cluster.name, scheduler):
            raise ConfigError(
                f"job {job.name} waits for run {run.id}, which is on {run.cluster} ({run.scheduler}), but would run on "
                f"{cluster.name} ({scheduler}). A scheduler can only wait for its own jobs: submit both to the same one"
            )
        if known.ended and not run.job_id:
            raise ConfigError(
                f"job {job.name} waits for run {run.id}, which was cancelled before it was submitted; submit {run.job} again"
            )
        if known.unsure:
            raise ConfigError(
                f"job {job.name} waits for run {run.id}, and it is not known whether that run was submitted; "
                f"run 'hpcdeploy submit --resume {run.id}' first, or cancel it"
            )
        found.append(Predecessor(run_id=run.id, kind=after.kind, tasks=run.tasks))
    return tuple(found)


def _newest(after: After, job: Job, cluster: Cluster, scheduler: SchedulerName, store: Store) -> RunStatus:
    runs = [known for known in store.latest() if known.run.job == after.what]
    here = [known for known in runs if (known.run.cluster, known.run.scheduler) == (cluster.name, scheduler)]
    if here:
        return here[0]
    elsewhere = sorted({f"{known.run.cluster} ({known.run.scheduler})" for known in runs})
    if after.what == job.name:
        raise ConfigError(
            f"job {job.name} waits for its own latest run, but has none on {cluster.name} ({scheduler}) yet. Remove after "
            f"from its settings, and use the option for all later runs: hpcdeploy submit {job.name} --after {job.name}"
        )
    raise ConfigError(
        f"job {job.name} waits for {after.what}, which has no run on {cluster.name} ({scheduler}) yet"
        + (f", only on {', '.join(elsewhere)}" if elsewhere else "")
        + f"; submit it first: hpcdeploy submit {after.what} --cluster {cluster.name} --scheduler {scheduler}"
    )
