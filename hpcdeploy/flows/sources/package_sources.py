"""What conda packages are built from in the workspace (pixi-build), as far as no lock file says it.

A lock file names the folder of a package that is built from source. It does not name the folders of ``[dev]``: their
dependencies are installed, and pixi reads them to hold the lock file against. Nor does it name a source that lies elsewhere
(``[package.build] source = { path = "../src" }``), or what such a package needs to be built.
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
    """Return the folders of the workspace in `folder` that its build reads besides those of `own`, each once.

    Those of other environments are among them, since pixi looks at the whole manifest. Raises `EnvironmentFileError` for a
    place outside the workspace that `environment` needs, and for a package's manifest that cannot be read, or is not
    `within` the project.
    """
    own, found = tuple(own), dict[str, str]()
    needed = [(package.name, package.place) for package in own if package.installed]
    needed += [source for feature in environment.features for source in feature.sources]
    needed += [("the build", path) for path in workspace.reads]
    for name, path in _with_inner(needed, folder, within, found):
        raise EnvironmentFileError(
            f"{workspace.file}: {name} is built from {path!r}, which lies outside the workspace, so the image's build does "
            "not see it; move it into the workspace's folder and run 'pixi lock', or publish it"
        )
    others = [(package.name, package.place) for package in own if not package.installed]
    for _ in _with_inner([*others, *_everywhere(workspace)], folder, within, found):
        pass  # What only other environments need may lie anywhere: it is not installed.
    known = {package.place for package in own}
    return tuple(OwnPackage(name=name, place=place, installed=False) for place, name in found.items() if place not in known)


def _with_inner(
    sources: Iterable[tuple[str, str]], folder: Path, within: Boundary, found: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Add to `found` the place of each source, and of what the manifest there names; yield those outside the workspace."""
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
    """Yield the places that the manifest of the package in `folder` names, relative to that folder."""
    for file in (*MANIFESTS, *RECIPES):
        path = folder / file
        if path.exists():
            yield from package_places(read_text(path, within), str(path))
