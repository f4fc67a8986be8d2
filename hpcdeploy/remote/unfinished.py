"""Open the folder and the files of an unfinished download, without following links.

A project, or an unpacked archive, may contain a folder that looks like a download folder, but has links to other files of
the user. So files are opened without following links (open(2), O_NOFOLLOW). They must be regular files. A file to which data
is appended must not have a second hard link.
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
"""Error numbers of `_opened` if the path is not a regular file.

ELOOP: a link. EISDIR: a folder. ENXIO: a pipe without a reader, or a socket on Linux. EOPNOTSUPP: a socket on macOS.
"""


def parts_folder(folder: Path) -> Path:
    """Create `folder` unless it exists, and return it; a link or a file at this path is replaced.

    Raises:
        OSError: The folder cannot be created.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        folder.unlink()
    folder.mkdir(exist_ok=True)
    return folder


def fresh(path: Path) -> BinaryIO:
    """Open a new file `path` for writing and reading; a file, link or folder at this path is removed first.

    Raises:
        OSError: The file cannot be created.
    """
    _remove(path)
    return os.fdopen(os.open(path, os.O_RDWR | os.O_EXCL | _FLAGS, 0o666), "w+b")


def resumed(path: Path) -> BinaryIO:
    """Open `path` for appending, and create it if it is missing.

    Anything at this path that is not a regular file, and a file with a second hard link, is removed and replaced.

    Raises:
        OSError: The file cannot be opened.
    """
    try:
        return os.fdopen(_opened(path, os.O_WRONLY | os.O_APPEND, most_names=1), "ab")
    except OSError as error:
        if error.errno not in _OTHER_KINDS:
            raise
    _remove(path)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_EXCL | _FLAGS, 0o666), "ab")


def open_mark(path: Path) -> TextIO:
    """Open the mark of a download folder for reading and appending; create it if it is missing.

    The mark is a file in the download folder. It contains the id of the run whose files are in the folder. It is empty until
    the first `fetch` into the folder writes the id.

    Raises:
        OSError: The mark cannot be opened, is a link (ELOOP), or is not a regular file.
    """
    return os.fdopen(_opened(path, os.O_RDWR | os.O_APPEND), "a+", encoding="utf-8")


def read_mark(path: Path) -> str | None:
    """Return the text of the mark `path` (`open_mark`); None if there is no mark, or if it is not valid.

    - A valid mark is a regular file.
    - An empty mark is valid only without a second hard link, because it will be written to.
    - A mark with a run's id is only read. So it may have a second hard link, for example in a backup.

    Raises:
        OSError: The mark cannot be read.
    """
    try:
        status = path.lstat()
        text = path.read_text(encoding="utf-8", errors="replace").strip() if stat.S_ISREG(status.st_mode) else None
    except FileNotFoundError:
        return None
    return text or (text if status.st_nlink == 1 else None)


def _opened(path: Path, flags: int, most_names: int = sys.maxsize) -> int:
    """Open `path`, and create it if it is missing; return its descriptor.

    Raises:
        OSError: The file cannot be opened. If it is not a regular file, the error number is one of `_OTHER_KINDS`. If it has
            more than `most_names` names (hard links), the error number is ELOOP.
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
