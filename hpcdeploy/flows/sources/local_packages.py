"""Find the packages of a Pixi environment that are built from local source code."""

import posixpath
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from hpcdeploy.boundary import Boundary
from hpcdeploy.definition.pixi import OwnPackage, outermost, staged_source
from hpcdeploy.environments.pixi import Environment, Workspace, normal_name
from hpcdeploy.environments.pixi_lock import LockedEnvironment
from hpcdeploy.environments.pixi_package import MANIFESTS, RECIPES, package_places
from hpcdeploy.errors import DefinitionError, EnvironmentFileError
from hpcdeploy.flows.sources.staging import LEFT_OUT, folder_files, read_text
from hpcdeploy.git import list_files
from hpcdeploy.image import ContextFile

NOT_SOURCE = LEFT_OUT | {
    *(".env", ".venv", ".tox", ".nox", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints", "node_modules"),
    "hpcdeploy.toml",
}
"""Names that are not copied with a package's source, even if git tracks them: caches, secrets, and cluster settings."""


def own_packages(environment: Environment, locked: LockedEnvironment, lock_file: str) -> tuple[OwnPackage, ...]:
    """Return the packages that pixi builds from source code in the workspace.

    Packages of other environments are included too, because ``pixi install --locked`` checks the whole lock file against the
    workspace, whichever environment it installs.

    Args:
        environment: The environment of the image.
        locked: The locked packages of `environment`.
        lock_file: The lock file's name, for messages.

    Raises:
        EnvironmentFileError: A package is outside the workspace, so the image cannot contain it.
    """
    editable = {name for feature in environment.features for name in feature.editable}
    others = tuple(
        OwnPackage(name=package.name, place=str(PurePosixPath(package.url)), installed=False)
        for package in locked.elsewhere
        if not _is_outside(package.url)
    )
    return others + tuple(
        OwnPackage(
            name=package.name,
            place=_place(package.name, package.url, lock_file),
            editable=package.kind == "pypi" and (package.editable or normal_name(package.name) in editable),
        )
        for package in locked.packages
        if package.is_local
    )


def own_source(packages: Iterable[OwnPackage], workspace: Path, project: Path) -> tuple[list[ContextFile], tuple[str, ...]]:
    """Return the source files of the packages in the folder `workspace`, and notes for the user.

    In a git work tree, these are the files that git tracks or would track; elsewhere, all files. `NOT_SOURCE` and ``.sif``
    files are left out.

    Raises:
        DefinitionError: A package has no files, or a file is outside the project.
    """
    files: list[ContextFile] = []
    for package in outermost(packages):
        found = _files(workspace / package.place, package, project)
        if not found:
            raise DefinitionError(
                f"the package {package.name!r} is built from {package.place!r}, which contains no source file; "
                "correct the path in the workspace's manifest, or add the files to git ('git add')"
            )
        files += found
    notes = tuple(
        f"{package.name} is built from its source in {package.place!r}"
        + (
            ", which is also in the image, because it is editable"
            if package.editable
            else "; the source is not in the image"
        )
        for package in packages
        if package.installed
    )
    return files, notes


def _place(name: str, url: str, lock_file: str) -> str:
    if _is_outside(url):
        raise EnvironmentFileError(
            f"{lock_file}: the environment installs {name!r} from {url}, which is outside the workspace, so the image's "
            "build cannot read it. Move the package into the workspace's folder and run 'pixi lock', or publish the package"
        )
    return str(PurePosixPath(url))


def _is_outside(url: str) -> bool:
    path = PurePosixPath(url)
    return url.startswith("file:") or path.is_absolute() or ".." in path.parts


def _files(folder: Path, package: OwnPackage, project: Path) -> list[ContextFile]:
    staged, what = staged_source(package.place), f"the source of the package {package.name!r}"
    listed = _listed_by_git(folder) if folder.is_dir() else None
    parts = [(folder, staged)] if listed is None else [(folder / name, f"{staged}/{name}") for name in listed]
    files = [file for path, place in parts for file in folder_files(project, str(path), place, what)]
    return [file for file in files if _is_source(PurePosixPath(file.staged).relative_to(staged))]


def _listed_by_git(folder: Path) -> list[str] | None:
    """Return the files under `folder` that git tracks or would track; None without a work tree or an installed git."""
    names = list_files(folder, "--cached", "--others", "--exclude-standard")
    return None if names is None else [name for name in names if (folder / name).exists()]


def _is_source(place: PurePosixPath) -> bool:
    return not NOT_SOURCE.intersection(place.parts) and place.suffix != ".sif"


def package_sources(
    workspace: Workspace, environment: Environment, own: Iterable[OwnPackage], folder: Path, within: Boundary
) -> tuple[OwnPackage, ...]:
    """Return the source folders that a build reads in addition to the folders of `own`, without duplicates.

    Folders that only other environments need are included, because pixi reads the whole manifest.

    Args:
        workspace: The workspace.
        environment: The environment of the image.
        own: The packages from the lock file (`own_packages`).
        folder: The workspace's folder.
        within: The project that must contain the manifests.

    Raises:
        EnvironmentFileError: A folder that `environment` needs is outside the workspace, or a package's manifest cannot be
            read or is outside the project.
    """
    own, found = tuple(own), dict[str, str]()
    needed = [(package.name, package.place) for package in own if package.installed]
    needed += [source for feature in environment.features for source in feature.sources]
    needed += [("the build", path) for path in workspace.reads]
    for name, path in _with_inner(needed, folder, within, found):
        raise EnvironmentFileError(
            f"{workspace.file}: {name} is built from {path!r}, which is outside the workspace, so the image's build "
            "cannot read it. Move the package into the workspace's folder and run 'pixi lock', or publish the package"
        )
    others = [(package.name, package.place) for package in own if not package.installed]
    for _ in _with_inner([*others, *_everywhere(workspace)], folder, within, found):
        pass  # Sources that only other environments need may be anywhere, because they are not installed.
    known = {package.place for package in own}
    return tuple(OwnPackage(name=name, place=place, installed=False) for place, name in found.items() if place not in known)


def _with_inner(
    sources: Iterable[tuple[str, str]], folder: Path, within: Boundary, found: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Add the path of each source, and paths in its manifest, to `found`; yield sources outside the workspace."""
    waiting = list(sources)
    while waiting:
        name, path = waiting.pop(0)
        place = posixpath.normpath(path)
        if place == ".." or place.startswith(("../", "/", "~/")):
            yield name, path
        elif place not in found:
            found[place] = name
            waiting += [(other, posixpath.join(place, inner)) for other, inner in _named_in(folder / place, within)]


def _everywhere(workspace: Workspace) -> Iterator[tuple[str, str]]:
    """Yield the sources of all environments on all platforms."""
    for environment in workspace.environments:
        for feature in environment.features:
            for part in (feature, *(target for _, target in feature.targets)):
                yield from part.sources


def _named_in(folder: Path, within: Boundary) -> Iterator[tuple[str, str]]:
    """Yield the names and paths of packages in the manifest of the package in `folder`; paths are relative to `folder`."""
    for file in (*MANIFESTS, *RECIPES):
        path = folder / file
        if path.exists():
            yield from package_places(read_text(path, within), str(path))
