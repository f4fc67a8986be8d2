"""Which files a project's images depend on, as the path filters of a GitHub workflow."""

import re
from collections.abc import Iterator
from pathlib import Path

from hpcdeploy.config.project import Project
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import ImageSettings
from hpcdeploy.source import DefinitionSource, DockerfileSource, ImageConfigOf, OciSource, PixiSource, SpackSource

TEMPLATES = "defs"
"""The folder of a project's own templates that say how images are made."""

_SPECIAL = re.compile(r"([*?+\[\]!\\])")
_ARCHIVE = re.compile(r"(?:oci|docker)-archive:([^:]+)")


def repository_root(folder: Path) -> Path:
    """Return the top of the git repository that `folder` is in; `folder` itself where it is in none."""
    real = folder.resolve()
    return next((place for place in (real, *real.parents) if (place / ".git").exists()), real)


def pattern_of(name: str) -> str:
    """Write a path or a branch so that GitHub sees no pattern in it (docs.github.com, filter pattern cheat sheet)."""
    return _SPECIAL.sub(r"\\\1", name)


def watched_paths(project: Project, workflow: str, *, image_config: ImageConfigOf) -> tuple[str, ...]:
    """Return the patterns of all files that the images of `project` depend on, sorted, relative to the repository.

    `workflow` is the workflow's own file there. A folder is watched whole (``FOLDER/**``): what is added to it counts too.
    Raises what the making of a definition raises.
    """
    root = project.root.resolve()
    found = {path for image in project.images.values() for path in _depends_on(image, root, image_config)}
    if project.file:
        found.add(root / project.file.name)
    if (root / TEMPLATES).is_dir():
        found.add(root / TEMPLATES)
    folders = {path for path in found if path.is_dir()}
    top = repository_root(root)
    patterns = {_pattern(path, top) for path in found if not folders.intersection(path.parents)}
    return tuple(sorted({*patterns, pattern_of(workflow)}))


def _depends_on(image: ImageSettings, root: Path, image_config: ImageConfigOf) -> Iterator[Path]:
    yield from (root / copy.source for copy in image.files)
    match image.source:
        case DockerfileSource() as source:
            yield root / source.file
            yield root / source.context
        case OciSource() as source:
            archive = _ARCHIVE.match(source.reference)
            if archive:
                yield root / archive[1]
        case source:
            homes = {root}
            if isinstance(source, DefinitionSource):
                yield root / source.file
            if isinstance(source, PixiSource):
                homes.add(root / source.workspace)
            if isinstance(source, SpackSource):
                homes.add(root / source.environment)
                yield root / source.environment / "spack.lock"  # also where there is none yet
                yield from (root / folder for folder in source.repos)
            for file in generate(image, root, image_config=image_config).files:
                yield file.source if file.source.parent in homes else file.source.parent


def _pattern(path: Path, top: Path) -> str:
    words = pattern_of(path.relative_to(top).as_posix())
    if not path.is_dir():
        return words
    return "**" if path == top else f"{words}/**"
