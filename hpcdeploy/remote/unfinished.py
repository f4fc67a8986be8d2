"""Open the folder and the files of an unfinished download, without following links.

A project, or an unpacked archive, may contain a folder that looks like that of a download, with links to the user's other
files. So files are opened without following links (open(2), O_NOFOLLOW), and must be regular files without a second hard
link.
"""

import errno
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import BinaryIO, TextIO

_FLAGS = os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_OTHER_KINDS = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EOPNOTSUPP)
"""Errors of open(2) for a link, a folder, a pipe without a reader, and a socket (ENXIO on Linux, EOPNOTSUPP on macOS)."""


def own_parts(folder: Path) -> Path:
    """Create the folder `folder` if there is none, replacing a link or a file; return it.

    Raises:
        OSError: It cannot be created.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        folder.unlink()
    folder.mkdir(exist_ok=True)
    return folder


def fresh(path: Path) -> BinaryIO:
    """Open a new file `path` for writing and reading; replace anything that exists there.

    Raises:
        OSError: It cannot be created.
    """
    _remove(path)
    return os.fdopen(os.open(path, os.O_RDWR | os.O_EXCL | _FLAGS, 0o666), "w+b")


def resumed(path: Path) -> BinaryIO:
    """Open `path` for appending; replace anything there that is not a regular file with one name.

    Raises:
        OSError: It cannot be opened.
    """
    try:
        return os.fdopen(_opened(path, os.O_WRONLY | os.O_APPEND, most_names=1), "ab")
    except OSError as error:
        if error.errno not in _OTHER_KINDS:
            raise
    _remove(path)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_EXCL | _FLAGS, 0o666), "ab")


def mark(path: Path) -> TextIO:
    """Open the mark of a download folder for reading and appending; create it if it is missing.

    Raises:
        OSError: It is a link (ELOOP), or not a regular file.
    """
    return os.fdopen(_opened(path, os.O_RDWR | os.O_APPEND), "a+", encoding="utf-8")


def read_mark(path: Path) -> str | None:
    """Return the text of a mark; None if there is no valid one.

    An empty mark will be written, so it must not have another hard link. A mark with a run's id is only read, and may have
    one, for example in a backup made of hard links.

    Raises:
        OSError: It cannot be read.
    """
    try:
        status = path.lstat()
        text = path.read_text(encoding="utf-8", errors="replace").strip() if stat.S_ISREG(status.st_mode) else None
    except FileNotFoundError:
        return None
    return text or (text if status.st_nlink == 1 else None)


def _opened(path: Path, flags: int, most_names: int = sys.maxsize) -> int:
    """Return a descriptor of `path`.

    Raises:
        OSError: It is not a regular file, or has more than `most_names` names (ELOOP, EISDIR or ENXIO).
    """
    opened = os.open(path, flags | _FLAGS, 0o666)
    status = os.fstat(opened)
    if stat.S_ISREG(status.st_mode) and status.st_nlink <= most_names:
        return opened
    os.close(opened)
    raise OSError(errno.ELOOP, "is not a regular file, or has a second name (a hard link)", str(path))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
