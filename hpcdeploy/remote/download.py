"""Download the files of a run: small ones in archives, large ones in pieces that can be requested again."""

import hashlib
import io
import os
import re
import secrets
import stat
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from hpcdeploy import limits
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConnectionLostError, OverLimitError, SchedulerError
from hpcdeploy.limits import OutputLimit, TooMuchError, bytes_in_words
from hpcdeploy.progress import Progress
from hpcdeploy.remote.connections import Connections
from hpcdeploy.transport.contract import Completed, Output, ignore_output
from hpcdeploy.whole_number import LATEST, whole_number

PIECE = 32 * 1024 * 1024
"""Number of bytes to download at once: large enough that the round trip does not matter, small enough to lose."""

_MOST_FILES = 2000
"""Maximum number of files in an archive, which limits the loss after a failed connection."""


_UNITS = (1, 100, 10**3, 10**6, 10**7, 10**9, 2 * 10**9)
"""Resolutions of file times on this machine's file systems, in nanoseconds: most, NTFS and SMB, others, relatives of FAT,
HFS+ and old ext, FAT."""


_LONGEST_NAME = 255
"""Maximum length of a file's name in bytes (limits.h, NAME_MAX)."""

_MODE = re.compile(r"[0-7]{1,7}")
_STATE = re.compile(r"(?P<size>[0-9]+) (?P<sign>-?)(?P<seconds>[0-9]+)(?:\.(?P<fraction>[0-9]{0,20}))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """A file on the cluster.

    Attributes:
        part: ``output`` or ``logs``.
        name: Its path in that folder.
        kind: find's letter (``f``: file, ``l``: link), or ``!`` if it is not readable.
        size: Its size in bytes.
        modified: Its modification time in nanoseconds since 1970.
        mode: Its mode.
        link: The target of a link.
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
        """Its path in the destination folder."""
        return f"{self.part}/{self.name}"


def read_listing(part: str, content: bytes) -> tuple[list[RemoteFile], list[str]]:
    """Parse the output of ``login/list.sh`` for one part: the files, and the malformed entries.

    A file that is listed twice counts once.

    Raises:
        SchedulerError: There are more than `hpcdeploy.limits.MOST_FILES` files.
    """
    found: dict[str, RemoteFile] = {}
    unread: list[str] = []
    for entry, link in _entries(content):
        if len(found) + len(unread) >= limits.MOST_FILES:
            raise SchedulerError(
                f"the run's {part} has more than {limits.MOST_FILES} files, the maximum of one fetch; use "
                "patterns to fetch them in several steps: hpcdeploy fetch RUN 'a*' 'b*'"
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
    """Yield pairs of texts, each text terminated by NUL."""
    start = 0
    while (middle := content.find(b"\0", start)) >= 0 and (end := content.find(b"\0", middle + 1)) >= 0:
        entry, link = content[start:middle], content[middle + 1 : end]
        yield entry.decode("utf-8", "surrogateescape"), link.decode("utf-8", "surrogateescape")
        start = end + 1


def read_state(text: str) -> tuple[int, int]:
    """Parse a file's size (bytes) and time (nanoseconds since 1970) from find's ``%s %T@``; -1 for both if there is no file.

    Raises:
        ValueError: `text` is malformed.
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
    """Return the path of `place` in `folder`.

    The first component of `place` is a part. Other files in `folder`, such as those that record a fetch, are not reachable.

    Raises:
        SchedulerError: The path would be outside the folder of its part.
    """
    whole, part = PurePosixPath(os.path.normpath(place)), place.partition("/")[0]
    if part in ("", ".", "..") or whole.parts[:1] != (part,) or len(whole.parts) == 1:
        raise SchedulerError(f"the run has {place!r}, which is outside its folder; nothing was downloaded")
    return folder / whole


def leads_out(file: RemoteFile) -> bool:
    """Tell whether a link leads out of its part."""
    whole = PurePosixPath(os.path.normpath(PurePosixPath(file.name).parent / file.link))
    return whole.is_absolute() or whole.parts[:1] == ("..",)


def is_here(file: RemoteFile, folder: Path) -> bool:
    """Tell whether `folder` has the same file: by size and time, as rsync does, or by the target of a link."""
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
    """Group files of the same part so that a group has at most `at_most` bytes, or a single file."""
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


LONGEST_STATE = 256
"""Maximum size in bytes of the size and time that follow a file's content."""

_LONGEST_HEADER = 16 * 1024
"""Maximum number of bytes to read at once from an archive.

A name that does not fit into its header has at most 4096 bytes (PATH_MAX). The tarfile module reads a header in one piece,
whatever its size, and parses PAX headers with an expression that takes quadratic time (CVE-2024-6232).
"""


class Landing:
    """Write the data after a marker to `file`, at its current position: at most `size` bytes.

    Attributes:
        begun: The marker was received.
        count: The number of bytes written.
        behind: Up to `LONGEST_STATE` bytes that follow the data.
    """

    def __init__(self, file: BinaryIO, mark: str, size: int) -> None:
        self._file = file
        self._mark = f"\n{mark}\n".encode()
        self._size = size
        self._banner = bytearray()
        self._searched = 0
        self.begun = False
        self.count = 0
        self.behind = b""

    def take(self, piece: bytes) -> None:
        """Process received bytes.

        Raises:
            TooMuchError: There is more data than announced, or too much output before the marker.
        """
        if not self.begun:
            piece = self._after_marker(piece)
        inside = piece[: self._size - self.count]
        self._file.write(inside)
        self.count += len(inside)
        self.behind += piece[len(inside) : len(inside) + LONGEST_STATE + 1]
        if len(self.behind) > LONGEST_STATE:
            raise TooMuchError(f"sent more than the {bytes_in_words(self._size)} that it listed")

    def _after_marker(self, piece: bytes) -> bytes:
        self._banner += piece
        place = self._banner.find(self._mark, self._searched)
        if place < 0:
            self._searched = max(0, len(self._banner) - len(self._mark))
            if len(self._banner) > limits.BANNER:
                raise TooMuchError(f"printed more than {bytes_in_words(limits.BANNER)} before its answer")
            return b""
        self.begun = True
        rest = bytes(self._banner[place + len(self._mark) :])
        self._banner.clear()
        return rest


class _Small(io.RawIOBase):
    """A file that refuses to read large pieces."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"it has a header of {size} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def open_archive(file: BinaryIO) -> tarfile.TarFile:
    """Open an archive in the format of our script's tar command: GNU format, not compressed.

    A compressed archive may expand a thousandfold, and so may a sparse file (`copy_member`).

    Raises:
        tarfile.TarError: The archive is malformed.
    """
    return tarfile.open(fileobj=_Small(file), mode="r:", encoding="utf-8", errors="surrogateescape")


def copy_member(archive: tarfile.TarFile, member: tarfile.TarInfo, target: BinaryIO) -> None:
    """Copy the content of a file in an archive to `target`.

    Raises:
        tarfile.TarError: The file is sparse; tar only writes sparse files if requested, which our script does not.
    """
    if member.issparse():
        raise tarfile.ReadError(f"{member.name!r} is sparse in it")
    source = archive.extractfile(member)
    if source is None:
        return
    with source:
        while block := source.read(_LONGEST_HEADER):
            target.write(block)


PARTS = ".hpcdeploy-parts"
"""The folder for incomplete files, inside the destination folder."""

_KNOWN = "unset -f printf cd tar tail head find; unset CDPATH TAR_OPTIONS"
"""Removes shell functions from the environment: a /bin/sh that is bash imports those that ~/.bashrc exports, which sshd's
shell reads."""

# $1: a marker before the data, because login shells print banners; $2: the folder. File names come on standard input, each
# with a leading ./ so that no tar takes it for an option.
_ARCHIVE = f"""
{_KNOWN}
printf '\\n%s\\n' "$1"
cd -- "$2" && exec tar --create --no-recursion --format=gnu --null --files-from=-
"""

# $3: the name; $4: the number of the first byte, starting at 1; $5: the number of bytes. The file's current size and time
# follow the data.
_RANGE = f"""
{_KNOWN}
printf '\\n%s\\n' "$1"
cd -- "$2" && tail -c "+$4" -- "$3" | head -c "$5"
LC_ALL=C find "$3" -printf '\\n%s %T@'
"""

_PAUSES = (1, 3)

_MAY_GROW = 32 * 1024 * 1024
"""Maximum growth in bytes of an archive's files, in total, between listing and packing."""

_OF_A_MEMBER = 3 * 512
"""Overhead of a file in an archive, in bytes: its header, that of a long name, and the padding of the last block."""


class Asking:
    """Run repeatable commands on a cluster; they are repeated after a lost connection."""

    def __init__(self, cluster: Cluster, connections: Connections) -> None:
        self._cluster = cluster
        self._connections = connections

    @property
    def where(self) -> str:
        """The name of the machine, for messages."""
        return self._connections.to(self._cluster).where

    def run(
        self,
        argv: Sequence[str],
        stdin: bytes,
        *,
        limit: OutputLimit | None = None,
        taker: Callable[[], Output] = lambda: ignore_output,
    ) -> Completed:
        """Run `argv`, with up to three attempts.

        Args:
            argv: The command.
            stdin: Its standard input.
            limit: Limit for the output; a command that exceeds it is not repeated.
            taker: Returns the receiver of standard output for an attempt.

        Raises:
            ConnectionLostError: The connection was lost in each attempt.
            OverLimitError: The output exceeds `limit`.
        """
        for pause in _PAUSES:
            try:
                return self._connections.to(self._cluster).run(argv, stdin=stdin, on_stdout=taker(), limit=limit)
            except OverLimitError:
                raise
            except ConnectionLostError:
                self._connections.drop(self._cluster)
                time.sleep(pause)
        return self._connections.to(self._cluster).run(argv, stdin=stdin, on_stdout=taker(), limit=limit)

    def land(self, script: str, *words: str, file: BinaryIO, size: int, stdin: bytes = b"") -> tuple[Landing, str]:
        """Run a script that prints its first argument, a marker, and then data; write the data to `file`.

        Args:
            script: The script, for sh.
            *words: Its further arguments.
            file: The file; data is written at its current position.
            size: Maximum size of the data in bytes.
            stdin: The script's standard input.

        Returns:
            The received data, and the script's standard error.

        Raises:
            ConnectionLostError: The connection was lost in each attempt.
            OverLimitError: The script printed more data.
            SchedulerError: The script printed no marker.
        """
        mark, start = secrets.token_hex(16), file.tell()
        landing = Landing(file, mark, size)

        def restart() -> Output:
            nonlocal landing
            file.seek(start)
            file.truncate()
            landing = Landing(file, mark, size)
            return landing.take

        argv = ["sh", "-c", script, "hpcdeploy-fetch", mark, *words]
        completed = self.run(argv, stdin, limit=limits.receiving(size), taker=restart)
        message = completed.stderr.decode("utf-8", "replace").strip()
        if not landing.begun:
            raise SchedulerError(f"{self.where} sent none of the run's files: {message or '(no message)'}")
        return landing, message


class Bringing:
    """Download files into `folder`.

    Attributes:
        received: The paths of the files that are complete.
    """

    def __init__(self, folder: Path, bases: Mapping[str, str], ask: Asking, progress: Progress, total: int) -> None:
        self._folder = folder
        self._bases = bases
        self._ask = ask
        self._progress = progress
        self.received: set[str] = set()
        self._done = 0
        self._total = total

    def small(self, files: Sequence[RemoteFile]) -> None:
        """Download `files` of one part in one archive; files that were removed meanwhile are left out."""
        base = self._bases[files[0].part]
        names = b"".join(os.fsencode(f"./{file.name}") + b"\0" for file in files)
        size = sum(file.size + _OF_A_MEMBER + 2 * len(file.name.encode("utf-8", "surrogateescape")) for file in files)
        with (self._parts() / "archive").open("w+b") as packed:
            _, message = self._ask.land(_ARCHIVE, base, stdin=names, file=packed, size=size + _MAY_GROW)
            packed.seek(0)
            try:
                self._unpack(packed, {file.name: file for file in files})
            except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
                raise SchedulerError(f"{self._ask.where} could not pack the run's files: {message or error}") from error
        self._advance(sum(file.size for file in files))

    def _unpack(self, packed: BinaryIO, asked: Mapping[str, RemoteFile]) -> None:
        with open_archive(packed) as archive:
            for number, member in enumerate(archive):
                if number >= len(asked):
                    raise tarfile.ReadError(f"it has more than the {len(asked)} requested files")
                file = asked.get(member.name.removeprefix("./"))
                if file is None or not member.isreg():
                    continue
                part = self._parts() / "small"
                with part.open("wb") as writing:
                    copy_member(archive, member, writing)
                # The file may be newer than its listing. In that case it does not get the listed time, and is downloaded
                # again.
                self._give_name(part, file, same=member.size == file.size)

    def large(self, file: RemoteFile) -> None:
        """Download one file in pieces, from where an earlier attempt stopped; a file that is being rewritten is left alone.

        If the file only grows, its listed size is downloaded.
        """
        # The name depends on size and time, because the beginning of an older version must not be reused.
        name = hashlib.sha256(os.fsencode(f"{file.place}\0{file.size}\0{file.modified}")).hexdigest()
        part = self._parts() / name
        same = True
        with part.open("ab") as writing:
            have = writing.tell()
            self._advance(have)
            while have < file.size:
                size = min(PIECE, file.size - have)
                words = (self._bases[file.part], f"./{file.name}", str(have + 1), str(size))
                landed, _ = self._ask.land(_RANGE, *words, file=writing, size=size)
                mark, _, state = landed.behind.partition(b"\n")
                try:
                    now = read_state(state.decode())
                except ValueError:
                    writing.truncate(have)
                    return
                same = same and now == (file.size, file.modified)
                if mark or landed.count != size or not (same or now[0] > file.size):
                    writing.truncate(have)
                    return
                writing.flush()
                have += size
                self._advance(size)
        self._give_name(part, file, same=same)

    def _parts(self) -> Path:
        folder = self._folder / PARTS
        folder.mkdir(exist_ok=True)
        return folder

    def _give_name(self, part: Path, file: RemoteFile, *, same: bool = True) -> None:
        path = place_for(file, self._folder)
        part.chmod(0o755 if file.mode & 0o100 else 0o644)
        if same:
            os.utime(part, ns=(file.modified, file.modified))
        part.replace(path)
        self.received.add(file.place)

    def _advance(self, size: int) -> None:
        self._done += size
        self._progress(min(self._done, self._total), self._total)


def place_for(file: RemoteFile, folder: Path) -> Path:
    """Return the path of `file` in `folder`; create its parent folders, and remove links and files in their place.

    An earlier download may have left a link where a folder is now, and files must never be written through links.
    """
    path = inside(folder, file.place)
    for parent in reversed(path.relative_to(folder).parents[:-1]):
        there = folder / parent
        if there.is_symlink() or (there.exists() and not there.is_dir()):
            there.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
