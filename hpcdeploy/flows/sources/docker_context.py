"""Find the project's files in the build context of a Dockerfile, which is the project's folder."""

import os
from collections.abc import Sequence
from pathlib import Path

from hpcdeploy.errors import DefinitionError
from hpcdeploy.image import ContextFile


def context_place(project: Path, source: Path, files: Sequence[ContextFile]) -> str:
    """Return the path, in the build context, of a file or folder that a Dockerfile copies.

    A link is replaced by its target, because ``.dockerignore`` excludes the target of a link.

    Args:
        project: The project's folder.
        source: The file or folder.
        files: The file, or all files of the folder.

    Raises:
        DefinitionError: The file or folder is outside the project, or the folder contains a link out of the folder: Docker
            copies such a link, and not the files.
    """
    context, real = project.resolve(), source.resolve()
    if not real.is_relative_to(context):
        raise DefinitionError(
            f"{real} is outside {context}, the build context of the Dockerfile. Move the settings file to a folder that "
            "contains both the project and this file, or use the format 'definition', which copies such files"
        )
    for file in files:
        if file.source.resolve() != real / os.path.relpath(file.source, source):
            _check_link(file.source, source, real)
    return real.relative_to(context).as_posix()


def _check_link(file: Path, source: Path, real: Path) -> None:
    """Raise `DefinitionError` if the path from the folder `source` to `file` has a link that is invalid in a copy."""
    for path in (file, *file.parents):
        if path == source:
            return
        if path.is_symlink() and (path.readlink().is_absolute() or not path.resolve().is_relative_to(real)):
            raise DefinitionError(
                f"{path} is a link out of the folder {source}; a Dockerfile would copy the link without the files. Replace "
                "the link by its target, or use the format 'definition', which copies the files"
            )
