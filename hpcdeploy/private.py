"""Create and read folders and files that only their owner can access, whatever the umask is.

Other users must not read or replace the following: the record of runs, which contains commands and scripts; the folder of
instances, which contains values of environment variables; and the folder of a build, which contains secrets.
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def private_folder(path: Path) -> Path:
    """Create the folder `path` and its missing parents with mode 0700; return `path`.

    If the folder exists and other users can access it, their permissions are removed. (Earlier versions of hpcdeploy used
    the mode of the umask.)

    Raises:
        OSError: The folder cannot be created, is not a folder, or belongs neither to this user nor to root. Another owner
            could change its content. For root, any owner is accepted.
    """
    missing = []
    for folder in (path, *path.parents):
        if folder.exists():
            break
        missing.append(folder)
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)  # the umask can only remove permissions from this mode (mkdir(2))
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    _check_owner(path, status)
    _close(path, status)
    return path


def private_file(path: Path) -> None:
    """Create an empty file `path` with mode 0600. If the file exists, remove the permissions of other users.

    Raises:
        OSError: The file cannot be created, or belongs neither to this user nor to root. For root, any owner is accepted.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        status = path.stat()
        _check_owner(path, status)
        _close(path, status)


def own_folder(path: Path) -> Path:
    """Create `path` and the folder above it as private folders of this user (`private_folder`); return `path`.

    Raises:
        PermissionError: One of the folders belongs to another user, even to root.
        OSError: One of the folders cannot be created, or is not a folder.
    """
    for level in (path.parent, path):
        _check_private(private_folder(level).stat(), level)
    return path


def read_private(folder: Path, name: str) -> bytes:
    """Return the content of the file `name` in the private `folder`, if no other user can have written it.

    The folder is opened before it is checked. So the file is read from exactly the folder that was checked, even if `folder`
    is replaced meanwhile.

    Raises:
        PermissionError: The file, the folder, or the folder above it belongs to another user or may be written by others, or
            `name` is not a regular file.
        OSError: The file cannot be read.
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
    """Remove all permissions of other users from `path`, if it belongs to this user.

    Nothing is changed if `path` belongs to root or is on a read-only file system.
    """
    if status.st_mode & 0o077 and status.st_uid == os.geteuid():
        try:
            path.chmod(stat.S_IMODE(status.st_mode) & 0o700)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise


def safe_for_temporary(path: Path) -> bool:
    """Tell whether no other user can rename or replace the files that this process creates in the folder `path`.

    The owner of a folder can replace its files, and so can a user who may write to the folder, unless it has the sticky bit
    (rename(2), EPERM). So the owner must be this user or root. The result is false if `path` is not a folder.
    """
    with suppress(OSError):
        status = path.stat()
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid in {os.geteuid(), 0}
        return ours and (not status.st_mode & _OTHERS_WRITE or bool(status.st_mode & stat.S_ISVTX))
    return False
