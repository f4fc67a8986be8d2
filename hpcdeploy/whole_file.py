"""Write files of this machine atomically, and compute their sha256."""

import errno
import fcntl
import glob
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hpcdeploy.private import private_folder

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of write(2) for a full disk or an exceeded limit. Python's exception for such an error has no file name."""


def part_name(path: str) -> str:
    """Return a new name for an incomplete file, in the folder of `path`."""
    return f"{path}.part-{secrets.token_hex(6)}"


@contextmanager
def whole_file(path: Path, *, executable: bool = False, private: bool = False) -> Iterator[BinaryIO]:
    """Open a temporary file for writing. It is renamed to `path` when the block ends, or removed after an exception.

    The file is written to disk (fsync) before it is renamed. If `private` is set, only its owner can access the file,
    whatever the umask is.

    Raises:
        OSError: The file cannot be written. The ``filename`` of the error is `path`.
    """
    part = Path(part_name(str(path)))
    mode = (0o777 if executable else 0o666) & (0o700 if private else 0o777)
    try:
        while (descriptor := _create_locked(part, mode)) is None:
            part = Path(part_name(str(path)))
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        if isinstance(error, OSError) and (error.filename == str(part) or error.errno in _NO_ROOM):
            error.filename = str(path)
        with suppress(OSError):  # a file that could not be created cannot be removed either
            part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _create_locked(part: Path, mode: int) -> int | None:
    """Create a file, lock it, and return its descriptor; None if `remove_parts` removed it before it was locked."""
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_ours = os.fstat(descriptor).st_nlink > 0
    except OSError as error:  # without locks on this file system, `remove_parts` removes nothing
        is_ours = error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN)
    if is_ours:
        return descriptor
    os.close(descriptor)
    return None


def remove_parts(path: Path) -> None:
    """Remove the incomplete files that killed processes left while they wrote `path`; keep those of living processes."""
    for part in path.parent.glob(f"{glob.escape(path.name)}.part-*"):
        with suppress(OSError), part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()


def write_whole(path: Path, text: str, *, private: bool = False) -> None:
    """Write `text` to the file `path` as UTF-8, atomically; missing folders are created.

    If `private` is set, only their owner can access the file and its folder.

    Raises:
        OSError: The file cannot be written.
    """
    if private:
        private_folder(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, private=private) as file:
        file.write(text.encode())


def sha256_of(path: Path) -> str:
    """Return a file's sha256 in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
