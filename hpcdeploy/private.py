"""Folders and files of this machine that are for their owner alone, whatever the umask.

The record of runs holds commands and scripts, the folder of instances the values of variables, a build's folder its secrets:
nobody else needs to read them, and nobody else may put another file in their place.
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def private_folder(path: Path) -> Path:
    """Make `path` where it is missing, and each missing folder above it, with mode 0700; return `path`.

    Where it is there and open to others (earlier versions followed the umask), that is taken from them. Raises OSError where
    it cannot be made, is no folder, or is neither this process's user's nor root's: an owner can change what lies there.
    """
    missing = []
    for folder in (path, *path.parents):
        if folder.exists():
            break
        missing.append(folder)
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)  # the umask takes bits away and never adds any (mkdir(2))
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    _check_owner(path, status)
    _close(path, status)
    return path


def private_file(path: Path) -> None:
    """Make an empty file `path` with mode 0600, or take from others what they may do with the one that is there.

    Raises OSError as `private_folder` does.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        status = path.stat()
        _check_owner(path, status)
        _close(path, status)


def own_folder(path: Path) -> Path:
    """Make `path` private as `private_folder` does, and the folder above it; return `path`.

    Also refuses root's folder, and to root another user's: raises PermissionError.
    """
    for level in (path.parent, path):
        _check_private(private_folder(level).stat(), level)
    return path


def read_private(folder: Path, name: str) -> bytes:
    """Return the content of the file `name` in a folder of ours, if only this user can have written it.

    Raises PermissionError where the file, the folder or the one above it belongs to somebody else or may be written by
    others, and OSError where it cannot be read. The folder that was checked is the one that is read from.
    """
    _check_private(folder.parent.stat(), folder.parent)
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check_private(os.fstat(opened), folder)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, dir_fd=opened), "rb") as file:
            status = os.fstat(file.fileno())
            _check_private(status, folder / name)
            if not stat.S_ISREG(status.st_mode):
                raise PermissionError(errno.EPERM, "is no regular file", str(folder / name))
            return file.read()
    finally:
        os.close(opened)


def _check_private(status: os.stat_result, path: Path) -> None:
    if status.st_uid != os.geteuid() or status.st_mode & _OTHERS_WRITE:
        raise PermissionError(errno.EPERM, "belongs to somebody else, or may be written by others", str(path))


def _check_owner(path: Path, status: os.stat_result) -> None:
    user = os.geteuid()
    if status.st_uid not in {user, 0} and user != 0:
        raise PermissionError(
            errno.EPERM,
            f"belongs to user {status.st_uid}, and not to you (user {user}) or root; use a path of your own",
            str(path),
        )


def _close(path: Path, status: os.stat_result) -> None:
    """Take all rights from group and others, except on a read-only file system and from what an administrator made."""
    if status.st_mode & 0o077 and status.st_uid == os.geteuid():
        try:
            path.chmod(stat.S_IMODE(status.st_mode) & 0o700)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise


def safe_for_temporary(path: Path) -> bool:
    """Tell whether nobody else can rename or exchange what this process makes in the folder `path`.

    Its owner can, and who may write to it, unless it has the sticky bit (rename(2), EPERM). What is no folder is not safe.
    """
    with suppress(OSError):
        status = path.stat()
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid in {os.geteuid(), 0}
        return ours and (not status.st_mode & _OTHERS_WRITE or bool(status.st_mode & stat.S_ISVTX))
    return False
