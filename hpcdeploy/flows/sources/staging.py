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
"""Names that are left out of copied folders: git's history, caches, and environments of this machine."""


def copied_files(settings: ImageSettings, project: Path) -> list[ContextFile]:
    """Return the files of the setting ``files``, each with its path in the build context."""
    return [
        file
        for number, copy in enumerate(settings.files)
        for file in folder_files(project, copy.source, staged_copy(settings, number), "'files'")
    ]


def folder_files(project: Path, source: str, staged: str, what: str) -> list[ContextFile]:
    """Return the file `source` of the project, or, if `source` is a folder, all files under it except `LEFT_OUT`.

    Args:
        project: The project's folder.
        source: The path of the file or folder, relative to `project`.
        staged: The path of the file or folder in the build context.
        what: The name of the setting that names `source`, for messages.

    Raises:
        DefinitionError: `source` does not exist, has no file, or leads outside the project or into git's own folder.
        EnvironmentFileError: A path is not a regular file.
    """
    path = project / source
    if not path.exists():
        raise DefinitionError(f"{what} names {source!r}, which is not in {project}; correct the path or create the file")
    files = list(_walk(project, path, staged, (), what))
    if not files:
        raise DefinitionError(f"{what} names {source!r}, which contains no file to copy")
    return files


def project_file(project: Path, source: str, staged: str, what: str) -> ContextFile:
    """Return the single file `source` of the project. The arguments are those of `folder_files`.

    Raises:
        DefinitionError: The file is missing, is a folder, or is outside the project.
        EnvironmentFileError: The path is not a regular file.
    """
    if (project / source).is_dir():
        raise DefinitionError(f"{what} names {source!r}, which is a folder; expected a file")
    [file] = folder_files(project, source, staged, what)
    return file


def context_file(path: Path, staged: str, within: Boundary | None = None) -> ContextFile:
    """Return one file with its mode and sha256.

    Args:
        path: The path of the file on this machine.
        staged: The path of the file in the build context.
        within: The project that must contain the file; None if the caller has checked this.

    Raises:
        EnvironmentFileError: The file is missing, not a regular file, or outside the project.
    """
    if within:
        within.check(path)
    if not path.is_file():
        raise EnvironmentFileError(f"{path} is missing or not a regular file; the image needs it")
    mode = 0o755 if path.stat().st_mode & 0o111 else 0o644
    return ContextFile(source=path, staged=staged, mode=mode, sha256=digest_of(path))


def read_text(path: Path, within: Boundary | None) -> str:
    """Return the text of a project's file. All its lines end with a line feed.

    Args:
        path: The path of the file.
        within: The project that must contain the file; None if the user named the file in the command.

    Raises:
        EnvironmentFileError: The file is outside the project, cannot be read, is not UTF-8, or is too large.
    """
    try:
        return plain_lines(exact_text(path, within))
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentFileError(f"{path} cannot be read as UTF-8 text: {error}") from error


def exact_text(path: Path, within: Boundary | None, error: type[HpcdeployError] = EnvironmentFileError) -> str:
    """Return the text of a project's file with its line ends unchanged.

    The text is cached for the next command, unless a URL in it contains a password or a token.

    Args:
        path: The path of the file.
        within: The project that must contain the file; None if the user named the file in the command.
        error: The class of the error that is raised for a file outside the project.

    Raises:
        HpcdeployError: The file is outside the project. The class of the error is `error`.
        OSError: The file cannot be read, is not a regular file, or is too large.
        UnicodeDecodeError: The file is not UTF-8.
    """
    if within:
        within.check(path, error=error)
    limit = LARGEST_LOCK if path.suffix == ".lock" else LARGEST_TEXT
    return text_of(path, keep=lambda text: not holds_credentials(text), limit=limit)


def plain_lines(text: str) -> str:
    """Return `text` with CR LF and CR replaced by LF, as Python does when it reads text files."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _walk(project: Path, path: Path, staged: str, above: tuple[Path, ...], what: str) -> Iterator[ContextFile]:
    """Yield the files under `path`, sorted by name. A link is followed; a link that leads out of the project is an error."""
    real = path.resolve()
    if not real.is_relative_to(project.resolve()):
        raise DefinitionError(f"{what} leads to {path}, outside the project {project}; copy it into the project")
    if in_git(real, project.resolve()):
        raise DefinitionError(
            f"{what} leads to {path}, which is in git's own folder and may contain a token in a URL, so it is not copied "
            "into an image; use another file, or a copy"
        )
    if real in above:
        raise DefinitionError(f"{what} leads to {path}, a link to a folder that contains it; remove that link")
    if path.is_dir():
        for name in sorted(os.listdir(path)):  # noqa: PTH208 - names in an order of their own
            if name not in LEFT_OUT:
                yield from _walk(project, path / name, f"{staged}/{name}", (*above, real), what)
    else:
        yield context_file(path, staged)
