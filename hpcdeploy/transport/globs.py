"""File names that a pattern of an ``Include`` line stands for, as OpenSSH finds them.

OpenSSH calls glob(3) without flags (readconf.c, ``read_config_file_depth``), and uses its own (openbsd-compat/glob.c)
wherever the system's lacks ``gl_statv``, as those of glibc and macOS do. That one compares bytes, whatever the locale: ``?``
is one byte. A full stop at the beginning of a name stands only for itself, braces mean nothing, and names are in the order
of their bytes.
"""

import fnmatch
import os
from collections.abc import Iterator
from pathlib import Path

WILDCARDS = "*?["
"""What makes a part of a path a pattern."""


def matching(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the entries of `folder` that `pattern` stands for, in no order; none where it is no folder.

    Raises OSError for a folder that cannot be read.
    """
    if not folder.is_dir():
        return
    wanted = os.fsencode(pattern)
    with os.scandir(os.fsencode(folder)) as entries:
        for entry in entries:
            if entry.name.startswith(b".") <= wanted.startswith(b".") and fnmatch.fnmatchcase(entry.name, wanted):
                yield folder / os.fsdecode(entry.name)


def expanded(path: Path) -> list[Path]:
    """Return the paths that the absolute `path` stands for, which may have wildcards in each part, in glob's order.

    A folder that cannot be read holds none. Only patterns are looked up: a path without any is returned as it is.
    """
    found = [Path(path.anchor)]
    for part in path.parts[1:]:
        if any(letter in part for letter in WILDCARDS):
            found = [entry for folder in found for entry in _entries(folder, part)]
        else:
            found = [folder / part for folder in found]
    return sorted(found, key=os.fsencode)


def _entries(folder: Path, pattern: str) -> list[Path]:
    # readdir(3) lists these two as well; os.scandir does not.
    own = [folder / name for name in (".", "..") if pattern.startswith(".") and fnmatch.fnmatchcase(name, pattern)]
    try:
        return [*own, *matching(folder, pattern)]
    except OSError:  # glob goes on, without GLOB_ERR
        return []
