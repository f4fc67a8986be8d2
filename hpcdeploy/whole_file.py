"""Files of this machine that appear whole or not at all, and the sha256 of a whole one."""

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
"""What write(2) says of a full disk; it names no file."""


def part_name(path: str) -> str:
    """Return a name beside `path` that nobody else uses, for what is not whole yet."""
    return f"{path}.part-{secrets.token_hex(6)}"


@contextmanager
def whole_file(path: Path, *, executable: bool = False, private: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the name `path` at the end, or vanishes where anything is raised.

    One that is `private` is for its owner alone, whatever the umask. It is on the disk before it has its name. Raises
    OSError as `open` does, with the name that the file would have had.
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
        with suppress(OSError):  # nor can it be removed where it could not be made
            part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_whole(path: Path, text: str, *, private: bool = False) -> None:
    """Write `text` to `path` as UTF-8, in folders that are made where they are missing; raises OSError.

    A `private` file is for its owner alone, and so is its folder. Whoever reads `path` meanwhile gets what was there before.
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
