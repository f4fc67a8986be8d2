"""Find the files that match a pattern of an ``Include`` line, as OpenSSH does.

OpenSSH calls glob(3) without flags (readconf.c, ``read_config_file_depth``). On systems whose glob(3) has no ``gl_statv``,
such as glibc and macOS, OpenSSH uses its own implementation (openbsd-compat/glob.c). Its rules are:

- Bytes are compared in any locale, so ``?`` matches one byte.
- Wildcards do not match a full stop at the start of a name.
- Braces have no special meaning.
- The result is sorted by bytes.
"""

import fnmatch
import os
from collections.abc import Iterator
from pathlib import Path

WILDCARDS = "*?["
"""A component of a path is a pattern if it contains one of these characters."""


def matching(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the entries of `folder` that match `pattern`, unsorted; none if `folder` is not a folder.

    Raises:
        OSError: The folder cannot be read.
    """
    if not folder.is_dir():
        return
    wanted = os.fsencode(pattern)
    with os.scandir(os.fsencode(folder)) as entries:
        for entry in entries:
            if entry.name.startswith(b".") <= wanted.startswith(b".") and fnmatch.fnmatchcase(entry.name, wanted):
                yield folder / os.fsdecode(entry.name)


def expanded(path: Path) -> list[Path]:
    """Return the paths that match the absolute `path`, sorted by bytes. Each component of `path` may have wildcards.

    An unreadable folder has no matches. A path without wildcards is returned unchanged, even if it does not exist.
    """
    found = [Path(path.anchor)]
    for part in path.parts[1:]:
        if any(letter in part for letter in WILDCARDS):
            found = [entry for folder in found for entry in _entries(folder, part)]
        else:
            found = [folder / part for folder in found]
    return sorted(found, key=os.fsencode)


def _entries(folder: Path, pattern: str) -> list[Path]:
    # "." and ".." are added, because readdir(3), which glob uses, lists them, but os.scandir does not.
    dots = [folder / name for name in (".", "..") if pattern.startswith(".") and fnmatch.fnmatchcase(name, pattern)]
    try:
        return [*dots, *matching(folder, pattern)]
    except OSError:  # without GLOB_ERR, glob continues
        return []
