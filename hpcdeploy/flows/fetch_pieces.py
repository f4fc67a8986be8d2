"""Download files: small ones together in an archive, large ones in pieces. Each round trip can be repeated."""

import hashlib
import os
import secrets
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from hpcdeploy import limits
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConnectionLostError, OverLimitError, SchedulerError
from hpcdeploy.flows.connections import Connections
from hpcdeploy.flows.landing import Landing, copy_member, open_archive
from hpcdeploy.flows.remote_files import PIECE, RemoteFile, inside, read_state
from hpcdeploy.limits import OutputLimit
from hpcdeploy.progress import Progress
from hpcdeploy.transport.contract import Completed, Output, ignore_output

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
