"""Which thing a word on the command line means: an image of the project, a folder, a file, an address."""

from collections.abc import Callable
from pathlib import Path

from hpcdeploy.boundary import Boundary
from hpcdeploy.config.project import Project
from hpcdeploy.environments.pixi import is_manifest
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.inspect.against import Older, older
from hpcdeploy.flows.inspect.definition import inspect_definition
from hpcdeploy.flows.inspect.image_file import inspect_image
from hpcdeploy.flows.inspect.report import PublishedReport, Report
from hpcdeploy.flows.inspect.settings import inspect_settings
from hpcdeploy.flows.inspect.spack import inspect_spack
from hpcdeploy.flows.inspect.workspace import Wanted, inspect_lock, inspect_workspace
from hpcdeploy.flows.sources.pixi import LOCK, MANIFESTS
from hpcdeploy.flows.sources.spack_files import LOCK as SPACK_LOCK
from hpcdeploy.flows.sources.spack_files import MANIFEST
from hpcdeploy.flows.sources.staging import read_text
from hpcdeploy.image import ImageSettings
from hpcdeploy.source import DefinitionSource
from hpcdeploy.spelling import nearest
from hpcdeploy.store import Store

DEFINITION = ".def"
"""How the name of a definition file ends; what it copies begins in the working folder, as with ``apptainer build``."""

Describe = Callable[[str], PublishedReport]
"""Asks a registry what an ``oras://`` reference stands for."""


def inspect(
    target: str | None,
    project: Project,
    store: Store,
    describe: Describe,
    *,
    environment: str | None = None,
    against: str | None = None,
) -> list[Report]:
    """Report on `target`; on all images of the project, or the working folder's own environment, where it is None.

    Raises `ConfigError` where the target is nothing that can be inspected, and what its kind raises.
    """
    if target is None:
        if project.images:
            return [_image(name, project, store, environment, against) for name in project.images]
        return [_folder(Path(), environment, against)]
    if target in project.images:
        return [_image(target, project, store, environment, against)]
    if target.startswith("oras://"):
        _no_environment(target, environment, against)
        return [describe(target)]
    path = Path(target)
    if path.is_dir():
        return [_folder(path, environment, against)]
    if path.name in MANIFESTS or path.name in (MANIFEST, SPACK_LOCK):
        return [_folder(path.parent, environment, against)]
    if path.suffix == ".lock" and path.exists():
        other = older(against, path) if against else None
        return [inspect_lock(path, Wanted(environment=environment), against=other)]
    if path.suffix == DEFINITION and path.exists():
        _no_environment(target, environment, against)
        source = DefinitionSource(file=str(path))
        return [inspect_definition(ImageSettings(name=path.stem, source=source), source, Path(), named=True)]
    if path.exists():
        _no_environment(target, environment, against)
        return [inspect_image(path)]
    raise ConfigError(
        f"{target!r} is neither an image of this project ({nearest(target, tuple(project.images))}) nor a file or folder; "
        "expected one of those, a pixi.lock, a .def, a .sif, or an oras:// reference"
    )


def _image(name: str, project: Project, store: Store, environment: str | None, against: str | None) -> Report:
    return inspect_settings(project.images[name], project.root, store, environment=environment, against=_chosen(against))


def _chosen(against: str | None) -> Callable[[Path], Older] | None:
    return None if against is None else lambda lock: older(against, lock)


def _folder(folder: Path, environment: str | None, against: str | None) -> Report:
    """Report on the environment that a folder holds; a workspace of Pixi comes first, as it does in ``hpcdeploy init``."""
    manifests, within = (folder / name for name in MANIFESTS), Boundary(folder)
    if any(path.exists() and is_manifest(read_text(path, within), str(path)) for path in manifests):
        wanted = Wanted(environment=environment)
        return inspect_workspace(folder, wanted, against=older(against, folder / LOCK) if against else None)
    if (folder / MANIFEST).exists():
        _no_environment(str(folder / MANIFEST), environment, None)
        return inspect_spack(folder, against=older(against, folder / SPACK_LOCK) if against else None)
    if (folder / LOCK).exists():
        wanted = Wanted(environment=environment)
        return inspect_lock(folder / LOCK, wanted, within=within, against=older(against, folder / LOCK) if against else None)
    raise ConfigError(
        f"{folder.absolute()} holds nothing to inspect: expected a pixi.toml, a pyproject.toml with [tool.pixi], a "
        f"pixi.lock, a {MANIFEST}, or a project of hpcdeploy with images; name a folder, a file or an oras:// reference"
    )


def _no_environment(target: str, environment: str | None, against: str | None) -> None:
    for option, value in (("--environment", environment), ("--against", against)):
        if value is not None:
            raise ConfigError(f"{option} {value} means nothing to {target}, which has no Pixi environments; leave it out")
