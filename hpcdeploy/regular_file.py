"""Read a file that somebody else may have written: a regular one, up to a limit. Nothing else is opened.

A named pipe would be waited for, opening a device may do something, and a file of absurd size would fill the memory.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

LARGEST_TEXT = 10_000_000
"""Bytes of a file that people write: settings, manifests, definitions, Dockerfiles, templates, lists of what to ignore."""

LARGEST_LOCK = 100_000_000
"""Bytes of a file that a program writes for a project, such as a lock file."""

LARGEST_TABLE = 1_000_000_000
"""Bytes of the parameters of a sweep."""

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_PIECE = 1 << 16


class UnsuitableFileError(OSError):
    """A file that is not read: no regular file, or larger than the limit; ``strerror`` says which."""

    def __init__(self, reason: str, path: Path) -> None:
        super().__init__(None, reason, str(path))

    def __str__(self) -> str:
        return str(self.strerror)


def read_regular(path: Path, limit: int) -> bytes:
    """Return the bytes of a file; links are followed.

    Raises:
        UnsuitableFileError: it is no regular file, or has more than `limit` bytes.
        IsADirectoryError: it is a folder.
        OSError: it is missing, or cannot be read.
    """
    with open_regular(path, limit) as file:
        return _read(file, path, limit)


def read_named(path: Path, limit: int) -> bytes:
    """Return the bytes of what a person named in the command, which may be a pipe, such as a shell's ``<(command)``.

    Raises `UnsuitableFileError` where it has more than `limit` bytes, and OSError where it cannot be read.
    """
    with path.open("rb") as file:
        return _read(file, path, limit)


def open_regular(path: Path, limit: int | None = None) -> BinaryIO:
    """Open a file for reading; raises what `read_regular` raises."""
    check_regular(path, path.stat(), limit)
    # Not waiting: it may have become a pipe since (open(2), O_NONBLOCK; that has no effect on a regular file).
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb")
    try:
        check_regular(path, os.fstat(file.fileno()), limit)
    except OSError:
        file.close()
        raise
    return file


def check_regular(path: Path, status: os.stat_result, limit: int | None = None) -> None:
    """Raise what `read_regular` raises unless `status`, that of `path`, is a regular file's of at most `limit` bytes."""
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if kind != stat.S_IFREG:
        raise UnsuitableFileError(f"it is {_KINDS.get(kind, 'something else')}, where a regular file was expected", path)
    if limit is not None and status.st_size > limit:
        raise _too_large(path, status.st_size, limit)


def _read(file: BinaryIO, path: Path, limit: int) -> bytes:
    """Return the rest of `file`, whose size need not be known: of a pipe, or a file of /proc, it is 0."""
    content = file.read(min(os.fstat(file.fileno()).st_size, limit) + 1)
    while len(content) <= limit and (piece := file.read(_PIECE)):
        content += piece
    if len(content) > limit:
        raise UnsuitableFileError(f"it has more than {limit} bytes, the limit for such a file", path)
    return content


def _too_large(path: Path, size: int, limit: int) -> UnsuitableFileError:
    return UnsuitableFileError(f"it has {size} bytes, and the limit for such a file is {limit}", path)
