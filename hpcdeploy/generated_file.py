"""Write text that hpcdeploy made to a file of the user, without overwriting the user's own files.

A file that hpcdeploy wrote has a mark in one of its first lines, from its template. A record of written files would not know
those that another machine wrote, such as a workflow in a clone.
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


def is_generated(content: bytes) -> bool:
    """Tell whether hpcdeploy wrote a text with this content."""
    lines = content[:_FIRST_BYTES].decode("utf-8", "replace").split("\n", _FIRST_LINES)[:_FIRST_LINES]
    return any(_MARK.search(line) for line in lines)


def write_generated(texts: Mapping[Path, str], *, force: bool = False, edited: bool = False) -> None:
    """Write each of `texts` to its path, atomically; if one cannot be overwritten, none is written.

    Args:
        texts: The texts by path.
        force: Overwrite every regular file.
        edited: The files are meant to be edited, so an existing one is the user's own, also with a mark.

    Raises:
        ConfigError: A path has a file that hpcdeploy did not write, and `force` is not set, or it has no regular file.
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
        raise ConfigError(f"{path}: {error}; it is not overwritten: use another name") from error
    if force:
        return
    if edited:
        raise ConfigError(f"{path} exists, and may have been edited; overwrite it with --force")
    if content != text.encode() and not is_generated(content):
        raise ConfigError(f"{path} exists, and hpcdeploy did not write it; use another name, or overwrite it with --force")
