"""Read files with a maximum size. If the author of a file is not trusted, the file must be a regular file.

Reading a named pipe could block, opening a device may have an effect, and a huge file would fill the memory.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

LARGEST_TEXT = 10_000_000
"""Maximum size in bytes of a file that people write, such as settings, a manifest, a Dockerfile or a template."""

LARGEST_LOCK = 100_000_000
"""Maximum size in bytes of a file that a program writes for a project, such as a lock file."""

LARGEST_TABLE = 1_000_000_000
"""Maximum size in bytes of a file with the parameters of a sweep."""

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_PIECE = 1 << 16


class UnsuitableFileError(OSError):
    """A file cannot be used, because it is not a regular file or is too large. ``strerror`` is the reason."""

    def __init__(self, reason: str, path: Path) -> None:
        super().__init__(None, reason, str(path))

    def __str__(self) -> str:
        return str(self.strerror)


def read_regular(path: Path, limit: int) -> bytes:
    """Return the content of the regular file `path`; links are followed.

    Raises:
        UnsuitableFileError: `path` is not a regular file, or has more than `limit` bytes.
        IsADirectoryError: `path` is a folder.
        OSError: The file does not exist, or cannot be read.
    """
    with open_regular(path, limit) as file:
        return _read(file, path, limit)


def read_chosen(path: Path, limit: int) -> bytes:
    """Return the content of a file that the user chose in the command.

    Unlike `read_regular`, this function accepts a pipe, such as a shell's ``<(command)``.

    Raises:
        UnsuitableFileError: The file has more than `limit` bytes.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return _read(file, path, limit)


def open_regular(path: Path, limit: int | None = None) -> BinaryIO:
    """Open the regular file `path` for reading; links are followed.

    Args:
        path: The path of the file.
        limit: Maximum size of the file in bytes; None for no limit.

    Raises:
        UnsuitableFileError: `path` is not a regular file, or has more than `limit` bytes.
        IsADirectoryError: `path` is a folder.
        OSError: The file does not exist, or cannot be read.
    """
    check_regular(path, path.stat(), limit)
    # After the check, another user may have replaced the file by a pipe. Then opening it without O_NONBLOCK would block. The
    # flag has no effect on a regular file (open(2)).
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb")
    try:
        check_regular(path, os.fstat(file.fileno()), limit)
    except OSError:
        file.close()
        raise
    return file


def check_regular(path: Path, status: os.stat_result, limit: int | None = None) -> None:
    """Check that `path`, whose status is `status`, is a regular file of at most `limit` bytes; None means no limit.

    Raises:
        UnsuitableFileError: `path` is not a regular file, or has more than `limit` bytes.
        IsADirectoryError: `path` is a folder.
    """
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if kind != stat.S_IFREG:
        raise UnsuitableFileError(f"it is {_KINDS.get(kind, 'something else')}; expected a regular file", path)
    if limit is not None and status.st_size > limit:
        raise _too_large(path, status.st_size, limit)


def _read(file: BinaryIO, path: Path, limit: int) -> bytes:
    """Return the content of `file`.

    The size in the file's status may be wrong, because a pipe and the files of /proc have the size 0.
    """
    content = file.read(min(os.fstat(file.fileno()).st_size, limit) + 1)
    while len(content) <= limit and (piece := file.read(_PIECE)):
        content += piece
    if len(content) > limit:
        raise UnsuitableFileError(f"it has more than {limit} bytes, the limit for such a file", path)
    return content


def _too_large(path: Path, size: int, limit: int) -> UnsuitableFileError:
    return UnsuitableFileError(f"it has {size} bytes, above the limit of {limit} for such a file", path)
