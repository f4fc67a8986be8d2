"""List the files that a project's images depend on, as path filters of a GitHub workflow."""

import re
from collections.abc import Iterator
from pathlib import Path

from hpcdeploy.config.project import Project
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import ImageSettings
from hpcdeploy.source import DefinitionSource, DockerfileSource, ImageConfigOf, OciSource, PixiSource, SpackSource

TEMPLATES = "defs"
"""The folder of a project's own definition templates."""

_SPECIAL = re.compile(r"([*?+\[\]!\\])")
_ARCHIVE = re.compile(r"(?:oci|docker)-archive:([^:]+)")


def repository_root(folder: Path) -> Path:
    """Return the top of the git repository of `folder`; `folder` itself if there is none."""
    real = folder.resolve()
    return next((place for place in (real, *real.parents) if (place / ".git").exists()), real)


def pattern_of(name: str) -> str:
    """Escape a path or a branch for GitHub's patterns (docs.github.com, filter pattern cheat sheet)."""
    return _SPECIAL.sub(r"\\\1", name)


def watched_paths(project: Project, workflow: str, *, image_config: ImageConfigOf) -> tuple[str, ...]:
    """Return the patterns of all files that the images of `project` depend on, sorted, relative to the repository.

    A folder is watched with all its content (``FOLDER/**``), so that new files count too.

    Args:
        project: The project.
        workflow: The workflow's own file.
        image_config: Queries a registry.

    Raises:
        DefinitionError: A definition cannot be made.
        EnvironmentFileError: An environment file cannot be read.
        RegistryError: `image_config` failed.
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
                yield root / source.environment / "spack.lock"  # also if it does not exist yet
                yield from (root / folder for folder in source.repos)
            for file in generate(image, root, image_config=image_config).files:
                yield file.source if file.source.parent in homes else file.source.parent


def _pattern(path: Path, top: Path) -> str:
    pattern = pattern_of(path.relative_to(top).as_posix())
    if not path.is_dir():
        return pattern
    return "**" if path == top else f"{pattern}/**"
