"""Check the owner and the permissions of settings and templates. A file that another user can have written is rejected.

A file or folder is accepted if it belongs to the caller or to root, and no other user may write it. The caller can accept a
folder with another owner by its path: in the environment variable `VARIABLE`, or in ``safe-directories`` of the caller's own
settings. git has the same rule for owners (git-config(1), safe.directory), but not for permissions.
"""

import grp
import os
import pwd
import stat
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

from hpcdeploy.errors import ConfigError
from hpcdeploy.folders import config_folder, home_folder

VARIABLE = "HPCDEPLOY_SAFE_DIRECTORY"
"""The environment variable with folders that are accepted with any owner and permissions, separated by ``:``.

An item is the path of a folder, a path with ``/*`` for the folder and all folders below it, or ``*`` for all folders.
"""

KEY = "safe-directories"
"""The key in the caller's own settings with a list of items as in `VARIABLE`."""

_MOST_LINKS = 40
"""Maximum number of links that Linux follows in one path (path_resolution(7))."""

_ACL = "system.posix_acl_access"
"""The extended attribute that contains a file's access control list on Linux.

If a file has one, the group bits of its mode are not the group's permissions, but the mask of the list (acl(5)).
"""


def trusted_users(environ: Mapping[str, str]) -> frozenset[int]:
    """Return the ids of the users whose files are accepted: the caller, root, and under sudo the user who called sudo.

    The last id is that in ``SUDO_UID``, which git also accepts (git-config(1), safe.directory).
    """
    caller = os.geteuid()
    behind = environ.get("SUDO_UID", "")
    return frozenset({caller, 0, *([int(behind)] if caller == 0 and behind.isascii() and behind.isdigit() else [])})


def objection(path: Path, users: frozenset[int]) -> str:
    """Return why another user than `users` could have written `path`, as the end of a sentence; empty if no one could.

    If `path` is a link, its target is checked too. A folder with the sticky bit, such as ``/tmp``, is accepted if its owner
    is one of `users`, because other users cannot replace files in this folder that are not their own.

    Raises:
        OSError: The status of `path` cannot be read.
    """
    for status in (path.lstat(), path.stat()):
        if status.st_uid not in users:
            whose = "neither to you nor to root" if os.geteuid() else "not to root"
            return f"belongs to {_user(status.st_uid)}, {whose}"
    status = path.stat()
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return ""
    if status.st_mode & stat.S_IWOTH:
        return f"may be written by everybody (mode {stat.S_IMODE(status.st_mode):04o})"
    if status.st_mode & stat.S_IWGRP and not _is_private(path, status.st_gid, users):
        return f"may be written by {_group(status.st_gid)} (mode {stat.S_IMODE(status.st_mode):04o})"
    return ""


def check_owned(paths: Iterable[Path], folder: Path, environ: Mapping[str, str]) -> None:
    """Check that no other user can have written or replaced any of `paths`.

    The links and folders that are followed from `folder` to a path are checked too (`on_the_way`).

    Args:
        paths: The files or folders.
        folder: The project's folder. If the caller accepted this folder (`VARIABLE`, `KEY`), all paths are accepted.
        environ: The environment variables.

    Raises:
        ConfigError: Another user can have written or replaced a path. The message has the owner or the mode, and advice.
        OSError: The status of a path cannot be read.
    """
    users = trusted_users(environ)
    for path in paths:
        for place in (path, *on_the_way(path, folder)):
            reason = objection(place, users)
            if reason and not _is_accepted(folder, environ, users):
                raise ConfigError(_refusal(place, reason, folder, environ))


def safe_folders(environ: Mapping[str, str], users: frozenset[int]) -> tuple[str, ...]:
    """Return the items of the environment variable `VARIABLE` and of `KEY` in the caller's own settings, unchanged.

    Settings that are malformed, cannot be read, or could have been written by another user are ignored here. They are
    reported by the function that reads all settings.
    """
    named = [part for part in environ.get(VARIABLE, "").split(os.pathsep) if part]
    own = config_folder(environ) / "config.toml"
    try:
        steps = ((path, *on_the_way(path, own.parent)) for path in (own.parent, own))
        if not any(objection(path, users) for path in chain.from_iterable(steps)):
            from hpcdeploy.toml import load_toml

            more = load_toml(own.read_text(encoding="utf-8")).get(KEY, [])
            named += [part for part in more if isinstance(part, str)] if isinstance(more, list) else []
    except (OSError, ValueError):
        pass
    return tuple(named)


def on_the_way(path: Path, folder: Path) -> Iterator[Path]:
    """Yield the links and folders that determine the target of `path`, but not `path` itself.

    A user who can write one of them can replace the target. They are:

    - each link that is followed, and the folder that contains the link
    - each folder below `folder` through which the path leads
    - the folder that contains the final target, if a link was followed

    The caller chose `folder`, so the folders above `folder` are not included. Links in the path of `folder` are only
    included if another link leads through them. The yielded paths contain no links, except for their last component.
    """
    top = Path(os.path.realpath(folder))
    if path == folder:
        place, waiting = Path(os.path.realpath(folder.parent)), [folder.name]
    elif path.is_relative_to(folder):
        place, waiting = top, list(path.relative_to(folder).parts)
    else:
        place, waiting = Path(path.anchor), list(path.parts[1:])
    met = 0
    while waiting:
        step = waiting.pop(0)
        if place != top and place.is_relative_to(top):
            yield place
        found = place.parent if step == ".." else place / step
        if not found.is_symlink():
            place = found
            continue
        met += 1
        if met > _MOST_LINKS:
            return
        if met > 1 or path != folder:
            yield from (place, found)
        target = found.readlink()
        place = Path(target.anchor) if target.is_absolute() else place
        waiting[:0] = target.parts[1:] if target.is_absolute() else target.parts
    if met and path != folder:
        yield place.parent


def _is_accepted(folder: Path, environ: Mapping[str, str], users: frozenset[int]) -> bool:
    real = folder.resolve()
    for named in safe_folders(environ, users):
        if named == "*":
            return True
        below = named.endswith("/*")
        text = named.removesuffix("/*") or "/"
        path = home_folder(environ) / text[2:] if text.startswith("~/") else Path(text)
        if path.is_absolute() and (path.resolve() == real or (below and real.is_relative_to(path.resolve()))):
            return True
    return False


def _refusal(path: Path, reason: str, folder: Path, environ: Mapping[str, str]) -> str:
    own = config_folder(environ) / "config.toml"
    written = "written" in reason
    who = "o" if "everybody" in reason else "g"
    fix = f"run 'chmod {who}-w {path}'; or, " if written else ""
    # If the caller's own settings are the problem, they cannot accept their own folder (`safe_folders`).
    also = f', or add {KEY} = ["{folder}"] to {own}' if folder != own.parent else ""
    return (
        f"{path} {reason}; expected settings and templates that only you or root can change, because they decide what runs."
        f" To use {path}, {fix}if you trust {'all users who may write it' if written else 'its owner'}, set "
        f"{VARIABLE}={folder}{also}"
    )


def _is_private(path: Path, group: int, users: frozenset[int]) -> bool:
    """Tell whether `group` is the private group of one of `users`: a group with the user's name and no other member.

    Many systems create a private group for each user, and make new files writable for their group (umask 002). So a file
    that its private group may write is accepted. The result is false if `path` has an access control list, because another
    user in this list may be able to write the file.
    """
    if _has_acl(path):
        return False
    try:
        entry = grp.getgrgid(group)
    except KeyError:  # in a container, users and groups often have no name; then a group with the user's id is accepted
        return group in users
    return any(entry.gr_name == name and not set(entry.gr_mem) - {name} for name in map(_name, users) if name)


def _has_acl(path: Path) -> bool:
    if not hasattr(os, "getxattr"):
        return False
    try:
        return bool(os.getxattr(path, _ACL))
    except OSError:
        return False


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return ""


def _user(user: int) -> str:
    name = _name(user)
    return f"{name} (user id {user})" if name else f"the user id {user}"


def _group(group: int) -> str:
    try:
        return f"the group {grp.getgrgid(group).gr_name} (group id {group})"
    except KeyError:
        return f"the group id {group}"
