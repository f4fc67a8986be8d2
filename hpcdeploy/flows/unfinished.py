"""The folder and files of a fetch that is not finished: never one that a link leads to.

A project, or an archive that somebody unpacked, may bring along a folder that looks like a fetch's, with links in it to the
caller's other files. So what is written here is opened without following a link (open(2), O_NOFOLLOW), and is a regular
file that has no second name (a hard link).
"""

import errno
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import BinaryIO, TextIO

_FLAGS = os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def own_parts(folder: Path) -> Path:
    """Make the folder `folder` where it is none, in place of a link or a file; return it. Raises OSError."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        folder.unlink()
    folder.mkdir(exist_ok=True)
    return folder


def fresh(path: Path) -> BinaryIO:
    """Open a new file `path` for writing and reading, in place of whatever is there. Raises OSError."""
    _remove(path)
    return os.fdopen(os.open(path, os.O_RDWR | os.O_EXCL | _FLAGS, 0o666), "w+b")


def resumed(path: Path) -> BinaryIO:
    """Open `path` to write on at its end; what is there and is no plain file is replaced by a new one. Raises OSError."""
    try:
        return os.fdopen(_opened(path, os.O_WRONLY | os.O_APPEND, most_names=1), "ab")
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
    _remove(path)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_EXCL | _FLAGS, 0o666), "ab")


def mark(path: Path) -> TextIO:
    """Open the mark of a fetched folder to read and to write at its end; it is made where it is missing.

    Raises OSError where it is a link (ELOOP) or no regular file.
    """
    return os.fdopen(_opened(path, os.O_RDWR | os.O_APPEND), "a+", encoding="utf-8")


def read_mark(path: Path) -> str | None:
    """Return what a mark says; None where there is none that counts. Raises OSError.

    One that says nothing is to be written, so it has no second name; one that names a run is only read, and may have one,
    as in a backup made of hard links.
    """
    try:
        status = path.lstat()
        said = path.read_text(encoding="utf-8", errors="replace").strip() if stat.S_ISREG(status.st_mode) else None
    except FileNotFoundError:
        return None
    return said or (said if status.st_nlink == 1 else None)


def _opened(path: Path, flags: int, most_names: int = sys.maxsize) -> int:
    """Return a descriptor of `path`; raises OSError (ELOOP, EISDIR, ENXIO) for no regular file, or one with more names."""
    opened = os.open(path, flags | _FLAGS, 0o666)
    status = os.fstat(opened)
    if stat.S_ISREG(status.st_mode) and status.st_nlink <= most_names:
        return opened
    os.close(opened)
    raise OSError(errno.ELOOP, "is no regular file, or has a second name (a hard link)", str(path))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
