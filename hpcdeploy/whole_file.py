"""Write files of this machine atomically, and compute their sha256."""

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hpcdeploy.private import private_folder

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of write(2) for a full disk; they name no file."""


def part_name(path: str) -> str:
    """Return an unused name beside `path`, for an incomplete file."""
    return f"{path}.part-{secrets.token_hex(6)}"


@contextmanager
def whole_file(path: Path, *, executable: bool = False, private: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing that is renamed to `path` at the end, or removed after an exception.

    A `private` file is only accessible to its owner, for any umask. It is synchronised to disk before it is renamed.

    Raises:
        OSError: It cannot be written; its file name is `path`.
    """
    part = Path(part_name(str(path)))
    mode = (0o777 if executable else 0o666) & (0o700 if private else 0o777)
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        if isinstance(error, OSError) and (error.filename == str(part) or error.errno in _NO_ROOM):
            error.filename = str(path)
        with suppress(OSError):  # if it could not be created, it cannot be removed either
            part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_whole(path: Path, text: str, *, private: bool = False) -> None:
    """Write `text` to `path` as UTF-8, atomically; missing folders are created.

    A `private` file and its folder are only accessible to their owner.

    Raises:
        OSError: It cannot be written.
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
