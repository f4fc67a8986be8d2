"""The files of a run as a login node lists them, and which of them are not here as they are there."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hpcdeploy.errors import SchedulerError

PIECE = 32 * 1024 * 1024
"""Bytes brought at once, held in memory: large enough that a round trip does not count, small enough to lose."""


_MOST_FILES = 2000
"""Files of one archive: a connection that dies costs no more than that."""


_UNITS = (1, 100, 10**3, 10**6, 10**7, 10**9, 2 * 10**9)
"""Nanoseconds in which file systems of this machine count: most, NTFS and SMB, others, FAT's kin, HFS+ and old ext, FAT."""


@dataclass(frozen=True, kw_only=True)
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


def read_listing(part: str, text: str) -> list[RemoteFile]:
    """Read what ``login_templates/list.sh`` says of one part; the same file named twice counts once."""
    fields = text.split("\0")
    found: dict[str, RemoteFile] = {}
    for entry, link in zip(fields[::2], fields[1::2], strict=False):
        kind, size, when, mode, path = entry.split(" ", 4)
        name = path.removeprefix("./")
        length, modified = read_state(f"{size} {when}")
        found[name] = RemoteFile(
            part=part, name=name, kind=kind, size=length, modified=modified, mode=int(mode, 8), link=link
        )
    return list(found.values())


def read_state(text: str) -> tuple[int, int]:
    """Read a file's size and time as find writes them (``%s %T@``): bytes, nanoseconds since 1970; nothing is no file."""
    size, _, when = text.partition(" ")
    seconds, _, fraction = when.partition(".")
    return (int(size), int(seconds) * 10**9 + int(fraction[:9].ljust(9, "0"))) if text else (-1, -1)


def inside(folder: Path, place: str) -> Path:
    """Return the path of `place` in `folder`; raises `SchedulerError` where it would be outside."""
    whole = PurePosixPath(os.path.normpath(place))
    if whole.is_absolute() or whole.parts[:1] == ("..",):
        raise SchedulerError(f"the run holds {place!r}, which is outside its folder; nothing was downloaded")
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
