"""Find the project's files that a build needs, with their checksums. Nothing is written."""

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
"""Names that are left out of copied folders: caches, history, or environments of another machine."""


def copied_files(settings: ImageSettings, project: Path) -> list[ContextFile]:
    """Return the files of the setting ``files``, each with its path in the build context."""
    return [
        file
        for number, copy in enumerate(settings.files)
        for file in folder_files(project, copy.source, staged_copy(settings, number), "'files'")
    ]


def folder_files(project: Path, source: str, staged: str, what: str) -> list[ContextFile]:
    """Return the file `source` of the project, or all files under that folder; `what` is the setting's name for messages.

    Raises:
        DefinitionError: There is no file, or a file is outside the project.
    """
    path = project / source
    if not path.exists():
        raise DefinitionError(f"{what} names {source!r}, which is not in {project}; correct it or create the file")
    files = list(_walk(project, path, staged, (), what))
    if not files:
        raise DefinitionError(f"{what} names {source!r}, which contains no file to copy")
    return files


def project_file(project: Path, source: str, staged: str, what: str) -> ContextFile:
    """Return the single file `source` of the project; `what` is the setting's name for messages.

    Raises:
        DefinitionError: It is missing, not a file, or outside the project.
    """
    if (project / source).is_dir():
        raise DefinitionError(f"{what} names {source!r}, which is a folder; expected a file")
    [file] = folder_files(project, source, staged, what)
    return file


def context_file(path: Path, staged: str, within: Boundary | None = None) -> ContextFile:
    """Return one file with its mode and sha256.

    Args:
        path: The file.
        staged: Its path in the build context.
        within: The project that must contain it; None if that was checked before.

    Raises:
        EnvironmentFileError: It is missing, not a regular file, or outside the project.
    """
    if within:
        within.check(path)
    if not path.is_file():
        raise EnvironmentFileError(f"{path} is missing or not a regular file; the image needs it")
    mode = 0o755 if path.stat().st_mode & 0o111 else 0o644
    return ContextFile(source=path, staged=staged, mode=mode, sha256=digest_of(path))


def read_text(path: Path, within: Boundary | None) -> str:
    """Return the text of a project's file, with normalised line ends.

    Args:
        path: The file.
        within: The project that must contain it; None if the user named the file.

    Raises:
        EnvironmentFileError: It is outside the project, not UTF-8, or too large for its kind.
    """
    try:
        return plain_lines(exact_text(path, within))
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentFileError(f"{path} cannot be read as UTF-8 text: {error}") from error


def exact_text(path: Path, within: Boundary | None, error: type[HpcdeployError] = EnvironmentFileError) -> str:
    """Return the text of a project's file, with its own line ends.

    The text is cached for the next command, unless a URL in it contains a password or a token.

    Args:
        path: The file.
        within: The project that must contain it; None if the user named the file.
        error: The class of the error for a file outside the project.

    Raises:
        HpcdeployError: The file is outside the project; of the class `error`.
        OSError: The file cannot be read, is not a regular file, or is too large.
        UnicodeDecodeError: It is not UTF-8.
    """
    if within:
        within.check(path, error=error)
    limit = LARGEST_LOCK if path.suffix == ".lock" else LARGEST_TEXT
    return text_of(path, keep=lambda text: not holds_credentials(text), limit=limit)


def plain_lines(text: str) -> str:
    """Return a text with a line feed at the end of each line, as Python reads text files."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _walk(project: Path, path: Path, staged: str, above: tuple[Path, ...], what: str) -> Iterator[ContextFile]:
    """Yield the files under `path` in a fixed order; links are followed, but not out of the project."""
    real = path.resolve()
    if not real.is_relative_to(project.resolve()):
        raise DefinitionError(f"{what} leads to {path}, outside the project {project}; copy it into the project")
    if in_git(real, project.resolve()):
        raise DefinitionError(
            f"{what} leads to {path}, which is in git's own folder and may contain a token in a URL. It is not copied into "
            "an image; use another file, or a copy"
        )
    if real in above:
        raise DefinitionError(f"{what} leads to {path}, a link to a folder that contains it; remove that link")
    if path.is_dir():
        for name in sorted(os.listdir(path)):  # noqa: PTH208 - names in an order of their own
            if name not in LEFT_OUT:
                yield from _walk(project, path / name, f"{staged}/{name}", (*above, real), what)
    else:
        yield context_file(path, staged)
