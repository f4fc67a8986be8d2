"""Find the files that a Spack environment's configuration names, in the project or above it in its git work tree."""

import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from hpcdeploy.boundary import Boundary
from hpcdeploy.definition.spack import BUILD, ENVIRONMENT, staged_place
from hpcdeploy.environments.spack import Configuration, SpackEnvironment, read_configuration, read_environment
from hpcdeploy.environments.spack_lock import SpackLock, read_lock
from hpcdeploy.environments.spack_references import Reference
from hpcdeploy.environments.spack_yaml import load, table, text_of
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.flows.sources.staging import context_file, folder_files, read_text
from hpcdeploy.frozen import frozen
from hpcdeploy.image import ContextFile

MANIFEST, LOCK = "spack.yaml", "spack.lock"
_RESERVED = ("software", "view", "._view", "spack", "hpcdeploy", "spack-environment")


@frozen
class Shipment:
    """A file or folder of the project, and its path in the build stage.

    Attributes:
        destination: The path in the build stage.
        files: The file, or all files of the folder.
        source: The path on this machine.
    """

    destination: str
    files: tuple[ContextFile, ...]
    source: Path


@frozen
class Named:
    """A file or folder that an environment names.

    Attributes:
        path: The path of the file or folder, relative to the environment's folder.
        setting: The configuration file that contains the path, and the key in it, for messages: ``FILE: KEY``.
        key: `setting` and the path as it is written there, for messages: ``FILE: KEY names PATH``.
        concrete: The file belongs to another environment, which is included with its lock file (``include_concrete``).
    """

    path: str
    setting: str
    key: str
    concrete: bool = False


@frozen
class _Waiting:
    """A reference whose file is not read yet.

    Attributes:
        reference: The reference.
        file: The configuration file that contains the reference, for messages.
        folder: The folder to which the reference is relative; it is relative to the environment's folder.
        concrete: The reference belongs to another environment, which is included with its lock file.
        when: The condition under which Spack reads `file`; empty for always.
    """

    reference: Reference
    file: str
    folder: str = ""
    concrete: bool = False
    when: str = ""


@frozen
class Files:
    """The files of an environment.

    Attributes:
        named: The files and folders that the environment's configuration names.
        configurations: The configurations of ``spack.yaml`` and of all included files, highest precedence first.
        locks: Pairs of the path and the content of a lock file, for included environments. The path is relative to this
            environment's folder.
    """

    named: tuple[Named, ...]
    configurations: tuple[Configuration, ...]
    locks: tuple[tuple[str, SpackLock], ...] = ()

    def above(self, environment: str) -> tuple[str, ...]:
        """Return the named paths that are above the project's folder; `environment` is the environment's folder in it."""
        places = {one.path: posixpath.normpath(posixpath.join(environment, one.path)) for one in self.named}
        return tuple(path for path, place in places.items() if place.startswith("../"))


def ship(project: Path, source: str, destination: str, what: str) -> Shipment:
    """Return the file or folder `source` of the project, with its path `destination` in the build stage.

    Raises:
        DefinitionError: `source` does not exist, has no file, or is outside the project.
    """
    files = folder_files(project, source, staged_place(destination), what)
    return Shipment(destination=destination, files=tuple(files), source=project / source)


def find_files(environment: str, manifest: SpackEnvironment, boundary: Boundary) -> Files:
    """Find all files that a manifest names, and recursively all files that its included files name.

    Files are read in the order of their precedence in Spack: first a file, then its includes, then the next file
    (``push_scope`` in ``lib/spack/spack/config.py``). In paths, ``..`` is resolved before links, as in Spack.

    Args:
        environment: The environment's folder, relative to the project's folder.
        manifest: The manifest.
        boundary: The project that must contain the files.

    Raises:
        EnvironmentFileError: A file is missing, malformed, or outside of `boundary`.
    """
    named: dict[str, Named] = {}
    locks: list[tuple[str, SpackLock]] = []
    configurations = [manifest.configuration]
    waiting = [_Waiting(reference=one, file=manifest.file) for one in manifest.configuration.references.here]
    while waiting:
        current = waiting.pop(0)
        reference, apart, when = current.reference, current.concrete, current.when or current.reference.when
        path = posixpath.normpath(posixpath.join(current.folder, reference.path))
        setting = f"{current.file}: {reference.key}"
        key = f"{setting} names {reference.written!r}"
        found = boundary.project / posixpath.normpath(posixpath.join(environment, path))
        if not found.exists():
            if reference.required:
                raise EnvironmentFileError(f"{key}, but {found} does not exist; correct the path, or create the file")
            continue
        if path in named:
            continue
        boundary.check(found, key)
        if reference.kind == "concrete":
            both = [
                Named(path=posixpath.normpath(posixpath.join(path, name)), setting=setting, key=key, concrete=True)
                for name in (MANIFEST, LOCK)
            ]
            locks.append((both[1].path, _concrete(found, key, boundary)))
            named |= {one.path: one for one in both}
            inner = read_environment(read_text(found / MANIFEST, boundary), str(found / MANIFEST))
            waiting[:0] = [
                _Waiting(reference=one, file=inner.file, folder=path, concrete=True, when=when)
                for one in inner.configuration.references.here
            ]
            continue
        named[path] = Named(path=path, setting=setting, key=key, concrete=apart)
        if reference.kind != "include":
            continue
        inside = path if found.is_dir() else posixpath.dirname(path)
        files = _configuration_files(found)
        for file in files:
            boundary.check(file, key)
        read = [replace(read_configuration(read_text(file, boundary), str(file)), when=when) for file in files]
        configurations += [] if apart else read
        waiting[:0] = [
            _Waiting(reference=one, file=str(file), folder=inside, concrete=apart, when=when)
            for file, configuration in zip(files, read, strict=True)
            for one in configuration.references.here
        ]
    return Files(named=tuple(named.values()), configurations=tuple(configurations), locks=tuple(locks))


def _concrete(found: Path, key: str, boundary: Boundary) -> SpackLock:
    """Check that the included environment in `found` has a manifest and a lock file (Spack reads both); return the lock."""
    for name in (MANIFEST, LOCK):
        boundary.check(found / name, key)
        if not (found / name).exists():
            raise EnvironmentFileError(
                f"{key}, another environment, but {found / name} is missing; run 'spack concretize' in {found}, or remove "
                "that environment from the list"
            )
    return read_lock(read_text(found / LOCK, boundary), str(found / LOCK))


def environment_place(folder: Path, named: Sequence[Named]) -> str:
    """Return the path in the image of the environment in `folder`.

    Relative paths in the configuration that start with ``..`` must lead to the right files in the image too. The result is
    `ENVIRONMENT` if no path starts with ``..``, or if these paths lead only one folder up, to names in ``/opt`` that are not
    in `_RESERVED`. Otherwise it is a subfolder of `ENVIRONMENT`, with as many levels as the paths lead up.
    """
    depth, free = 0, True
    for one in named:
        parts = PurePosixPath(one.path).parts
        up = sum(part == ".." for part in parts)
        depth = max(depth, up)
        free = free and not (up == 1 and parts[1:2] and parts[1] in _RESERVED)
    return ENVIRONMENT if depth == 0 or (depth == 1 and free) else posixpath.join(ENVIRONMENT, *folder.parts[-depth:])


def ship_named(boundary: Boundary, environment: str, named: Sequence[Named], place: str) -> tuple[Shipment, ...]:
    """Find the files of all paths that an environment names.

    Args:
        boundary: The project that must contain the files.
        environment: The environment's folder, relative to the project's folder.
        named: The files and folders that the environment names.
        place: The environment's path in the image.

    Raises:
        EnvironmentFileError: A file is outside of `boundary`, or a folder contains the environment itself.
        DefinitionError: A file or folder does not exist, or has no files.
    """
    shipments = []
    for one in named:
        destination = posixpath.normpath(posixpath.join(place, one.path))
        if place == destination or place.startswith(f"{destination}/"):
            raise EnvironmentFileError(f"{one.key}, which contains the environment itself; use a file or folder in it")
        source = boundary.project / posixpath.normpath(posixpath.join(environment, one.path))
        inside = source.resolve().is_relative_to(boundary.project) and not source.is_dir()
        top = boundary.project if inside else boundary.top
        shipment = ship(top, os.path.relpath(source, top), destination, one.setting)
        for file in shipment.files:
            boundary.check(file.source, one.key)
        shipments.append(shipment)
    return tuple(shipments)


def repositories(boundary: Boundary, folders: tuple[str, ...]) -> Iterator[tuple[Shipment, str]]:
    """Yield the package repositories in folders of the project, each with its namespace, at a path that Spack accepts.

    From package API 2 on, a repository's path must end with ``spack_repo`` and its namespace, because it is a Python package
    (Spack's documentation, "Package Repositories").

    Raises:
        EnvironmentFileError: A folder has no repository, or is outside of `boundary`.
    """
    project = boundary.project
    for number, folder in enumerate(folders):
        found = project / folder
        boundary.check(found, f"'repos' names {folder!r}")
        inner = sorted(path.parent for path in found.glob("spack_repo/**/repo.yaml"))
        roots = [found] if (found / "repo.yaml").exists() else inner
        if not roots:
            raise EnvironmentFileError(
                f"'repos' names {folder!r}, but {found} is not a package repository, because it has neither repo.yaml nor a "
                "folder spack_repo with a repo.yaml; create a repository with 'spack repo create'"
            )
        for root in roots:
            text = read_text(root / "repo.yaml", boundary)
            repository = table(load(text, str(root / "repo.yaml")).get("repo"), f"{root}/repo.yaml: repo")
            namespace = text_of(repository.get("namespace"), f"{root}/repo.yaml: namespace")
            if not namespace:
                raise EnvironmentFileError(f"{root}/repo.yaml has no namespace; write repo: namespace: NAME")
            new = (
                not text_of(repository.get("api"), f"{root}/repo.yaml: api").startswith(("v1", "1")) and "api" in repository
            )
            place = PurePosixPath(f"{BUILD}/repos/{number}")
            place = place / "spack_repo" / namespace.replace(".", "/") if new else place / namespace.rpartition(".")[2]
            yield ship(project, root.relative_to(project).as_posix(), str(place), "'repos'"), namespace


def recipe(project: Path, number: int, source: str) -> Shipment:
    """Return a package's recipe, with its path in the build stage.

    `source` is a file, which becomes ``package.py``, or a folder with ``package.py`` and patches. `number` is the
    recipe's position in the setting 'recipes'.
    """
    folder = f"{BUILD}/recipes/{number}"
    if not (project / source).is_dir():
        return ship(project, source, f"{folder}/package.py", "'recipes'")
    context_file(project / source / "package.py", "package.py")
    return ship(project, source, folder, "'recipes'")


def _configuration_files(found: Path) -> list[Path]:
    return [path for path in sorted(found.glob("*.yaml")) if path.is_file()] if found.is_dir() else [found]
