"""Packages that a Pixi environment installs from the workspace's own source: which they are, and their files."""

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
"""Names that are left out of a source even where git does not ignore them: caches, secrets, and what says where to run."""


def own_packages(environment: Environment, locked: LockedEnvironment, lock_file: str) -> tuple[OwnPackage, ...]:
    """Return what is installed from the workspace's own source; `lock_file` is the lock file's name, for messages.

    The packages of other environments are among them: ``pixi install --locked`` holds the whole lock file against the
    workspace, whichever environment it installs. Raises `EnvironmentFileError` for a place outside the workspace, which
    the image could not hold.
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
    """Return the files of the packages' source in the folder `workspace`, and what a person should know of them.

    In a git work tree it is what git tracks or would track. Raises `DefinitionError` where a file leads out of the project.
    """
    files: list[ContextFile] = []
    for package in outermost(packages):
        found = _files(workspace / package.place, package, project)
        if not found:
            raise DefinitionError(
                f"the package {package.name!r} is built from {package.place!r}, in which there is no file; "
                "correct the workspace, or let git know its files ('git add')"
            )
        files += found
    notes = tuple(
        f"{package.name} is built from its source in {package.place!r}"
        + (", which the image holds too, as it is editable" if package.editable else "; the image does not hold that source")
        for package in packages
        if package.installed
    )
    return files, notes


def _place(name: str, url: str, lock_file: str) -> str:
    if _is_outside(url):
        raise EnvironmentFileError(
            f"{lock_file}: the environment installs {name!r} from {url}, which lies outside the workspace, so the image's "
            "build does not see it; move it into the workspace's folder and run 'pixi lock', or publish it"
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
    """Return the files that git tracks, or would, under `folder`; None where it is no work tree, or git is not there."""
    names = list_files(folder, "--cached", "--others", "--exclude-standard")
    return None if names is None else [name for name in names if (folder / name).exists()]


def _is_source(place: PurePosixPath) -> bool:
    return not NOT_SOURCE.intersection(place.parts) and place.suffix != ".sif"
