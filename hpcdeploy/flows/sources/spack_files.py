"""The files that a Spack environment consists of: those that its configuration names, wherever they lie in the project."""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hpcdeploy.definition.spack import BUILD, ENVIRONMENT, staged_place
from hpcdeploy.environments.spack import Configuration, SpackEnvironment, read_configuration
from hpcdeploy.environments.spack_yaml import load, table, text_of
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.flows.sources.staging import context_file, folder_files, read_text
from hpcdeploy.image import ContextFile

_TAKEN = ("software", "view", "._view", "spack", "hpcdeploy", "spack-environment")
_WORDS = {"include": "include", "repo": "repos", "develop": "develop"}


@dataclass(frozen=True, kw_only=True)
class Shipment:
    """Files of the project, and the place in the build stage of the file or folder that they make."""

    destination: str
    files: tuple[ContextFile, ...]


def ship(project: Path, source: str, destination: str, what: str) -> Shipment:
    """Find the file or folder `source` of the project; `DefinitionError` where there is none."""
    files = folder_files(project, source, staged_place(destination), what)
    return Shipment(destination=destination, files=tuple(files))


def referenced(
    project: Path, environment: str, manifest: SpackEnvironment
) -> tuple[tuple[Shipment, ...], tuple[Configuration, ...]]:
    """Return all that a manifest and the files that it includes name, and the configuration of all of these, highest first.

    `environment` is the manifest's folder, relative to the project's. Raises `EnvironmentFileError` for what is missing or
    would lie outside of ``/opt`` in the image.
    """
    shipments: dict[str, Shipment] = {}
    configurations = [manifest.configuration]
    waiting = [(reference, "") for reference in manifest.configuration.references]
    while waiting:
        reference, folder = waiting.pop(0)
        path = posixpath.normpath(posixpath.join(folder, reference.path))
        key = f"{manifest.file}: {_WORDS[reference.kind]} names {reference.path!r}"
        place = _place(path, key)
        source = posixpath.normpath(posixpath.join(environment, path))
        found = project / source
        if not found.exists():
            if reference.required:
                raise EnvironmentFileError(f"{key}, which is not there: {found} is missing; correct it, or make it")
            continue
        if place in shipments:
            continue
        shipments[place] = ship(project, source, place, key)
        if reference.kind != "include":
            continue
        for file in _configuration_files(found):
            configuration = read_configuration(read_text(file), str(file))
            below = path if found.is_dir() else posixpath.dirname(path)
            configurations.append(configuration)
            waiting += [(one, below) for one in configuration.references]
    return tuple(shipments.values()), tuple(configurations)


def repositories(project: Path, folders: tuple[str, ...]) -> Iterator[tuple[Shipment, str]]:
    """Tell the package repositories in folders of the project, each with its namespace, at a place that Spack accepts.

    From package API 2 on a repository's path must end with ``spack_repo`` and its namespace, since it is a package of
    Python (Spack's documentation, "Package Repositories"). Raises `EnvironmentFileError`.
    """
    for number, folder in enumerate(folders):
        found = project / folder
        inner = sorted(path.parent for path in found.glob("spack_repo/**/repo.yaml"))
        roots = [found] if (found / "repo.yaml").is_file() else inner
        if not roots:
            raise EnvironmentFileError(
                f"'repos' names {folder!r}, but {found} is no package repository: it has neither repo.yaml nor a folder "
                "spack_repo with one; 'spack repo create' makes one"
            )
        for root in roots:
            said = table(load(read_text(root / "repo.yaml"), str(root / "repo.yaml")).get("repo"), f"{root}/repo.yaml: repo")
            namespace = text_of(said.get("namespace"), f"{root}/repo.yaml: namespace")
            if not namespace:
                raise EnvironmentFileError(f"{root}/repo.yaml names no namespace; write repo: namespace: NAME")
            new = not text_of(said.get("api"), f"{root}/repo.yaml: api").startswith(("v1", "1")) and "api" in said
            place = PurePosixPath(f"{BUILD}/repos/{number}")
            place = place / "spack_repo" / namespace.replace(".", "/") if new else place / namespace.rpartition(".")[2]
            yield ship(project, root.relative_to(project).as_posix(), str(place), "'repos'"), namespace


def recipe(project: Path, number: int, source: str) -> Shipment:
    """Return a package's recipe: a file, which becomes ``package.py``, or a folder with it and its patches."""
    folder = f"{BUILD}/recipes/{number}"
    if not (project / source).is_dir():
        return ship(project, source, f"{folder}/package.py", "'recipes'")
    context_file(project / source / "package.py", "package.py")
    return ship(project, source, folder, "'recipes'")


def _configuration_files(found: Path) -> list[Path]:
    return [path for path in sorted(found.glob("*.yaml")) if path.is_file()] if found.is_dir() else [found]


def _place(path: str, key: str) -> str:
    """Return where a path relative to the environment lies in the build stage: as it does beside the environment here."""
    place = posixpath.normpath(posixpath.join(ENVIRONMENT, path))
    parts = PurePosixPath(place).parts
    if place == ENVIRONMENT:
        raise EnvironmentFileError(f"{key}, which is the environment's own folder; name the file or folder in it")
    if len(parts) < 3 or parts[1] != "opt" or (not place.startswith(f"{ENVIRONMENT}/") and parts[2] in _TAKEN):
        raise EnvironmentFileError(
            f"{key}, which would be {place} in the image, where the environment is {ENVIRONMENT}: only what lies in the "
            "folder above the environment, or below, can be brought along; move it, or move the environment one folder down"
        )
    return place
