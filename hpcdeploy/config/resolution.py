"""Which image, cluster and job are meant, and what the job finally asks for once every place has had its say."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Literal, TypeVar, get_args

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.config.bringing import mounted_here
from hpcdeploy.config.directives import twins
from hpcdeploy.config.files import read_sweep
from hpcdeploy.config.found import found, joined
from hpcdeploy.config.named_files import Admit, files_of_job, files_of_job_here, outside, refuse
from hpcdeploy.config.no_gpus import check_no_gpus
from hpcdeploy.config.project import JobSettings, Project
from hpcdeploy.config.replaced import without_replaced
from hpcdeploy.config.shapes import check_shape
from hpcdeploy.config.sweeps import SweepFile
from hpcdeploy.errors import ConfigError
from hpcdeploy.image import ImageSettings
from hpcdeploy.job import Array, Bind, Code, Directives, Job, Resources
from hpcdeploy.parameters import VARIABLE, filled
from hpcdeploy.spelling import meant

T = TypeVar("T")

NO_OPTIONS = JobSettings()
_ADDRESSES = (
    "oras://", "docker://", "osdf://", "pelican://", "stash://", "https://", "http://", "s3://", "gs://", "/cvmfs/"
)  # fmt: skip
"""What begins an image's address, where it is none of the project's images and no file of this machine."""
UNNAMED_JOB = "job"
"""The name of a job of which only the command line says anything."""


def choose_cluster(project: Project, name: str | None) -> Cluster:
    """Return the cluster called `name`, or the only one; raises `ConfigError` where that is not one."""
    return project.clusters[_chosen("cluster", name, project.clusters, "say which one with --cluster")]


def choose_image(project: Project, name: str | None) -> ImageSettings:
    """Return the settings of the image called `name`, or the only one; raises `ConfigError` where that is not one."""
    return project.images[_chosen("image", name, project.images, "name one")]


def choose_images(project: Project, names: Sequence[str], *, every: bool = False) -> tuple[ImageSettings, ...]:
    """Return the images called `names`, each once, or all of them, or the only one; `ConfigError` where there is none."""
    if every and names:
        raise ConfigError(f"found {', '.join(names)} and --all; expected names, or --all for every image of the project")
    if every or not names:
        advice = "name those that you mean, or say --all"
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
    """Return the job that the cluster's defaults, then ``[jobs.NAME]``, then `options` make, key by key.

    Without `job_name` it is the project's only job; where the project has none, it is what `options` say, called
    ``job``. Tables (environment, directives) are merged by name, binds and inputs by their place in the container; the
    later place wins, and its own words for the scheduler replace earlier keys (`without_replaced`). Before a file is read,
    `admit` gets those outside of the project that the project names, if there are any. Raises `ConfigError` where a name is
    unknown, an image is missing, two directives ask for the same, or `admit` refuses.
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
    """Return the job as `resolve_job` does, for this machine: no cluster's defaults are in it, and one task of a sweep.

    It is the first task, with its parameters in their places; and what it brings along is bound from where it lies.
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
    name = _chosen("job", job_name, project.jobs, "name one")
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
    said = [place.code for place in places if place.code is not None]
    return (said[-1] or None) if said else None


def _array(project: Project, job: str, places: tuple[JobSettings, ...]) -> Array | None:
    said = [place.array for place in places if place.array is not None]
    last = said[-1] if said else None
    of_project = last is not places[-1].array  # the last place is the person's
    array = read_sweep(last, project.root, of_project=of_project) if isinstance(last, SweepFile) else last
    throttle = _last(place.throttle for place in places)
    if throttle is None:
        return array
    if array is None:
        raise ConfigError(f"job {job} has neither an array nor a sweep; found a throttle, which is for their tasks")
    return replace(array, throttle=throttle)


def _first_task(job: Job) -> Job:
    """Return what the first task of a sweep would run, as a job of its own."""
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
        there = (
            f"there are {', '.join(known)}: {advice}" if known else f"the settings describe none: {begin}add [{what}s.NAME]"
        )
        raise ConfigError(f"no {what} was named; {there}")
    if name not in known:
        close = meant(name, known)
        there = f"Known: {', '.join(known)}" if known else f"The settings describe no {what}"
        raise ConfigError(
            f"found {found(name)}; no {what} has that name{f', did you mean {close}?' if close else '.'} {there}"
        )
    return name


def _last(values: Iterable[T | None]) -> T | None:
    said = [value for value in values if value is not None]
    return said[-1] if said else None


def _resources(places: tuple[JobSettings, ...]) -> Resources:
    said = {field.name: _last([getattr(place, field.name) for place in places]) for field in fields(Resources)}
    return Resources(**{name: value for name, value in said.items() if value is not None})


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
        there = f"name one of {', '.join(project.images)}" if project.images else "name a .sif file or an oras:// reference"
        raise ConfigError(f"job {job} names no image, and the project has {len(project.images)}; {there}")
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
        " HTCondor an address such as docker:// or osdf://"
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
                    f"job {job.name} on {cluster.name}: {key} and {scheduler}.{directive} ask for the same; expected one"
                )
