"""Write generated text to files of the user, without overwriting files that hpcdeploy did not generate.

A generated file has a mark in one of its first lines, which its template contains. A record of generated files would not be
enough, because hpcdeploy may have generated a file on another machine, such as a workflow in a clone. The text of the user's
own definition or template has no mark; such a file is recorded with its sha256, and overwritten if it still has this sha256.
"""

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from hpcdeploy.errors import ConfigError
from hpcdeploy.regular_file import LARGEST_TEXT, UnsuitableFileError, read_regular
from hpcdeploy.whole_file import write_whole

_MARK = re.compile(r"\b(?:made|translated) by hpcdeploy\b|\bwritten by 'hpcdeploy\b", re.IGNORECASE)
_FIRST_LINES = 5
_FIRST_BYTES = 4096
"""The mark is searched only in the first 5 lines and 4096 bytes, so that a quoted mark further below does not match."""


class Writings(Protocol):
    """The record of the files without a mark that hpcdeploy wrote."""

    def has_written(self, path: Path, sha256: str) -> bool:
        """Tell whether hpcdeploy wrote a file with this sha256 to the path."""

    def wrote(self, path: Path, sha256: str) -> None:
        """Record the file that was written to the path last."""


def is_generated(content: bytes) -> bool:
    """Tell whether the first lines of `content` have the mark of a generated file."""
    lines = content[:_FIRST_BYTES].decode("utf-8", "replace").split("\n", _FIRST_LINES)[:_FIRST_LINES]
    return any(_MARK.search(line) for line in lines)


def write_generated(
    texts: Mapping[Path, str], *, force: bool = False, edited: bool = False, record: Writings | None = None
) -> None:
    """Write each of `texts` to its path, atomically. If one of the paths must not be overwritten, no file is written.

    Args:
        texts: The texts by path.
        force: Overwrite every regular file.
        edited: The user is expected to edit the files. So an existing file is not overwritten, even if it has a mark.
        record: Files that are in this record and have not changed since are overwritten. Texts without a mark are
            recorded. If the record cannot be written, the user needs `force` the next time.

    Raises:
        ConfigError: A path exists and is not a regular file, or `force` is not set and the file must not be overwritten.
        OSError: A file cannot be written.
    """
    changed = [path for path, text in texts.items() if _changes(path, text, force=force, edited=edited, record=record)]
    for path, text in texts.items():
        write_whole(path, text)
        # A file that had this text already may be the user's own, such as the definition that the text comes from.
        if record and path in changed and not is_generated(content := text.encode()):
            with suppress(ConfigError):
                record.wrote(path, _sha256(content))


def _changes(path: Path, text: str, *, force: bool, edited: bool, record: Writings | None) -> bool:
    """Tell whether writing `text` changes the file; raise `ConfigError` if it must not be overwritten."""
    if not path.exists():
        return True
    try:
        content = read_regular(path, LARGEST_TEXT)
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder; expected the name of a file") from None
    except UnsuitableFileError as error:
        if force and path.is_file():
            return True
        raise ConfigError(f"{path} is not overwritten: {error}; use another name") from error
    if content == text.encode() and not edited:
        return False
    if force:
        return True
    if edited:
        raise ConfigError(f"{path} exists, and may have been edited; overwrite it with --force")
    if not is_generated(content) and not (record and record.has_written(path, _sha256(content))):
        raise ConfigError(f"{path} exists, and hpcdeploy did not write it; use another name, or overwrite it with --force")
    return True


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
