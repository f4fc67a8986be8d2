"""Define a project as frozen values: images, clusters and jobs from its settings files."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, cast

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.reading import Report, joined
from hpcdeploy.frozen import frozen
from hpcdeploy.image import FileCopy, ImageSettings, Secret
from hpcdeploy.job import ProgramFields, ResourceFields, SchedulingFields
from hpcdeploy.source import DefinitionSource, DockerfileSource, OciSource, PixiSource, Source, SpackSource

ONLY_IMAGE = "default"
"""The name of the image that is described in ``[image]`` instead of ``[images.NAME]``."""


@frozen
class JobSettings(ProgramFields, ResourceFields, SchedulingFields):
    """A job's settings from one source: a cluster's defaults, ``[jobs.NAME]``, or the options of a command.

    - A field that is None was not set by this source.
    - A Slurm directive or ``code`` that is False removes the value that an earlier source has set.
    - ``array`` contains the value of the key ``array`` or ``sweep``.
    - ``throttle`` is set by an option only, and replaces the throttle of the array or sweep.
    """

    throttle: int | None = None


@frozen
class Project:
    """The content of all settings files.

    Attributes:
        root: The project's folder; without a project file, the folder where the search for it began.
        file: The path of the project's file; None if there is none.
        images: The settings of the images, by name.
        clusters: The settings of the clusters, by name.
        defaults: The job defaults of the clusters, by the cluster's name.
        jobs: The settings of the jobs, by name.
        origins: For each key path, such as ``jobs.train.image``, the path of the file that set it.
    """

    root: Path
    file: Path | None = None
    images: Mapping[str, ImageSettings] = field(default_factory=dict)
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    defaults: Mapping[str, JobSettings] = field(default_factory=dict)
    jobs: Mapping[str, JobSettings] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)


@frozen
class Layer:
    """The checked content of one settings file.

    Attributes:
        file: The path of the file.
        values: The checked values by key.
        paths: The key paths that the file sets, such as ``jobs.train.image``.
        prefix: The key of the table that contains the settings, such as ``tool.hpcdeploy``; empty for the whole file.
    """

    file: Path
    values: Mapping[str, Any]
    paths: Sequence[str]
    prefix: str = ""


def assemble(root: Path, of_user: Sequence[Layer], of_project: Layer | None) -> Project:
    """Combine the user's own files and the project's file; if several files set a key, the last value is used.

    Args:
        root: The project's folder.
        of_user: The content of the user's files, in ascending order of precedence.
        of_project: The content of the project's file, which has the highest precedence; None if there is none.

    Raises:
        ConfigError: The user's files describe a cluster, and the project changes a key of it other than the job
            defaults.
    """
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for one in of_user:
        merged = _merge(merged, one.values)
        origins.update((path, str(one.file)) for path in one.paths)
    user_clusters = {name for name, values in merged.get("clusters", {}).items() if values.keys() - {"defaults"}}
    if of_project is not None:
        _refuse_changes(of_project, {name: merged["clusters"][name] for name in user_clusters}, origins)
        merged = _merge(merged, of_project.values)
        kept = {joined("clusters", name) for name in user_clusters}
        origins.update((path, str(of_project.file)) for path in of_project.paths if not _describes(path, kept))
    images = {ONLY_IMAGE: merged["image"]} if "image" in merged else merged.get("images", {})
    clusters = merged.get("clusters", {})
    return Project(
        root=root,
        file=of_project.file if of_project else None,
        images={name: _image(name, values) for name, values in images.items()},
        clusters={
            name: _cluster(name, values, project=str(root), of_project=name not in user_clusters)
            for name, values in clusters.items()
        },
        defaults={name: job_settings(values.get("defaults", {})) for name, values in clusters.items()},
        jobs={name: job_settings(values) for name, values in merged.get("jobs", {}).items()},
        origins=origins,
    )


def _refuse_changes(layer: Layer, user_clusters: Mapping[str, Mapping[str, Any]], origins: Mapping[str, str]) -> None:
    report = Report(file=str(layer.file), prefix=layer.prefix)
    for name, values in layer.values.get("clusters", {}).items():
        known = user_clusters.get(name)
        for key in (key for key in values if known is not None and key != "defaults" and values[key] != known.get(key)):
            where = joined("clusters", name)
            written = joined(where, key) if joined(where, key) in layer.paths else joined(where, "scheduler")
            report.refuse(
                written,
                f"the cluster {name} is described in {origins[where]}, so a project may only set the cluster's defaults"
                "; remove this key here, or use another name for one of the two clusters",
            )
    report.raise_problems()


def _describes(path: str, clusters: Collection[str]) -> bool:
    """Tell whether a key path belongs to one of `clusters`, but not to its job defaults."""
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
    """Remove the key of the image's source from `fields`, and return the source."""
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
    """Return a job's settings from the checked `values` of one source, which are given by key."""
    return JobSettings(**_fields(values))


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` by field name instead of key; tables become tuples of pairs, because these are immutable."""
    return {
        key.replace("-", "_"): tuple(value.items()) if isinstance(value, Mapping) else value for key, value in values.items()
    }
