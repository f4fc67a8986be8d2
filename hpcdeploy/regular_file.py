"""Read files that other users may have written: only regular files, and up to a limit.

Reading a named pipe would block, opening a device may have an effect, and a huge file would fill the memory.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

LARGEST_TEXT = 10_000_000
"""Maximum size in bytes of files that people write: settings, manifests, definitions, Dockerfiles, templates, ignore files.
"""

LARGEST_LOCK = 100_000_000
"""Maximum size in bytes of files that a program writes for a project, such as a lock file."""

LARGEST_TABLE = 1_000_000_000
"""Maximum size in bytes of the parameters of a sweep."""

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_PIECE = 1 << 16


class UnsuitableFileError(OSError):
    """A file that is not read, because it is not regular or too large; ``strerror`` is the reason."""

    def __init__(self, reason: str, path: Path) -> None:
        super().__init__(None, reason, str(path))

    def __str__(self) -> str:
        return str(self.strerror)


def read_regular(path: Path, limit: int) -> bytes:
    """Return the content of a file; links are followed.

    Raises:
        UnsuitableFileError: It is not a regular file, or has more than `limit` bytes.
        IsADirectoryError: It is a folder.
        OSError: It is missing, or cannot be read.
    """
    with open_regular(path, limit) as file:
        return _read(file, path, limit)


def read_named(path: Path, limit: int) -> bytes:
    """Return the content of a file that the user named, which may be a pipe, such as a shell's ``<(command)``.

    Raises:
        UnsuitableFileError: It has more than `limit` bytes.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return _read(file, path, limit)


def open_regular(path: Path, limit: int | None = None) -> BinaryIO:
    """Open a file for reading.

    Raises:
        UnsuitableFileError: It is not a regular file, or has more than `limit` bytes.
        IsADirectoryError: It is a folder.
        OSError: It is missing, or cannot be read.
    """
    check_regular(path, path.stat(), limit)
    # Without blocking, because it may have become a pipe meanwhile (open(2), O_NONBLOCK, which has no effect on a regular
    # file).
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb")
    try:
        check_regular(path, os.fstat(file.fileno()), limit)
    except OSError:
        file.close()
        raise
    return file


def check_regular(path: Path, status: os.stat_result, limit: int | None = None) -> None:
    """Check the `status` of `path`.

    Raises:
        UnsuitableFileError: It is not a regular file, or has more than `limit` bytes.
        IsADirectoryError: It is a folder.
    """
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if kind != stat.S_IFREG:
        raise UnsuitableFileError(f"it is {_KINDS.get(kind, 'something else')}; expected a regular file", path)
    if limit is not None and status.st_size > limit:
        raise _too_large(path, status.st_size, limit)


def _read(file: BinaryIO, path: Path, limit: int) -> bytes:
    """Return the rest of `file`, whose size may be unknown: it is 0 for a pipe, or a file of /proc."""
    content = file.read(min(os.fstat(file.fileno()).st_size, limit) + 1)
    while len(content) <= limit and (piece := file.read(_PIECE)):
        content += piece
    if len(content) > limit:
        raise UnsuitableFileError(f"it has more than {limit} bytes, the limit for such a file", path)
    return content


def _too_large(path: Path, size: int, limit: int) -> UnsuitableFileError:
    return UnsuitableFileError(f"it has {size} bytes, above the limit of {limit} for such a file", path)
