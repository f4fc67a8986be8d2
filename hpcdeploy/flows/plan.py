"""Plan: from the project's words to a run and the script that submits it. Nothing is written anywhere."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.config.job_notes import job_notes
from hpcdeploy.config.named_files import Admit, refuse
from hpcdeploy.config.project import JobSettings, Project
from hpcdeploy.config.resolution import choose_cluster, resolve_job
from hpcdeploy.config.words import name
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.after import predecessors
from hpcdeploy.flows.brought import Allow, Brought
from hpcdeploy.flows.images import Resolve, SpeaksPlainHttp, delivery_of
from hpcdeploy.flows.submit import plan_run
from hpcdeploy.flows.worker_images import refuse_elsewhere
from hpcdeploy.job import Job, Request
from hpcdeploy.parcel import Parcel
from hpcdeploy.run import Run
from hpcdeploy.scheduler.login_node import Delivery, submission
from hpcdeploy.store import Store

CheckImage = Callable[[str, Delivery], None]
"""Is given the name of a job's image, and how the login node gets it."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a submission is: the run, where it goes, and the very script that makes it happen.

    ``parcels`` are the files that are brought there first, where they are not there already; ``notes`` say how large they
    are, and what a person should know of the job. ``request`` is what the record keeps of how the run was asked for.
    """

    run: Run
    job: Job
    cluster: Cluster
    script: str
    request: Request
    parcels: tuple[Parcel, ...] = ()
    notes: tuple[str, ...] = ()


def plan(
    project: Project,
    store: Store,
    job_name: str | None,
    cluster_name: str | None,
    scheduler: SchedulerName | None,
    options: JobSettings,
    *,
    resolve: Resolve,
    plain_http: SpeaksPlainHttp,
    run_id: str | None,
    now: float,
    words: Mapping[str, object] | None = None,
    archives: Path | None = None,
    allow: Allow = lambda _surprise: True,
    check_image: CheckImage = lambda _image, _delivery: None,
    admit: Admit = refuse,
) -> Plan:
    """Decide what is to run and where, and render the script.

    `resolve` asks a registry what a reference stands for; it is asked only for an image that was not built here. `run_id`
    names the run instead of a fresh id; `now` is in seconds since 1970; `words` are `options` as they were given. What the
    job brings along is packed into the folder `archives`, where one is given; `allow` is asked where that is surprisingly
    large; `check_image` gets the name of the job's image before anything is packed, and raises where it must not be used;
    `admit` gets the files outside of the project that the project names, before they are read, as in `resolve_job`.
    Raises `ConfigError` for what cannot be.
    """
    cluster = choose_cluster(project, cluster_name)
    chosen = scheduler or cluster.schedulers[0]
    if chosen not in cluster.schedulers:
        raise ConfigError(
            f"cluster {cluster.name} has {' and '.join(cluster.schedulers)}, and no {chosen!r}; say --scheduler"
        )
    job = resolve_job(project, job_name, cluster.name, options, admit=admit)
    delivery = delivery_of(job.image, project, cluster, store, resolve, plain_http)
    refuse_elsewhere(delivery, cluster, chosen)
    check_image(job.image, delivery)
    run = plan_run(job, cluster, chosen, delivery, now=now)
    if run_id is not None:
        if store.knows(name(run_id)):
            raise ConfigError(
                f"a run {run_id!r} is on record already; choose another id, or go on with it by --resume {run_id}"
            )
        run = replace(run, id=run_id)
    brought = Brought()
    if job.code or job.inputs:
        from hpcdeploy.flows.bringing import bring_along

        brought = bring_along(job, project.root, chosen, cluster, archives=archives, allow=allow)
    run = replace(run, code_sha256=brought.code_sha256, code_commit=brought.commit, code_dirty=brought.dirty)
    placements = brought.placements
    after = predecessors(job, project, cluster, chosen, store)
    request = Request(project=str(project.root), job=job_name, options=words or {}, array=job.array)
    return Plan(
        run=run,
        request=request,
        job=job,
        cluster=cluster,
        script=submission(run, job, cluster, delivery, placements=placements, after=after, overrides=project.root),
        parcels=(*delivery.parcels, *brought.parcels),
        notes=(*brought.notes, *(f"note: {text}" for text in job_notes(job, cluster, chosen))),
    )
