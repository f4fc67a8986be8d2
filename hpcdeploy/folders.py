"""Where this machine keeps what is ours: settings, the record of runs, caches (XDG Base Directory Specification 0.8)."""

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def config_folder(environ: Mapping[str, str]) -> Path:
    """Return ``$XDG_CONFIG_HOME/hpcdeploy``: what a person has written."""
    return _base(environ, "XDG_CONFIG_HOME", ".config") / "hpcdeploy"


def state_folder(environ: Mapping[str, str]) -> Path:
    """Return ``$XDG_STATE_HOME/hpcdeploy``: what must outlive this machine's next start."""
    return _base(environ, "XDG_STATE_HOME", ".local/state") / "hpcdeploy"


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return ``$XDG_CACHE_HOME/hpcdeploy``: what can be had again."""
    return _base(environ, "XDG_CACHE_HOME", ".cache") / "hpcdeploy"


def _base(environ: Mapping[str, str], variable: str, default: str) -> Path:
    # The specification has a relative path ignored as invalid.
    value = environ.get(variable, "")
    return Path(value) if value.startswith("/") else home_folder(environ) / default


def home_folder(environ: Mapping[str, str]) -> Path:
    """Return ``$HOME``, or where that is not set the home folder that the user has by the system's own list."""
    return Path(environ["HOME"]) if environ.get("HOME") else Path.home()


def make_private(folder: Path, levels: int = 2) -> None:
    """Make a folder of ours for this user alone, and what is missing above it, whatever the umask says.

    Its last `levels` are ours (by default ``hpcdeploy`` and what is in it). If an older version or another umask let others
    write to one of them, they no longer may. Raises OSError, PermissionError where one of them is somebody else's.
    """
    missing = [level for level in (folder, *folder.parents) if not level.is_dir()]
    for level in reversed(missing):
        level.mkdir(mode=0o700, exist_ok=True)
    for level in (folder, *folder.parents)[:levels]:
        status = level.stat()
        if status.st_uid == os.geteuid() and status.st_mode & _OTHERS_WRITE:
            level.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS_WRITE)
        _check_private(level.stat(), level)


def read_private(folder: Path, name: str, levels: int = 2) -> bytes:
    """Return the content of the file `name` in a folder of ours, if only this user can have written it.

    Raises PermissionError where the file, or one of the folder's last `levels`, belongs to somebody else or may be written
    by others, and OSError where it cannot be read. The folder that was checked is the one that is read from.
    """
    for level in (folder, *folder.parents)[1:levels]:
        _check_private(level.stat(), level)
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
