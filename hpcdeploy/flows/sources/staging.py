"""The project's files that a build needs, found and measured. Nothing is written."""

import os
from collections.abc import Iterator
from pathlib import Path

from hpcdeploy.boundary import Boundary, in_git
from hpcdeploy.definition.parts import staged_copy
from hpcdeploy.environments.channel_address import holds_credentials
from hpcdeploy.errors import DefinitionError, EnvironmentFileError, HpcdeployError
from hpcdeploy.image import ContextFile, ImageSettings
from hpcdeploy.known_files import digest_of, text_of
from hpcdeploy.regular_file import LARGEST_LOCK, LARGEST_TEXT

LEFT_OUT = frozenset({".git", ".pixi", ".hpcdeploy", "__pycache__", ".DS_Store"})
"""Names that no copied folder brings along: they are caches, history, or another machine's environments."""


def copied_files(settings: ImageSettings, project: Path) -> list[ContextFile]:
    """Return the files that the settings' ``files`` bring into the image, each at its place in the build's context."""
    return [
        file
        for number, copy in enumerate(settings.files)
        for file in folder_files(project, copy.source, staged_copy(settings, number), "'files'")
    ]


def folder_files(project: Path, source: str, staged: str, what: str) -> list[ContextFile]:
    """Return the file `source` of the project, or all files under that folder; `what` names the setting in messages."""
    path = project / source
    if not path.exists():
        raise DefinitionError(f"{what} names {source!r}, which is not in {project}; correct it or make the file")
    files = list(_walk(project, path, staged, (), what))
    if not files:
        raise DefinitionError(f"{what} names {source!r}, in which there is no file to copy")
    return files


def project_file(project: Path, source: str, staged: str, what: str) -> ContextFile:
    """Return the one file `source` of the project; `what` names the setting in messages."""
    if (project / source).is_dir():
        raise DefinitionError(f"{what} names {source!r}, which is a folder, where a file was expected")
    [file] = folder_files(project, source, staged, what)
    return file


def context_file(path: Path, staged: str, within: Boundary | None = None) -> ContextFile:
    """Return one file with its mode and sha256; `EnvironmentFileError` where it is none, or not `within` the project.

    Without `within` it was checked before.
    """
    if within:
        within.check(path)
    if not path.is_file():
        raise EnvironmentFileError(f"{path} is missing or no regular file, but the image needs it")
    mode = 0o755 if path.stat().st_mode & 0o111 else 0o644
    return ContextFile(source=path, staged=staged, mode=mode, sha256=digest_of(path))


def read_text(path: Path, within: Boundary | None) -> str:
    """Return the text of a project's file, which must lie `within` the project (None: the person named the file).

    Raises `EnvironmentFileError` where it does not, or cannot be read as UTF-8, or is too large for its kind.
    """
    try:
        return plain_lines(exact_text(path, within))
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentFileError(f"{path} cannot be read as UTF-8 text: {error}") from error


def exact_text(path: Path, within: Boundary | None, error: type[HpcdeployError] = EnvironmentFileError) -> str:
    """Return the text of a project's file with its line ends, which must lie `within` the project.

    It is remembered for the next command, unless an address in it holds a password or a token. Raises an `error` for one
    that lies elsewhere, OSError (also for what is no regular file, or too large) and UnicodeDecodeError.
    """
    if within:
        within.check(path, error=error)
    limit = LARGEST_LOCK if path.suffix == ".lock" else LARGEST_TEXT
    return text_of(path, keep=lambda text: not holds_credentials(text), limit=limit)


def plain_lines(text: str) -> str:
    """Return a text in which each line ends as Python's text files do, by a line feed."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _walk(project: Path, path: Path, staged: str, above: tuple[Path, ...], what: str) -> Iterator[ContextFile]:
    """Yield the files under `path` in a fixed order; links are followed, as the copy into the image would, but not out."""
    real = path.resolve()
    if not real.is_relative_to(project.resolve()):
        raise DefinitionError(f"{what} leads to {path}, which lies outside the project {project}; copy it into the project")
    if in_git(real, project.resolve()):
        raise DefinitionError(
            f"{what} leads to {path}, which is git's own and may hold a token in an address; it does not go into an image, "
            "so name another file, or a copy of it"
        )
    if real in above:
        raise DefinitionError(f"{what} leads to {path}, a link to a folder that holds it; remove that link")
    if path.is_dir():
        for name in sorted(os.listdir(path)):  # noqa: PTH208 - names in an order of their own
            if name not in LEFT_OUT:
                yield from _walk(project, path / name, f"{staged}/{name}", (*above, real), what)
    else:
        yield context_file(path, staged)
