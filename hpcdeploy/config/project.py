"""A project as its settings files say it: images, clusters and jobs, as plain frozen values."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.found import joined
from hpcdeploy.config.reading import Report
from hpcdeploy.config.sweeps import SweepFile
from hpcdeploy.image import FileCopy, ImageSettings, Secret
from hpcdeploy.job import After, Array, Bind, Code, Directives, Input, Launcher, Retries, Signal
from hpcdeploy.source import DefinitionSource, DockerfileSource, OciSource, PixiSource, Source, SpackSource

ONLY_IMAGE = "default"
"""The name of the image of ``[image]``, of which there is one only."""


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """What one place says of a job: a cluster's defaults, ``[jobs.NAME]``, or the options of a command.

    None: this place says nothing of it. Units as in `hpcdeploy.job.Resources`. A Slurm directive that is False takes
    away what an earlier place set. ``array`` is also what a sweep says; ``throttle``, which only an option sets, is that of
    whatever array there is. A code that is False takes away what an earlier place set.
    """

    image: str | None = None
    command: tuple[str, ...] | None = None
    nodes: int | None = None
    gpus: int | None = None
    gpu_type: str | None = None
    gpu_memory: int | None = None
    gpu_capability: tuple[str, str] | None = None
    gpu_runtime: str | None = None
    cpus: int | None = None
    memory: int | None = None
    time: int | None = None
    disk: int | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    environment: tuple[tuple[str, str], ...] = ()
    binds: tuple[Bind, ...] = ()
    array: Array | SweepFile | None = None
    throttle: int | None = None
    after: tuple[After, ...] | None = None
    signal: Signal | None = None
    requeue: bool | None = None
    retries: Retries | None = None
    tasks_per_node: int | None = None
    launcher: Launcher | None = None
    mpi: str | None = None
    workdir: str | None = None
    code: Code | Literal[False] | None = None
    inputs: tuple[Input, ...] = ()
    outputs: tuple[str, ...] | None = None
    slurm: Directives = ()
    srun: Directives = ()
    htcondor: Directives = ()


@dataclass(frozen=True, kw_only=True)
class Project:
    """Everything that the settings files say.

    ``root`` is the project's folder (that of `file`); without a project file it is where the search began. ``defaults``
    are the clusters' job defaults, by cluster. ``origins`` names, for each key path, the file that set it.
    """

    root: Path
    file: Path | None = None
    images: Mapping[str, ImageSettings] = field(default_factory=dict)
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    defaults: Mapping[str, JobSettings] = field(default_factory=dict)
    jobs: Mapping[str, JobSettings] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One settings file, read and checked: its values by key, and the key paths that it sets, below ``prefix`` there."""

    file: Path
    values: Mapping[str, Any]
    paths: Sequence[str]
    prefix: str = ""


def assemble(root: Path, own: Sequence[Layer], layer: Layer | None) -> Project:
    """Return the project that a person's `own` files and the project's, `layer`, make; each later one has precedence.

    A cluster that the person's files describe stays as it is: of it a project may set the job defaults only. Raises
    `ConfigError` where it sets something else.
    """
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for one in own:
        merged = _merge(merged, one.values)
        origins.update((path, str(one.file)) for path in one.paths)
    persons = {name for name, values in merged.get("clusters", {}).items() if values.keys() - {"defaults"}}
    if layer is not None:
        _refuse_changes(layer, {name: merged["clusters"][name] for name in persons}, origins)
        merged = _merge(merged, layer.values)
        kept = {joined("clusters", name) for name in persons}
        origins.update((path, str(layer.file)) for path in layer.paths if not _describes(path, kept))
    images = {ONLY_IMAGE: merged["image"]} if "image" in merged else merged.get("images", {})
    clusters = merged.get("clusters", {})
    return Project(
        root=root,
        file=layer.file if layer else None,
        images={name: _image(name, values) for name, values in images.items()},
        clusters={
            name: _cluster(name, values, project=str(root), of_project=name not in persons)
            for name, values in clusters.items()
        },
        defaults={name: job_settings(values.get("defaults", {})) for name, values in clusters.items()},
        jobs={name: job_settings(values) for name, values in merged.get("jobs", {}).items()},
        origins=origins,
    )


def _refuse_changes(layer: Layer, persons: Mapping[str, Mapping[str, Any]], origins: Mapping[str, str]) -> None:
    report = Report(file=str(layer.file), prefix=layer.prefix)
    for name, values in layer.values.get("clusters", {}).items():
        known = persons.get(name)
        for key in (key for key in values if known is not None and key != "defaults" and values[key] != known.get(key)):
            where = joined("clusters", name)
            written = joined(where, key) if joined(where, key) in layer.paths else joined(where, "scheduler")
            report.refuse(
                written,
                f"the cluster {name} is described in {origins[where]}, and of such a cluster a project may set the defaults"
                " only; take this key out here, or give one of the two clusters another name",
            )
    report.close()


def _describes(path: str, clusters: Collection[str]) -> bool:
    """Tell whether a key path is that of one of `clusters`, or of a key of it that is not a job default."""
    return any(
        path == cluster or (path.startswith(f"{cluster}.") and not f"{path}.".startswith(f"{cluster}.defaults."))
        for cluster in clusters
    )


def _merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(lower)
    for key, value in upper.items():
        both_tables = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both_tables else value
    return merged


def _image(name: str, values: Mapping[str, Any]) -> ImageSettings:
    fields = _fields(values)
    repository = fields.pop("repository", ())
    files = fields.pop("files", ())
    return ImageSettings(
        name=name,
        source=_source(fields),
        repositories=(repository,) if isinstance(repository, str) else repository,
        files=tuple(FileCopy(source=source, destination=destination) for source, destination in files),
        secrets=tuple(Secret(name=secret, **place) for secret, place in fields.pop("secrets", ())),
        **fields,
    )


def _source(fields: dict[str, Any]) -> Source:
    """Take the one key that says what the image is made from out of `fields`."""
    if "oci" in fields:
        return OciSource(reference=fields.pop("oci"))
    if "definition" in fields:
        return DefinitionSource(file=fields.pop("definition"))
    if "dockerfile" in fields:
        return cast("DockerfileSource", fields.pop("dockerfile"))
    if "spack" in fields:
        return SpackSource(**_fields(dict(fields.pop("spack"))))
    return PixiSource(**_fields(dict(fields.pop("pixi", ()))))


def _cluster(name: str, values: Mapping[str, Any], *, project: str, of_project: bool) -> Cluster:
    described = _fields({key: value for key, value in values.items() if key != "defaults"})
    return Cluster(name=name, project=project, of_project=of_project, **described)


def job_settings(values: Mapping[str, Any]) -> JobSettings:
    """Return what one place says of a job, from its checked values by key."""
    return JobSettings(**_fields(values))


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` by the fields' names, tables as tuples of pairs: values that nobody can change later."""
    return {
        key.replace("-", "_"): tuple(value.items()) if isinstance(value, Mapping) else value for key, value in values.items()
    }
