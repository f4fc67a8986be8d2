"""Check the owner and permissions of settings and templates: files that another user can have written are rejected.

The rule is that of git's ``safe.directory`` (git-config(1)), extended to permissions. A file or folder is accepted if it
belongs to the caller or to root, and no other user may write it. The caller can accept a folder with another owner by name:
in the variable `VARIABLE`, or as ``safe-directories`` in their own settings.
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
"""Folders that are accepted with any owner, separated by ``:``. Each is a path, a path with ``/*`` for all folders below
it, or ``*``."""

KEY = "safe-directories"
"""The key for the same folders in the caller's own settings."""

_MOST_LINKS = 40
"""Maximum number of links that Linux follows in one path (path_resolution(7))."""

_ACL = "system.posix_acl_access"
"""The attribute with the access control list on Linux. If there is one, the group bits of the mode are its mask (acl(5)).
"""


def trusted_users(environ: Mapping[str, str]) -> frozenset[int]:
    """Return the user ids whose files are accepted: the caller's, root's, and under sudo that of sudo's caller.

    git uses the same variable for the same reason (git-config(1), safe.directory, SUDO_UID).
    """
    caller = os.geteuid()
    behind = environ.get("SUDO_UID", "")
    return frozenset({caller, 0, *([int(behind)] if caller == 0 and behind.isascii() and behind.isdigit() else [])})


def objection(path: Path, users: frozenset[int]) -> str:
    """Return why another user could have written `path`, or the target of its link, as the end of a sentence; empty if
    none could.

    A folder with the sticky bit, such as ``/tmp``, is accepted if its owner is: other users can only replace their own
    files there.

    Raises:
        OSError: Its status cannot be read.
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

    The links and folders that decide where a path leads are checked too (`on_the_way`), except those above `folder`.

    Args:
        paths: The files or folders.
        folder: The project's folder. If the caller accepted it by name, all paths are accepted.
        environ: The environment variables.

    Raises:
        ConfigError: One of them may be another user's; the message has the owner or mode, and what to do.
        OSError: The status of a path cannot be read.
    """
    users = trusted_users(environ)
    for path in paths:
        for place in (path, *on_the_way(path, folder)):
            reason = objection(place, users)
            if reason and not _is_accepted(folder, environ, users):
                raise ConfigError(_refusal(place, reason, folder, environ))


def safe_folders(environ: Mapping[str, str], users: frozenset[int]) -> tuple[str, ...]:
    """Return the folders that the caller accepts by name, as written, from the variable and from the caller's own
    settings.

    Malformed settings are reported where they are read; here they accept nothing.
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
    """Yield the links and folders, besides `path` itself, that decide where `path` leads, each without links in its own
    path.

    These are: each link, also within the path or within a link's target, and the folder that contains the link; each folder
    passed below `folder`; and, after a link, the folder of the final target. `folder` itself was chosen by the caller, so
    the folders above it are not included. Of the links in the path to `folder`, only those are included that another link
    leads through.
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
    # Settings that another user could have written accept nothing.
    also = f', or add {KEY} = ["{folder}"] to {own}' if folder != own.parent else ""
    return (
        f"{path} {reason}; expected settings and templates that only you or root can change, because they decide what runs."
        f" To use it, {fix}if you trust {'all who may write it' if written else 'its owner'}, set {VARIABLE}={folder}{also}"
    )


def _is_private(path: Path, group: int, users: frozenset[int]) -> bool:
    """Tell whether `group` is the private group of one of `users`: it has the user's name and no other member.

    Many systems create such a group for each user, and let a file's group write it by default (umask 002). With an access
    control list the group bits may belong to any user in that list.
    """
    if _has_acl(path):
        return False
    try:
        entry = grp.getgrgid(group)
    except KeyError:  # a container's user: neither the user nor the group has a name
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
