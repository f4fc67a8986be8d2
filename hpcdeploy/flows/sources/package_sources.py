"""Find the sources of conda packages that are built in the workspace (pixi-build), beyond those in the lock file.

A lock file names the folder of a package that is built from source. It does not name the folders of ``[dev]``: their
dependencies are installed, and pixi reads them to check the lock file. It also names no source in another folder
(``[package.build] source = { path = "../src" }``), and no build dependencies of such a package.
"""

import posixpath
from collections.abc import Iterable, Iterator
from pathlib import Path

from hpcdeploy.boundary import Boundary
from hpcdeploy.definition.pixi import OwnPackage
from hpcdeploy.environments.pixi import Environment, Workspace
from hpcdeploy.environments.pixi_package import MANIFESTS, RECIPES, package_places
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.flows.sources.staging import read_text


def package_sources(
    workspace: Workspace, environment: Environment, own: Iterable[OwnPackage], folder: Path, within: Boundary
) -> tuple[OwnPackage, ...]:
    """Return the folders of the workspace that its build reads besides those of `own`, without duplicates.

    Folders of other environments are included, because pixi reads the whole manifest.

    Args:
        workspace: The workspace.
        environment: The environment.
        own: The packages that are already known.
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
            "cannot read it. Move it into the workspace's folder and run 'pixi lock', or publish it"
        )
    others = [(package.name, package.place) for package in own if not package.installed]
    for _ in _with_inner([*others, *_everywhere(workspace)], folder, within, found):
        pass  # Sources that only other environments need may be anywhere, because they are not installed.
    known = {package.place for package in own}
    return tuple(OwnPackage(name=name, place=place, installed=False) for place, name in found.items() if place not in known)


def _with_inner(
    sources: Iterable[tuple[str, str]], folder: Path, within: Boundary, found: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Add the path of each source to `found`, and those that its manifest names; yield sources outside the workspace."""
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
    """Yield the paths in the manifest of the package in `folder`, relative to that folder."""
    for file in (*MANIFESTS, *RECIPES):
        path = folder / file
        if path.exists():
            yield from package_places(read_text(path, within), str(path))
