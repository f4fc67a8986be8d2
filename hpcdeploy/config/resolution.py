"""Remove keys that a later source replaces by options: ``memory`` in a cluster's defaults, ``slurm.mem`` in a job.

An option of an earlier source can be removed (``false``), a key cannot: without this, a job could not request all memory of
a node if the cluster has a default for ``memory``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal, TypeVar, get_args

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.config.directives import twins
from hpcdeploy.config.files import read_sweep
from hpcdeploy.config.gres import check_no_gpus
from hpcdeploy.config.job_files import mounted_here
from hpcdeploy.config.named_files import Admit, files_of_job, files_of_job_here, outside, refuse
from hpcdeploy.config.project import JobSettings, Project
from hpcdeploy.config.reading import found, joined
from hpcdeploy.config.sweeps import SweepFile
from hpcdeploy.config.task_layout import check_shape
from hpcdeploy.errors import ConfigError
from hpcdeploy.image import ImageSettings
from hpcdeploy.job import Array, Bind, Code, Directives, Job, Resources
from hpcdeploy.parameters import VARIABLE, filled
from hpcdeploy.plain_text import meant

_KEYS = frozenset(field.name for field in fields(Resources))
"""Keys that a cluster's defaults may set."""


def without_replaced(places: Sequence[JobSettings], cluster: Cluster) -> tuple[JobSettings, ...]:
    """Remove from each source the keys that a later one replaces by options of the cluster's scheduler.

    With two schedulers they remain, and are rejected beside such options: for the other scheduler they would not be
    replaced.
    """
    if len(cluster.schedulers) > 1:
        return tuple(places)
    kept: list[JobSettings] = []
    for place in places:
        removed: dict[str, Any] = dict.fromkeys(_replaced(place, cluster.schedulers[0]))
        kept = [*(replace(earlier, **removed) for earlier in kept), place]
    return tuple(kept)


def _replaced(place: JobSettings, scheduler: SchedulerName) -> list[str]:
    replaced = (key.replace("-", "_") for key, _ in twins(scheduler, getattr(place, scheduler)))
    return [field for field in replaced if field in _KEYS]


T = TypeVar("T")

NO_OPTIONS = JobSettings()
_ADDRESSES = (
    "oras://", "docker://", "osdf://", "pelican://", "stash://", "https://", "http://", "s3://", "gs://", "/cvmfs/"
)  # fmt: skip
"""Prefixes of an image reference that is neither an image of the project nor a file of this machine."""
UNNAMED_JOB = "job"
"""The name of a job that is only described on the command line."""


def choose_cluster(project: Project, name: str | None) -> Cluster:
    """Return the cluster `name`, or the only one.

    Raises:
        ConfigError: There is no such cluster, or more than one without a name.
    """
    return project.clusters[_chosen("cluster", name, project.clusters, "choose one with --cluster")]


def choose_image(project: Project, name: str | None) -> ImageSettings:
    """Return the settings of the image `name`, or of the only one.

    Raises:
        ConfigError: There is no such image, or more than one without a name.
    """
    return project.images[_chosen("image", name, project.images, "choose one")]


def choose_images(project: Project, names: Sequence[str], *, every: bool = False) -> tuple[ImageSettings, ...]:
    """Return the images `names` without duplicates, or all images, or the only one.

    Raises:
        ConfigError: There is no such image.
    """
    if every and names:
        raise ConfigError(f"found {', '.join(names)} and --all; expected names, or --all for every image of the project")
    if every or not names:
        advice = "use their names, or --all"
        names = tuple(project.images) if every and project.images else (_chosen("image", None, project.images, advice),)
    return tuple(choose_image(project, name) for name in dict.fromkeys(names))


def resolve_job(
    project: Project,
    job_name: str | None,
    cluster_name: str | None,
    options: JobSettings = NO_OPTIONS,
    *,
    admit: Admit = refuse,
) -> Job:
    """Combine the cluster's defaults, ``[jobs.NAME]`` and `options` into a job, key by key.

    Tables (environment, directives) are merged by name, binds and inputs by their path in the container. The later source
    wins, and its scheduler options replace earlier keys (`without_replaced`).

    Args:
        project: The project.
        job_name: The job; None for the project's only job, or for one called ``job`` from `options` alone.
        cluster_name: The cluster; None for the only one.
        options: Settings from the command line.
        admit: Confirms files outside of the project that the project names, before one is read.

    Raises:
        ConfigError: A name is unknown, an image is missing, settings contradict each other, or a file was rejected.
    """
    cluster = choose_cluster(project, cluster_name)
    name, own = _job_settings(project, job_name)
    if files := outside(files_of_job(own, options, project.root), project.root):
        admit(files)
    places = (project.defaults.get(cluster.name, NO_OPTIONS), own, options)
    job = _job(project, name, without_replaced(places, cluster))
    _refuse_twins(job, cluster)
    check_no_gpus(job, cluster)
    _check_placeholders(job)
    check_shape(job)
    return job


def resolve_job_here(
    project: Project, job_name: str | None, options: JobSettings = NO_OPTIONS, *, admit: Admit = refuse
) -> Job:
    """Return the job as `resolve_job` does, but for this machine: without a cluster's defaults, and one task of a sweep.

    It is the first task, with its parameters filled in; its code and inputs are bound from their own folders.

    Raises:
        ConfigError: A name is unknown, an image is missing, or settings contradict each other.
    """
    name, own = _job_settings(project, job_name)
    if files := outside(files_of_job_here(own, options, project.root), project.root):
        admit(files)
    job = _job(project, name, (own, options))
    _check_placeholders(job)
    return mounted_here(_first_task(job), project.root)


def _job_settings(project: Project, job_name: str | None) -> tuple[str, JobSettings]:
    if job_name is None and not project.jobs:
        return UNNAMED_JOB, NO_OPTIONS
    name = _chosen("job", job_name, project.jobs, "choose one")
    return name, project.jobs[name]


def _job(project: Project, name: str, places: tuple[JobSettings, ...]) -> Job:
    return Job(
        name=name,
        image=_image(project, name, _last(place.image for place in places)),
        command=_last(place.command for place in places) or (),
        resources=_resources(places),
        environment=tuple({key: value for place in places for key, value in place.environment}.items()),
        binds=_binds(places),
        array=_array(project, name, places),
        after=_last(place.after for place in places) or (),
        signal=_last(place.signal for place in places),
        requeue=_last(place.requeue for place in places),
        retries=_last(place.retries for place in places),
        tasks_per_node=_last(place.tasks_per_node for place in places),
        launcher=_last(place.launcher for place in places),
        mpi=_last(place.mpi for place in places),
        workdir=_last(place.workdir for place in places) or "",
        code=_code(places),
        outputs=_last(place.outputs for place in places) or (),
        inputs=tuple({given.destination: given for place in places for given in place.inputs}.values()),
        slurm=_directives(places, "slurm"),
        srun=_directives(places, "srun"),
        htcondor=_directives(places, "htcondor"),
    )


def _code(places: tuple[JobSettings, ...]) -> Code | None:
    given = [place.code for place in places if place.code is not None]
    return (given[-1] or None) if given else None


def _array(project: Project, job: str, places: tuple[JobSettings, ...]) -> Array | None:
    given = [place.array for place in places if place.array is not None]
    last = given[-1] if given else None
    of_project = last is not places[-1].array  # the last place is the command line
    array = read_sweep(last, project.root, of_project=of_project) if isinstance(last, SweepFile) else last
    throttle = _last(place.throttle for place in places)
    if throttle is None:
        return array
    if array is None:
        raise ConfigError(f"job {job} has a throttle, but neither an array nor a sweep")
    return replace(array, throttle=throttle)


def _first_task(job: Job) -> Job:
    """Return the first task of a sweep as a job."""
    if job.array is None or job.array.parameters is None:
        return job
    values = job.array.parameters.of(0)
    environment = {name: filled(value, values) for name, value in job.environment}
    return replace(
        job,
        command=tuple(filled(word, values) for word in job.command),
        environment=(*((f"{VARIABLE}{name}", value) for name, value in values.items()), *environment.items()),
        array=None,
    )


def _check_placeholders(job: Job) -> None:
    if job.array is None or job.array.parameters is None:
        return
    words = {f"command[{place}]": word for place, word in enumerate(job.command)}
    words |= {f"environment.{name}": value for name, value in job.environment}
    for where, text in words.items():
        try:
            filled(text, job.array.parameters.of(0))
        except ConfigError as error:
            raise ConfigError(f"job {job.name}: {where}: {error}") from error


def _chosen(what: str, name: str | None, known: Mapping[str, object], advice: str) -> str:
    if name is None:
        if len(known) == 1:
            return next(iter(known))
        begin = "run 'hpcdeploy init', or " if what == "image" else ""
        there = f"there are {', '.join(known)}: {advice}" if known else f"the settings have none: {begin}add [{what}s.NAME]"
        raise ConfigError(f"no {what} is selected; {there}")
    if name not in known:
        close = meant(name, known)
        there = f"Known: {', '.join(known)}" if known else f"The settings have no {what}"
        raise ConfigError(
            f"found {found(name)}; no {what} has that name{f', did you mean {close}?' if close else '.'} {there}"
        )
    return name


def _last(values: Iterable[T | None]) -> T | None:
    given = [value for value in values if value is not None]
    return given[-1] if given else None


def _resources(places: tuple[JobSettings, ...]) -> Resources:
    given = {field.name: _last([getattr(place, field.name) for place in places]) for field in fields(Resources)}
    return Resources(**{name: value for name, value in given.items() if value is not None})


def _binds(places: tuple[JobSettings, ...]) -> tuple[Bind, ...]:
    by_place = {bind.destination or bind.source: bind for place in places for bind in place.binds}
    return tuple(by_place.values())


def _directives(places: tuple[JobSettings, ...], table: Literal["slurm", "srun", "htcondor"]) -> Directives:
    merged: dict[str, tuple[str, str | bool]] = {}
    for place in places:
        for key, value in getattr(place, table):
            merged[key.lower() if table == "htcondor" else key] = (key, value)
    return tuple((key, value) for key, value in merged.values() if value is not False)


def _image(project: Project, job: str, image: str | None) -> str:
    if image is None:
        if len(project.images) == 1:
            return next(iter(project.images))
        there = f"use one of {', '.join(project.images)}" if project.images else "use a .sif file or an oras:// reference"
        raise ConfigError(f"job {job} has no image, and the project has {len(project.images)}; {there}")
    if image in project.images or image.startswith(_ADDRESSES):
        return image
    if image.endswith(".sif") and "://" not in image:
        return str(project.root / image)
    scheme, mark, _ = image.partition("://")
    if mark:
        close = meant(scheme, [known.removesuffix(mark) for known in _ADDRESSES])
        close = close and close + mark
    else:
        close = meant(image, project.images)
    where = project.origins.get(f"{joined('jobs', job)}.image")
    raise ConfigError(
        f"{f'{where}: ' if where else ''}job {job}: found the image {found(image)}; expected"
        f" {', '.join(project.images) or 'an image of the project'}, a path to a .sif, an oras:// reference, or for"
        " HTCondor a URL such as docker:// or osdf://"
        f"{f'; did you mean {close}?' if close else ''}"
    )


def _refuse_twins(job: Job, cluster: Cluster) -> None:
    for scheduler in get_args(SchedulerName):
        if scheduler not in cluster.schedulers:
            continue
        for key, directive in twins(scheduler, getattr(job, scheduler)):
            field = key.replace("-", "_")
            if getattr(job.resources if hasattr(job.resources, field) else job, field):
                raise ConfigError(
                    f"job {job.name} on {cluster.name}: {key} and {scheduler}.{directive} request the same; expected one"
                )
