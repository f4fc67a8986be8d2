"""Write generated text to files of the user, without overwriting files that hpcdeploy did not generate.

A generated file has a mark in one of its first lines, which its template contains. A record of generated files would not be
enough, because hpcdeploy may have generated a file on another machine, such as a workflow in a clone.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from hpcdeploy.errors import ConfigError
from hpcdeploy.regular_file import LARGEST_TEXT, UnsuitableFileError, read_regular
from hpcdeploy.whole_file import write_whole

_MARK = re.compile(r"\b(?:made|translated) by hpcdeploy\b|\bwritten by 'hpcdeploy\b", re.IGNORECASE)
_FIRST_LINES = 5
_FIRST_BYTES = 4096
"""The mark is searched only in the first 5 lines and 4096 bytes, so that a quoted mark further below does not match."""


def is_generated(content: bytes) -> bool:
    """Tell whether the first lines of `content` have the mark of a generated file."""
    lines = content[:_FIRST_BYTES].decode("utf-8", "replace").split("\n", _FIRST_LINES)[:_FIRST_LINES]
    return any(_MARK.search(line) for line in lines)


def write_generated(texts: Mapping[Path, str], *, force: bool = False, edited: bool = False) -> None:
    """Write each of `texts` to its path, atomically. If one of the paths must not be overwritten, no file is written.

    Args:
        texts: The texts by path.
        force: Overwrite every regular file.
        edited: The user is expected to edit the files. So an existing file is not overwritten, even if it has a mark.

    Raises:
        ConfigError: A path exists and is not a regular file, or `force` is not set and the file must not be overwritten.
        OSError: A file cannot be written.
    """
    for path, text in texts.items():
        _check(path, text, force=force, edited=edited)
    for path, text in texts.items():
        write_whole(path, text)


def _check(path: Path, text: str, *, force: bool, edited: bool) -> None:
    if not path.exists():
        return
    try:
        content = read_regular(path, LARGEST_TEXT)
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder; expected the name of a file") from None
    except UnsuitableFileError as error:
        if force and path.is_file():
            return
        raise ConfigError(f"{path} is not overwritten: {error}; use another name") from error
    if force:
        return
    if edited:
        raise ConfigError(f"{path} exists, and may have been edited; overwrite it with --force")
    if content != text.encode() and not is_generated(content):
        raise ConfigError(f"{path} exists, and hpcdeploy did not write it; use another name, or overwrite it with --force")
