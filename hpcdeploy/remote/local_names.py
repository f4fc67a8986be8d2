"""Find names of a run's files that this machine's file system does not take, or takes for the name of another file.

Linux takes almost every name. APFS, the file system of macOS, takes UTF-8 only (EILSEQ otherwise) and usually ignores case
and the Unicode normal form, so one of two such files would replace the other; FAT and NTFS ignore case too. A path has at
most 1024 bytes on macOS, 4096 on Linux (limits.h, PATH_MAX).
"""

import errno
import os
import secrets
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache, cached_property
from pathlib import Path
from typing import Protocol

from hpcdeploy.remote.unfinished import own_parts

_NOT_TAKEN = (errno.EILSEQ, errno.ENAMETOOLONG, errno.EINVAL)
"""Errors of open(2) for a name: the encoding, the length, a character that is not allowed (FAT)."""


class Names(Protocol):
    """What a file system says of names."""

    def refusal(self, place: str, /) -> str:
        """Return why the path `place` cannot be used; empty if it can."""

    def are_same(self, one: str, other: str, /) -> bool:
        """Tell whether two names in a folder lead to the same file."""


class FolderNames:
    """Try names in `folder`, which is created when it is needed; it lies beside the folders of the files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.are_same: Callable[[str, str], bool] = cache(self._try_both)
        self._is_odd: Callable[[str], str] = cache(self._try)

    def refusal(self, place: str) -> str:
        """Return why the path `place` cannot be used; empty if it can. Only names that are not ASCII are tried."""
        try:
            (self._folder.parent / place).lstat()
        except OSError as error:
            if error.errno in _NOT_TAKEN:
                return str(error.strerror)
        else:
            return ""
        odd = (name for name in place.split("/") if not name.isascii())
        return next((why for name in odd if (why := self._is_odd(name))), "")

    def _try(self, name: str) -> str:
        try:
            (self._room / name).touch()
        except OSError as error:
            if error.errno in _NOT_TAKEN:
                return str(error.strerror)
        return ""

    def _try_both(self, one: str, other: str) -> bool:
        room = self._new_room()
        try:
            (room / one).touch()
        except OSError:
            return False
        return os.path.lexists(room / other)

    @cached_property
    def _room(self) -> Path:
        return self._new_room()

    def _new_room(self) -> Path:
        room = own_parts(self._folder) / f"names-{secrets.token_hex(6)}"
        room.mkdir()
        return room


def unusable_names(places: Iterable[str], names: Names) -> dict[str, str]:
    """Return the paths that cannot be used on this machine, each with the reason, as the end of a sentence.

    Of paths that lead to the same file, the first one is used. Folders that are the same become one.

    Args:
        places: The relative paths of files, each once.
        names: What the file system says of names.
    """
    unusable: dict[str, str] = {}
    seen: dict[str, tuple[str, bool]] = {}
    for place in places:
        if why := names.refusal(place):
            unusable[place] = f"a name that the file system of this machine does not take ({why})"
            continue
        parts = place.split("/")
        for count in range(1, len(parts) + 1):
            path, is_file = "/".join(parts[:count]), count == len(parts)
            first, was_file = seen.setdefault(_folded(path), (path, is_file))
            if first != path and (is_file or was_file) and _lead_to_one(first, path, names):
                unusable[place] = f"since the file system of this machine takes its name for that of {first}; {_ADVICE}"
                break
    return unusable


_ADVICE = "fetch it by its name with another --output"


def _folded(path: str) -> str:
    """Return the same text for all paths that a file system may take for one."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


def _lead_to_one(one: str, other: str, names: Names) -> bool:
    pairs = zip(one.split("/"), other.split("/"), strict=True)
    return all(first == second or names.are_same(first, second) for first, second in pairs)
