"""Find files of a run that cannot be written on this machine, because of their names.

A file system may reject a name, or treat two names as the same file, so that one file would replace the other:

- Linux accepts almost every name.
- APFS, the file system of macOS, accepts only UTF-8 (EILSEQ otherwise). It usually ignores case and the Unicode normal form.
- FAT and NTFS ignore case.
- A path has at most 1024 bytes on macOS and 4096 on Linux (limits.h, PATH_MAX).
"""

import errno
import os
import secrets
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache, cached_property
from pathlib import Path
from typing import Protocol

from hpcdeploy.remote.unfinished import parts_folder

_REJECTED = (errno.EILSEQ, errno.ENAMETOOLONG, errno.EINVAL)
"""Errors of open(2) for a rejected name: wrong encoding, too long, a character that is not allowed (FAT)."""


class Names(Protocol):
    """The rules of a file system for names."""

    def refusal(self, place: str, /) -> str:
        """Return why the path `place` cannot be used; empty if it can."""

    def are_same(self, one: str, other: str, /) -> bool:
        """Tell whether two names in the same folder are the same file for the file system."""


class FolderNames:
    """Test names by creating files in `folder`.

    The folder must be in the destination folder of the files, so that both are on the same file system. It is created when
    it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.are_same: Callable[[str, str], bool] = cache(self._try_both)
        self._is_odd: Callable[[str], str] = cache(self._try)

    def refusal(self, place: str) -> str:
        """Return why the path `place` cannot be used; empty if it can.

        Files are created only to test names that are not ASCII, because file systems accept ASCII names.
        """
        try:
            (self._folder.parent / place).lstat()
        except OSError as error:
            if error.errno in _REJECTED:
                return str(error.strerror)
        else:
            return ""
        odd = (name for name in place.split("/") if not name.isascii())
        return next((why for name in odd if (why := self._is_odd(name))), "")

    def _try(self, name: str) -> str:
        try:
            (self._room / name).touch()
        except OSError as error:
            if error.errno in _REJECTED:
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
        room = parts_folder(self._folder) / f"names-{secrets.token_hex(6)}"
        room.mkdir()
        return room


def unusable_names(places: Iterable[str], names: Names) -> dict[str, str]:
    """Return the paths that cannot be used on this machine, each with the reason, as the end of a sentence.

    If several paths are the same file for the file system, only the first is usable. Folders with the same name for the file
    system are merged.

    Args:
        places: The relative paths of files, without duplicates.
        names: The rules of the file system.
    """
    unusable: dict[str, str] = {}
    seen: dict[str, tuple[str, bool]] = {}
    for place in places:
        if why := names.refusal(place):
            unusable[place] = f"because this machine's file system rejects its name ({why})"
            continue
        parts = place.split("/")
        for count in range(1, len(parts) + 1):
            path, is_file = "/".join(parts[:count]), count == len(parts)
            first, was_file = seen.setdefault(_folded(path), (path, is_file))
            if first != path and (is_file or was_file) and _are_one_file(first, path, names):
                unusable[place] = f"because for this machine's file system it is the same file as {first}; {_ADVICE}"
                break
    return unusable


_ADVICE = "fetch it by its name into another folder (--output)"


def _folded(path: str) -> str:
    """Return a text that is equal for all paths that a file system may treat as the same."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


def _are_one_file(one: str, other: str, names: Names) -> bool:
    pairs = zip(one.split("/"), other.split("/"), strict=True)
    return all(first == second or names.are_same(first, second) for first, second in pairs)
