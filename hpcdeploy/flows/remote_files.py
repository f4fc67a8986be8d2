"""The files of a run as a login node lists them, and which of them are not here as they are there."""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hpcdeploy import limits
from hpcdeploy.errors import SchedulerError
from hpcdeploy.whole_number import LATEST, whole_number

PIECE = 32 * 1024 * 1024
"""Bytes brought at once: large enough that a round trip does not count, small enough to lose."""

_MOST_FILES = 2000
"""Files of one archive: a connection that dies costs no more than that."""


_UNITS = (1, 100, 10**3, 10**6, 10**7, 10**9, 2 * 10**9)
"""Nanoseconds in which file systems of this machine count: most, NTFS and SMB, others, FAT's kin, HFS+ and old ext, FAT."""


_LONGEST_NAME = 255
"""Bytes of a file's name (limits.h, NAME_MAX)."""

_MODE = re.compile(r"[0-7]{1,7}")
_STATE = re.compile(r"(?P<size>[0-9]+) (?P<sign>-?)(?P<seconds>[0-9]+)(?:\.(?P<fraction>[0-9]{0,20}))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """One file over there: ``part`` is ``output`` or ``logs``, ``name`` its path below that.

    ``kind`` is find's letter (``f``: file, ``l``: link, which leads to ``link``), or ``!`` if it may not be read; ``size``
    is in bytes, ``modified`` in nanoseconds since 1970.
    """

    part: str
    name: str
    kind: str
    size: int
    modified: int
    mode: int
    link: str = ""

    @property
    def place(self) -> str:
        """Its path below the folder that it is brought to."""
        return f"{self.part}/{self.name}"


def read_listing(part: str, content: bytes) -> tuple[list[RemoteFile], list[str]]:
    """Read what ``login_templates/list.sh`` says of one part: the files, and the entries that cannot be read.

    The same file named twice counts once. Raises `SchedulerError` for more files than one fetch lists
    (`hpcdeploy.limits.MOST_FILES`).
    """
    found: dict[str, RemoteFile] = {}
    unread: list[str] = []
    for entry, link in _entries(content):
        if len(found) + len(unread) >= limits.MOST_FILES:
            raise SchedulerError(
                f"the run's {part} holds more than {limits.MOST_FILES} files, which is more than one fetch lists; fetch "
                "them in parts, by patterns: hpcdeploy fetch RUN 'a*' 'b*'"
            )
        try:
            file = _read_entry(part, entry, link)
        except ValueError:
            unread.append(entry[:_LONGEST_NAME])
        else:
            found[file.name] = file
    return list(found.values()), unread


def _read_entry(part: str, entry: str, link: str) -> RemoteFile:
    kind, size, when, mode, path = entry.split(" ", 4)
    name = path.removeprefix("./")
    length, modified = read_state(f"{size} {when}")
    if not _MODE.fullmatch(mode) or any(len(os.fsencode(word)) > _LONGEST_NAME for word in name.split("/")):
        raise ValueError(entry)
    return RemoteFile(part=part, name=name, kind=kind, size=length, modified=modified, mode=int(mode, 8), link=link)


def _entries(content: bytes) -> Iterator[tuple[str, str]]:
    """Give the pairs of texts that end with a NUL each."""
    start = 0
    while (middle := content.find(b"\0", start)) >= 0 and (end := content.find(b"\0", middle + 1)) >= 0:
        entry, link = content[start:middle], content[middle + 1 : end]
        yield entry.decode("utf-8", "surrogateescape"), link.decode("utf-8", "surrogateescape")
        start = end + 1


def read_state(text: str) -> tuple[int, int]:
    """Read a file's size and time as find writes them (``%s %T@``): bytes, nanoseconds since 1970; nothing is no file.

    Raises ValueError where it is something else. A time before 1970 is negative, as find has it.
    """
    if not text:
        return -1, -1
    match = _STATE.fullmatch(text)
    size, seconds = (whole_number(match["size"]), whole_number(match["seconds"], LATEST)) if match else (None, None)
    if match is None or size is None or seconds is None:
        raise ValueError(text)
    nanoseconds = int((match["fraction"] or "")[:9].ljust(9, "0"))
    return size, (-seconds if match["sign"] else seconds) * 10**9 + nanoseconds


def inside(folder: Path, place: str) -> Path:
    """Return the path of `place` in `folder`; raises `SchedulerError` where it would be outside of its part.

    A part is the first name of `place`. What else lies in `folder`, such as the marks of a fetch, cannot be named so.
    """
    whole, part = PurePosixPath(os.path.normpath(place)), place.partition("/")[0]
    if part in ("", ".", "..") or whole.parts[:1] != (part,) or len(whole.parts) == 1:
        raise SchedulerError(f"the run holds {place!r}, which leads out of its folder; nothing of it was brought")
    return folder / whole


def leads_out(file: RemoteFile) -> bool:
    """Tell whether a link leads out of its part."""
    whole = PurePosixPath(os.path.normpath(PurePosixPath(file.name).parent / file.link))
    return whole.is_absolute() or whole.parts[:1] == ("..",)


def is_here(file: RemoteFile, folder: Path) -> bool:
    """Tell whether `folder` has the file as it is there: by size and time, as rsync does, or by where a link leads."""
    path = inside(folder, file.place)
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if file.kind == "l":
        return stat.S_ISLNK(status.st_mode) and os.readlink(path) == file.link  # noqa: PTH115 - as it is
    times = {file.modified - file.modified % unit for unit in _UNITS}
    return stat.S_ISREG(status.st_mode) and status.st_size == file.size and status.st_mtime_ns in times


def groups(files: Iterable[RemoteFile], *, at_most: int = PIECE) -> Iterator[Sequence[RemoteFile]]:
    """Group files so that those of a group, all of one part, are together no larger than `at_most` bytes, or alone."""
    group: list[RemoteFile] = []
    size = 0
    for file in files:
        full = size + file.size > at_most or len(group) >= _MOST_FILES
        if group and (full or group[0].part != file.part):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size
    if group:
        yield group
