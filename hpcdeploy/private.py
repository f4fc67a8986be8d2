"""Create folders and files that only their owner can access, with any umask.

The record of runs contains commands and scripts, the folder of instances has values of variables, and a build's folder has
its secrets. No other user may read them or replace them.
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def private_folder(path: Path) -> Path:
    """Create `path` and its missing parents with mode 0700; return `path`.

    If it exists and other users can access it (earlier versions followed the umask), their permissions are removed.

    Raises:
        OSError: It cannot be created, is not a folder, or belongs neither to this user nor to root: an owner can change its
            content.
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
    """Create an empty file `path` with mode 0600, or remove other users' permissions from an existing one.

    Raises:
        OSError: It cannot be created, or belongs neither to this user nor to root.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        status = path.stat()
        _check_owner(path, status)
        _close(path, status)


def own_folder(path: Path) -> Path:
    """Make `path` and the folder above it private (`private_folder`); return `path`.

    Raises:
        PermissionError: One belongs to root, or for root to another user.
        OSError: One cannot be created, or is not a folder.
    """
    for level in (path.parent, path):
        _check_private(private_folder(level).stat(), level)
    return path


def read_private(folder: Path, name: str) -> bytes:
    """Return the content of the file `name` in the private `folder`, if no other user can have written it.

    The folder that was checked is the one that is read from.

    Raises:
        PermissionError: The file, the folder, or the folder above it belongs to another user or may be written by others.
        OSError: It cannot be read.
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
                raise PermissionError(errno.EPERM, "is not a regular file", str(folder / name))
            return file.read()
    finally:
        os.close(opened)


def _check_private(status: os.stat_result, path: Path) -> None:
    if status.st_uid != os.geteuid() or status.st_mode & _OTHERS_WRITE:
        raise PermissionError(errno.EPERM, "belongs to another user, or may be written by others", str(path))


def _check_owner(path: Path, status: os.stat_result) -> None:
    user = os.geteuid()
    if status.st_uid not in {user, 0} and user != 0:
        raise PermissionError(
            errno.EPERM,
            f"belongs to user {status.st_uid}, not to you (user {user}) or root; use a path of your own",
            str(path),
        )


def _close(path: Path, status: os.stat_result) -> None:
    """Remove all permissions of group and others, except on a read-only file system and from an administrator's folder."""
    if status.st_mode & 0o077 and status.st_uid == os.geteuid():
        try:
            path.chmod(stat.S_IMODE(status.st_mode) & 0o700)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise


def safe_for_temporary(path: Path) -> bool:
    """Tell whether no other user can rename or replace files that this process creates in the folder `path`.

    The folder's owner can, and so can any user who may write to it, unless it has the sticky bit (rename(2), EPERM). False
    if it is not a folder.
    """
    with suppress(OSError):
        status = path.stat()
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid in {os.geteuid(), 0}
        return ours and (not status.st_mode & _OTHERS_WRITE or bool(status.st_mode & stat.S_ISVTX))
    return False
