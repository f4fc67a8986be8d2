"""Plan a run: the job, its image and files, the runs that it waits for (``after``), and its submission script."""

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from pathlib import Path

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.config.job_notes import job_notes
from hpcdeploy.config.named_files import Admit, refuse
from hpcdeploy.config.project import JobSettings, Project
from hpcdeploy.config.resolution import choose_cluster, resolve_job
from hpcdeploy.config.validators import name
from hpcdeploy.errors import ConfigError, UnknownRunError
from hpcdeploy.flows.choose_runs import Scope, find
from hpcdeploy.flows.images import RegistryLookup, delivery_of, refuse_elsewhere
from hpcdeploy.flows.job_files import Allow, Brought
from hpcdeploy.flows.submit import plan_run
from hpcdeploy.frozen import frozen
from hpcdeploy.job import After, Job, Predecessor, Request
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.run import Run, RunStatus
from hpcdeploy.staged_files import Delivery, StagedFile
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
            known = _newest(after, job, project, cluster, scheduler, store)
        else:
            known = _named(after, job, project, cluster, store)
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


def _named(after: After, job: Job, project: Project, cluster: Cluster, store: Store) -> RunStatus:
    scope = Scope(store=store, folder=project.root, project=project.root, cluster=cluster.name)
    try:
        chosen = find(after.what, scope)
    except UnknownRunError:
        chosen = find(after.what, replace(scope, cluster=None))
    if chosen.partly:
        raise ConfigError(
            f"job {job.name} waits for {after.what}, which is only a part of run {chosen.status.run.id}; a job waits for "
            "all tasks of a run: use the run's id"
        )
    return chosen.status


def _newest(after: After, job: Job, project: Project, cluster: Cluster, scheduler: SchedulerName, store: Store) -> RunStatus:
    """Return the newest run of a job of this project; a job of that name in another project is not meant."""
    runs = store.of_job(after.what, project=project.root)
    # Releases before 0.1.0 recorded no project.
    runs = runs or [known for known in store.of_job(after.what) if not known.run.project]
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


CheckImage = Callable[[str, Delivery], None]
"""Check a job's image, given its name and how the login node gets it; raise if it must not be used."""


@frozen
class Plan:
    """A complete submission.

    Attributes:
        run: The run.
        job: The job.
        cluster: The cluster.
        script: The submission script.
        request: The request, for the record.
        uploads: Files to upload, unless the cluster has them.
        notes: Their sizes, and notes on the job for the user.
    """

    run: Run
    job: Job
    cluster: Cluster
    script: str
    request: Request
    uploads: tuple[StagedFile, ...] = ()
    notes: tuple[str, ...] = ()


@frozen
class Requested:
    """What the user asked for, apart from the project's settings.

    Attributes:
        job: The job; None for the only one.
        cluster: The cluster; None for the default one.
        scheduler: The scheduler; None for the cluster's default.
        run_id: The run's id; None for a new one.
        options: Settings from the command line.
        words: The same as given, for the record.
    """

    job: str | None = None
    cluster: str | None = None
    scheduler: SchedulerName | None = None
    run_id: str | None = None
    options: JobSettings = field(default_factory=JobSettings)
    words: Mapping[str, object] = field(default_factory=dict)


@frozen
class Confirmations:
    """What is confirmed by the user, or refused, while a run is planned; by default nothing outside of the project is read.

    Attributes:
        allow: Confirms an unusually large upload.
        check_image: Checks the image before anything is packed.
        admit: Confirms the files outside of the project that the project names, before they are read (`resolve_job`).
    """

    allow: Allow = lambda _surprise: True
    check_image: CheckImage = lambda _image, _delivery: None
    admit: Admit = refuse


NO_CONFIRMATIONS = Confirmations()


def plan(
    project: Project,
    store: Store,
    requested: Requested,
    registries: RegistryLookup,
    *,
    now: float,
    archives: Path | None = None,
    confirm: Confirmations = NO_CONFIRMATIONS,
) -> Plan:
    """Decide what to run and where, and render the script.

    Args:
        project: The project.
        store: The record.
        requested: The job, where it runs, and its options.
        registries: Looks up an image that was pushed.
        now: The time in seconds since 1970.
        archives: The folder for archives of code and inputs; None to pack nothing.
        confirm: Asks the user.

    Raises:
        ConfigError: The settings do not allow this submission.
    """
    cluster, scheduler = _where(project, requested)
    job = resolve_job(project, requested.job, cluster.name, requested.options, admit=confirm.admit)
    delivery = delivery_of(job.image, project, cluster, store, registries)
    refuse_elsewhere(delivery, cluster, scheduler)
    confirm.check_image(job.image, delivery)
    run = plan_run(job, cluster, scheduler, delivery, now=now)
    if requested.run_id is not None:
        run = replace(run, id=_unused(requested.run_id, store))
    uploads = Brought()
    if job.code or job.inputs:
        from hpcdeploy.flows.job_files import bring_along

        uploads = bring_along(job, project.root, scheduler, cluster, archives=archives, allow=confirm.allow)
    run = replace(run, code_sha256=uploads.code_sha256, code_commit=uploads.commit, code_dirty=uploads.dirty)
    run = replace(run, project=str(project.root.resolve()))
    placements = uploads.placements
    after = predecessors(job, project, cluster, scheduler, store)
    return Plan(
        run=run,
        request=Request(project=str(project.root), job=requested.job, options=requested.words, array=job.array),
        job=job,
        cluster=cluster,
        script=submission(run, job, cluster, delivery, placements=placements, after=after, overrides=project.root),
        uploads=(*delivery.uploads, *uploads.uploads),
        notes=(*uploads.notes, *(f"note: {text}" for text in job_notes(job, cluster, scheduler))),
    )


def _where(project: Project, requested: Requested) -> tuple[Cluster, SchedulerName]:
    """Return the cluster and its scheduler for a run."""
    cluster = choose_cluster(project, requested.cluster)
    scheduler = requested.scheduler or cluster.schedulers[0]
    if scheduler not in cluster.schedulers:
        raise ConfigError(
            f"cluster {cluster.name} has {' and '.join(cluster.schedulers)}, not {scheduler!r}; use --scheduler"
        )
    return cluster, scheduler


def _unused(run_id: str, store: Store) -> str:
    """Return a valid id for a run that the record does not have."""
    if store.knows(name(run_id)):
        raise ConfigError(f"the record already has a run {run_id!r}; use another id, or resume it with --resume {run_id}")
    return run_id
