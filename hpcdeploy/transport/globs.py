"""Find the files that match a pattern of an ``Include`` line, as OpenSSH does.

OpenSSH calls glob(3) without flags (readconf.c, ``read_config_file_depth``). It uses its own implementation
(openbsd-compat/glob.c) if the system's one has no ``gl_statv``, as in glibc and macOS. That one compares bytes in any
locale: ``?`` is one byte. Wildcards do not match a full stop at the start of a name, braces have no meaning, and names are
sorted by bytes.
"""

import fnmatch
import os
from collections.abc import Iterator
from pathlib import Path

WILDCARDS = "*?["
"""The characters that make a part of a path a pattern."""


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
    """Return the paths that match the absolute `path`, in glob's order; each part may have wildcards.

    An unreadable folder has no matches. A path without wildcards is returned unchanged, whether it exists or not.
    """
    found = [Path(path.anchor)]
    for part in path.parts[1:]:
        if any(letter in part for letter in WILDCARDS):
            found = [entry for folder in found for entry in _entries(folder, part)]
        else:
            found = [folder / part for folder in found]
    return sorted(found, key=os.fsencode)


def _entries(folder: Path, pattern: str) -> list[Path]:
    # readdir(3) also lists these two; os.scandir does not.
    own = [folder / name for name in (".", "..") if pattern.startswith(".") and fnmatch.fnmatchcase(name, pattern)]
    try:
        return [*own, *matching(folder, pattern)]
    except OSError:  # without GLOB_ERR, glob continues
        return []
