"""Find the packages that a Pixi environment installs from the workspace's own source, and their files."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from hpcdeploy.definition.pixi import OwnPackage, outermost, staged_source
from hpcdeploy.environments.pixi import Environment, normal_name
from hpcdeploy.environments.pixi_lock import LockedEnvironment
from hpcdeploy.errors import DefinitionError, EnvironmentFileError
from hpcdeploy.flows.sources.staging import LEFT_OUT, folder_files
from hpcdeploy.git import list_files
from hpcdeploy.image import ContextFile

NOT_SOURCE = LEFT_OUT | {
    *(".env", ".venv", ".tox", ".nox", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints", "node_modules"),
    "hpcdeploy.toml",
}
"""Names that are left out of a source even if git does not ignore them: caches, secrets, and cluster settings."""


def own_packages(environment: Environment, locked: LockedEnvironment, lock_file: str) -> tuple[OwnPackage, ...]:
    """Return the packages that are installed from the workspace's own source.

    Packages of other environments are included: ``pixi install --locked`` checks the whole lock file against the workspace,
    whichever environment it installs.

    Args:
        environment: The environment.
        locked: Its locked packages.
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
    """Return the files of the packages' source in the folder `workspace`, and notes for the user.

    In a git work tree these are the files that git tracks or would track.

    Raises:
        DefinitionError: A package has no files, or a file is outside the project.
    """
    files: list[ContextFile] = []
    for package in outermost(packages):
        found = _files(workspace / package.place, package, project)
        if not found:
            raise DefinitionError(
                f"the package {package.name!r} is built from {package.place!r}, which contains no file; "
                "correct the workspace, or add its files to git ('git add')"
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
            "build cannot read it. Move it into the workspace's folder and run 'pixi lock', or publish it"
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
    """Return the files under `folder` that git tracks, or would track; None if it is not a work tree, or git is missing."""
    names = list_files(folder, "--cached", "--others", "--exclude-standard")
    return None if names is None else [name for name in names if (folder / name).exists()]


def _is_source(place: PurePosixPath) -> bool:
    return not NOT_SOURCE.intersection(place.parts) and place.suffix != ".sif"
