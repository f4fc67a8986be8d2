"""Combine a cluster's defaults, ``[jobs.NAME]`` and a command's options into a job."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any, TypeVar, get_args

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.config.directives import twins
from hpcdeploy.config.files import read_sweep
from hpcdeploy.config.gres import check_no_gpus
from hpcdeploy.config.job_files import mounted_here
from hpcdeploy.config.named_files import Admit, files_of_job, files_of_job_here, in_folder, outside, refuse
from hpcdeploy.config.project import JobSettings, Project
from hpcdeploy.config.reading import found, joined
from hpcdeploy.config.task_layout import check_consistency
from hpcdeploy.errors import ConfigError
from hpcdeploy.image import ImageSettings
from hpcdeploy.job import SETTINGS, Array, Bind, Directives, Input, Job, Resources, SweepFile
from hpcdeploy.job_field import Merge
from hpcdeploy.parameters import VARIABLE, filled
from hpcdeploy.plain_text import meant

_REQUESTS = frozenset(field.name for field in fields(Resources))


def without_replaced(sources: Sequence[JobSettings], cluster: Cluster) -> tuple[JobSettings, ...]:
    """Remove from each source the keys that a later source replaces by options of the cluster's scheduler.

    For example, ``slurm.mem`` in a job replaces ``memory`` in the cluster's defaults. Otherwise such a job could not request
    all memory of a node (``slurm.mem = "0"``), because a job cannot remove a key that the cluster's defaults set.

    If the cluster has two schedulers, nothing is removed, because the job may need the key for the other scheduler.
    `resolve_job` then rejects a key and an option that request the same thing.

    Args:
        sources: The settings from each source, in ascending order of precedence.
        cluster: The cluster that the job runs on.
    """
    if len(cluster.schedulers) > 1:
        return tuple(sources)
    kept: list[JobSettings] = []
    for source in sources:
        removed: dict[str, Any] = dict.fromkeys(_replaced(source, cluster.schedulers[0]))
        kept = [*(replace(earlier, **removed) for earlier in kept), source]
    return tuple(kept)


def _replaced(source: JobSettings, scheduler: SchedulerName) -> list[str]:
    replaced = (key.replace("-", "_") for key, _ in twins(scheduler, getattr(source, scheduler)))
    return [field for field in replaced if field in _REQUESTS]


T = TypeVar("T")

NO_OPTIONS = JobSettings()
_ADDRESSES = (
    "oras://", "docker://", "osdf://", "pelican://", "stash://", "https://", "http://", "s3://", "gs://", "/cvmfs/"
)  # fmt: skip
"""Prefixes of an image reference that is neither an image of the project nor a file of this machine."""
UNNAMED_JOB = "job"
"""The name of a job that is described by options of the command line alone."""


def choose_cluster(project: Project, name: str | None) -> Cluster:
    """Return the cluster `name`; without a name, the only cluster of the project.

    Raises:
        ConfigError: There is no such cluster, or the name is missing and the number of clusters is not one.
    """
    return project.clusters[_chosen("cluster", name, project.clusters, "choose one with --cluster")]


def choose_image(project: Project, name: str | None) -> ImageSettings:
    """Return the settings of the image `name`; without a name, those of the only image of the project.

    Raises:
        ConfigError: There is no such image, or the name is missing and the number of images is not one.
    """
    return project.images[_chosen("image", name, project.images, "choose one")]


def choose_images(project: Project, names: Sequence[str], *, every: bool = False) -> tuple[ImageSettings, ...]:
    """Return the settings of several images.

    Args:
        project: The project.
        names: Names of images, where duplicates are ignored; if empty and `every` is false, the only image is chosen.
        every: Choose all images of the project.

    Raises:
        ConfigError: There is no such image, `names` and `every` are both given, or neither is given and the number of images
            is not one.
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

    If several sources set a key, the value of the last source is used. There are three exceptions:

    - Tables (environment, directives) are merged by name.
    - Binds and inputs are merged by their path in the container.
    - Scheduler options replace keys of earlier sources (`without_replaced`).

    Args:
        project: The project.
        job_name: The name of the job. None means the project's only job, or if the project has no jobs, a job called
            ``job`` that `options` describe.
        cluster_name: The name of the cluster; None for the only cluster.
        options: Settings from the command line.
        admit: A function that allows or rejects files outside of the project that the project's settings name (`Admit`).

    Raises:
        ConfigError: A name is unknown or ambiguous, an image is missing, a file with parameters is invalid, settings
            contradict each other, or `admit` rejected a file.
    """
    cluster = choose_cluster(project, cluster_name)
    name, own = _job_settings(project, job_name)
    if files := outside(files_of_job(own, options, project.root), project.root):
        admit(files)
    sources = (project.defaults.get(cluster.name, NO_OPTIONS), own, options)
    job = _job(project, name, without_replaced(sources, cluster))
    _refuse_twins(job, cluster)
    check_no_gpus(job, cluster)
    _check_placeholders(job)
    check_consistency(job)
    return job


def resolve_job_here(
    project: Project, job_name: str | None, options: JobSettings = NO_OPTIONS, *, admit: Admit = refuse
) -> Job:
    """Combine ``[jobs.NAME]`` and `options` into a job for this machine.

    The differences to `resolve_job` are:

    - No cluster's defaults are used.
    - A sweep becomes its first task, with the parameters filled in.
    - The code and the inputs are bound from their source folders.

    Raises:
        ConfigError: A name is unknown or ambiguous, an image is missing, a file with parameters is invalid, settings
            contradict each other, or `admit` rejected a file.
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


def _job(project: Project, name: str, sources: tuple[JobSettings, ...]) -> Job:
    merged = {setting.field: _MERGED[setting.merge](_values(sources, setting.field)) for setting in SETTINGS}
    merged |= {"image": _image(project, name, merged["image"]), "array": _array(project, name, sources)}
    # Values that no source sets are left out, so that the fields of `Job` and `Resources` get their defaults.
    given = {field: value for field, value in merged.items() if value is not None}
    given.pop("throttle", None)
    return Job(name=name, resources=Resources(**{field: given.pop(field) for field in _REQUESTS & given.keys()}), **given)


def _values(sources: Iterable[JobSettings], field: str) -> list[Any]:
    """Return the values of `field` from the sources that set it, in the order of the sources."""
    return [value for value in (getattr(source, field) for source in sources) if value is not None]


def _last(values: Sequence[T]) -> T | None:
    return values[-1] if values else None


def _by_name(values: Iterable[Directives], *, caseless: bool = False) -> Directives:
    merged = {key.lower() if caseless else key: (key, value) for several in values for key, value in several}
    return tuple((key, value) for key, value in merged.values() if value is not False)


def _by_destination(values: Iterable[tuple[Bind | Input, ...]]) -> tuple[Bind | Input, ...]:
    return tuple({one.destination or one.source: one for several in values for one in several}.values())


_MERGED: Mapping[Merge, Callable[[list[Any]], Any]] = {
    "last": _last,
    "last or none": lambda values: _last(values) or None,
    "name": _by_name,
    "caseless name": partial(_by_name, caseless=True),
    "destination": _by_destination,
}


def _array(project: Project, job: str, sources: tuple[JobSettings, ...]) -> Array | None:
    last = _last(_values(sources, "array"))
    of_project = last is not sources[-1].array  # false if the command line, which is the last source, sets the array
    array = read_sweep(last, project.root, of_project=of_project) if isinstance(last, SweepFile) else last
    throttle = _last(_values(sources, "throttle"))
    if throttle is None:
        return array
    if array is None:
        raise ConfigError(f"job {job} has a throttle, but no array and no sweep; set one, or omit the throttle")
    return replace(array, throttle=throttle)


def _first_task(job: Job) -> Job:
    """Return the first task of a sweep as a job of its own; other jobs are returned unchanged."""
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
        there += "; a program comes after --" if what == "job" and not close else ""
        raise ConfigError(
            f"found {found(name)}; no {what} has that name{f', did you mean {close}?' if close else '.'} {there}"
        )
    return name


def _image(project: Project, job: str, image: str | None) -> str:
    if image is None:
        if len(project.images) == 1:
            return next(iter(project.images))
        there = f"use one of {', '.join(project.images)}" if project.images else "use a .sif file or an oras:// reference"
        raise ConfigError(f"job {job} has no image, and the project has {len(project.images)}; {there}")
    if image in project.images or image.startswith(_ADDRESSES):
        return image
    if image.endswith(".sif") and "://" not in image:
        return str(in_folder(image, project.root, os.environ))
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
                    f"job {job.name} on {cluster.name}: {key} and {scheduler}.{directive} request the same thing; expected "
                    "only one of the two"
                )
