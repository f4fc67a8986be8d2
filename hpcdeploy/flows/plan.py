"""Plan a run: find its job, image, files and predecessors (``after``), and render its submission script."""

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
from hpcdeploy.flows.images import RegistryLookup, check_worker_delivery, delivery_of
from hpcdeploy.flows.job_files import Allow, JobUploads
from hpcdeploy.flows.processors import NodesOf, architecture_of, fitted, no_nodes
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
    """Return the runs that `job` waits for.

    All of them must be on `cluster` and `scheduler`, because a scheduler can only wait for its own jobs.

    Raises:
        ConfigError: A run is on another cluster or scheduler, was cancelled before it was submitted, or it is unknown
            whether the run was submitted. Or ``clean`` removed its folder. Or ``after`` names a job without a run there, or
            only some tasks of a run.
        UnknownRunError: A name in ``after`` matches no run, or several.
    """
    found: list[Predecessor] = []
    cleaned = store.when_cleaned() if job.after else {}
    for after in job.after:
        if after.what in project.jobs and not store.knows(after.what):
            known = _newest(after, job, project, cluster, scheduler, store)
        else:
            known = _named(after, job, project, cluster, store)
        run = known.run
        if (run.cluster, run.scheduler) != (cluster.name, scheduler):
            raise ConfigError(
                f"job {job.name} would run on {cluster.name} ({scheduler}), but waits for run {run.id}, which is on "
                f"{run.cluster} ({run.scheduler}). A scheduler can only wait for its own jobs: submit both to the same one"
            )
        if known.ended and not run.job_id:
            raise ConfigError(
                f"job {job.name} waits for run {run.id}, which was cancelled before it was submitted; submit {run.job} again"
            )
        if run.id in cleaned:
            raise ConfigError(
                f"job {job.name} waits for run {run.id} ({known.state.value}), whose folder with the exit codes of its "
                f"tasks was removed by 'hpcdeploy clean'; submit {run.job} again, or submit {job.name} without 'after'"
            )
        if known.unsure:
            raise ConfigError(
                f"job {job.name} waits for run {run.id}, and it is not known whether run {run.id} was submitted; "
                f"run 'hpcdeploy submit --resume {run.id}' first, or 'hpcdeploy cancel {run.id}'"
            )
        found.append(Predecessor(run_id=run.id, kind=after.kind, tasks=run.tasks))
    return tuple(found)


def _named(after: After, job: Job, project: Project, cluster: Cluster, store: Store) -> RunStatus:
    """Return the run that ``after`` names; runs on `cluster` are searched first."""
    scope = Scope(store=store, folder=project.root, project=project.root, cluster=cluster.name)
    try:
        chosen = find(after.what, scope)
    except UnknownRunError:
        chosen = find(after.what, replace(scope, cluster=None))
    if chosen.partly:
        raise ConfigError(
            f"job {job.name} waits for {after.what}, which is only a part of run {chosen.status.run.id}; a job can only "
            "wait for all tasks of a run: use the run's id"
        )
    return chosen.status


def _newest(after: After, job: Job, project: Project, cluster: Cluster, scheduler: SchedulerName, store: Store) -> RunStatus:
    """Return the newest run of this project's job that ``after`` names; runs of other projects are ignored."""
    runs = store.of_job(after.what, project=project.root)
    # Releases before 0.1.0 recorded no project.
    runs = runs or [known for known in store.of_job(after.what) if not known.run.project]
    here = [known for known in runs if (known.run.cluster, known.run.scheduler) == (cluster.name, scheduler)]
    if here:
        return here[0]
    elsewhere = sorted({f"{known.run.cluster} ({known.run.scheduler})" for known in runs})
    if after.what == job.name:
        raise ConfigError(
            f"job {job.name} waits for its own latest run, but has no run on {cluster.name} ({scheduler}) yet. Remove "
            f"'after' from the job's settings, and use the option from its second run on: hpcdeploy submit {job.name} "
            f"--after {job.name}"
        )
    raise ConfigError(
        f"job {job.name} waits for {after.what}, which has no run on {cluster.name} ({scheduler}) yet"
        + (f", only on {', '.join(elsewhere)}" if elsewhere else "")
        + f"; submit {after.what} first: hpcdeploy submit {after.what} --cluster {cluster.name} --scheduler {scheduler}"
    )


CheckImage = Callable[[str, Delivery], None]
"""Check a job's image before it is used; raise an `HpcdeployError` if it must not be used.

The arguments are the image's name in the settings, and how the login node gets the image.
"""


@frozen
class Plan:
    """Everything that a submission needs.

    Attributes:
        run: The new run.
        job: The run's job, with all settings resolved.
        cluster: The cluster that will run the job.
        script: The text of the submission script.
        request: The user's request. It is recorded with the run.
        uploads: The files to upload if they are missing on the cluster.
        notes: Messages for the user: the sizes of code and inputs, and notes on the job.
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
    """The request of the user, apart from the project's settings.

    Attributes:
        job: The job's name; None for the project's only job.
        cluster: The cluster's name; None for the default cluster.
        scheduler: The scheduler; None for the cluster's first scheduler.
        run_id: The id for the run; None to generate an id.
        options: Job settings from the command line.
        words: These options as the user wrote them. They are recorded with the run.
    """

    job: str | None = None
    cluster: str | None = None
    scheduler: SchedulerName | None = None
    run_id: str | None = None
    options: JobSettings = field(default_factory=JobSettings)
    words: Mapping[str, object] = field(default_factory=dict)


@frozen
class Confirmations:
    """Functions that may stop the planning of a run, usually by prompting the user.

    By default files outside of the project are refused, and everything else is accepted.

    Attributes:
        allow: Returns whether code larger than its limit may be uploaded.
        check_image: Checks the image before anything is packed.
        admit: Refuses files outside of the project that the settings name, or confirms them, before they are read
            (`resolve_job`).
        nodes: Returns the processors of a cluster's nodes. They must include the processor of the image.
    """

    allow: Allow = lambda _surprise: True
    check_image: CheckImage = lambda _image, _delivery: None
    admit: Admit = refuse
    nodes: NodesOf = no_nodes


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
    """Decide what to run and on which cluster, and render the submission script.

    Args:
        project: The project.
        store: The record of runs and images.
        requested: The job, the cluster, and the options.
        registries: Looks up an image that was pushed.
        now: The time in seconds since 1970.
        archives: The folder for archives of code and inputs; None to write no archives and only compute their checksums.
        confirm: Called before an image, files outside of the project, or large code are used.

    Raises:
        ConfigError: A setting, an option, a file or an image does not allow this submission.
        RegistryError: The registry query for the image failed.
        UnknownRunError: A name in ``after`` matches no run, or several.
        TemplateError: A template is broken.
    """
    cluster, scheduler = _where(project, requested)
    job = resolve_job(project, requested.job, cluster.name, requested.options, admit=confirm.admit)
    delivery = delivery_of(job.image, project, cluster, store, registries)
    check_worker_delivery(delivery, cluster, scheduler)
    confirm.check_image(job.image, delivery)
    run = plan_run(job, cluster, scheduler, delivery, now=now)
    if requested.run_id is not None:
        run = replace(run, id=_unused(requested.run_id, store))
    uploads = JobUploads()
    if job.code or job.inputs:
        from hpcdeploy.flows.job_files import collect_uploads

        uploads = collect_uploads(job, project.root, scheduler, cluster, archives=archives, allow=confirm.allow)
    run = replace(run, code_sha256=uploads.code_sha256, code_commit=uploads.commit, code_dirty=uploads.dirty)
    run = replace(run, project=str(project.root.resolve()))
    placements = uploads.placements
    after = predecessors(job, project, cluster, scheduler, store)
    # This may query the cluster, so it comes after everything that this machine alone can refuse.
    processor = architecture_of(job.image, delivery, project, store, registries)
    job = fitted(job, processor, cluster, scheduler, confirm.nodes)
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
    """Return the cluster and the scheduler that the user requested, or their defaults."""
    cluster = choose_cluster(project, requested.cluster)
    scheduler = requested.scheduler or cluster.schedulers[0]
    if scheduler not in cluster.schedulers:
        raise ConfigError(
            f"cluster {cluster.name} has {' and '.join(cluster.schedulers)}, not {scheduler!r}; use --scheduler "
            f"{cluster.schedulers[0]}"
        )
    return cluster, scheduler


def _unused(run_id: str, store: Store) -> str:
    """Return `run_id`; raise `ConfigError` if it is not a valid id, or if the record already has that run."""
    if store.knows(name(run_id)):
        raise ConfigError(
            f"the record already has a run {run_id!r}; use another id, or resume that run with --resume {run_id}"
        )
    return run_id
