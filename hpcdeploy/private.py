"""Folders and files of this machine that are for their owner alone, whatever the umask.

The record of runs holds commands and scripts, the folder of instances the values of variables, a build's folder its secrets:
nobody else needs to read them, and nobody else may put another file in their place.
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path


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
        return ours and (not status.st_mode & 0o022 or bool(status.st_mode & stat.S_ISVTX))
    return False
