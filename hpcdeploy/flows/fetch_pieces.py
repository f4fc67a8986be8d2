"""How files come home: small ones together in an archive, a large one in pieces, each a round trip that may be repeated."""

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
from hpcdeploy.flows.unfinished import fresh, own_parts, resumed
from hpcdeploy.limits import OutputLimit
from hpcdeploy.progress import Progress
from hpcdeploy.transport.contract import Completed, Output, ignore_output

PARTS = ".hpcdeploy-parts"
"""The folder, in the one that is fetched to, of what is not whole yet."""

_KNOWN = "unset -f printf cd tar tail head find; unset CDPATH TAR_OPTIONS"
"""Where /bin/sh is bash, it takes functions from its environment: those that ~/.bashrc exports, which sshd's shell reads."""

# $1 the mark that stands before the bytes, since login shells print banners; $2 the folder. The names come on standard
# input, each with ./ before it, so that none is an option, to any tar.
_ARCHIVE = f"""
{_KNOWN}
printf '\\n%s\\n' "$1"
cd -- "$2" && exec tar --create --no-recursion --format=gnu --null --files-from=-
"""

# $3 the name, $4 the number of the first byte, counted from 1, $5 how many. Behind the bytes it says what the file is then.
_RANGE = f"""
{_KNOWN}
printf '\\n%s\\n' "$1"
cd -- "$2" && tail -c "+$4" -- "$3" | head -c "$5"
LC_ALL=C find "$3" -printf '\\n%s %T@'
"""

_PAUSES = (1, 3)

_MAY_GROW = 32 * 1024 * 1024
"""Bytes by which the files of an archive may grow, all together, between the listing and the packing."""

_OF_A_MEMBER = 3 * 512
"""Bytes of a file in an archive beside its content: its header, that of a long name, and what fills up the last block."""


class Asking:
    """Runs commands on a cluster that may be run again: where the connection dies, they are."""

    def __init__(self, cluster: Cluster, connections: Connections) -> None:
        self._cluster = cluster
        self._connections = connections

    @property
    def where(self) -> str:
        """The machine, for messages."""
        return self._connections.to(self._cluster).where

    def run(
        self,
        argv: Sequence[str],
        stdin: bytes,
        *,
        limit: OutputLimit | None = None,
        taker: Callable[[], Output] = lambda: ignore_output,
    ) -> Completed:
        """Run `argv`; raises `ConnectionLostError` where the connection died in each of three tries.

        Each try has a `taker` of its own for what the command writes. One that goes beyond `limit` is not tried again.
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
        """Run a script that prints its first argument, a mark, and then bytes: at most `size` of them go to `file`.

        They are written from where it stands now. Returns how they landed, and what the script said to people. Raises
        `OverLimitError` where more comes.
        """
        mark, start = secrets.token_hex(16), file.tell()
        landing = Landing(file, mark, size)

        def anew() -> Output:
            nonlocal landing
            file.seek(start)
            file.truncate()
            landing = Landing(file, mark, size)
            return landing.take

        argv = ["sh", "-c", script, "hpcdeploy-fetch", mark, *words]
        completed = self.run(argv, stdin, limit=limits.receiving(size), taker=anew)
        said = completed.stderr.decode("utf-8", "replace").strip()
        if not landing.begun:
            raise SchedulerError(f"{self.where} sent nothing of the run's files: {said or 'and said nothing'}")
        return landing, said


class Bringing:
    """Brings files into `folder`; ``bases`` are the folders over there, by part.

    ``received`` names the places of the files that have come and bear their names.
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
        """Bring `files` of one part in one archive; one that has vanished meanwhile is left out."""
        base = self._bases[files[0].part]
        names = b"".join(os.fsencode(f"./{file.name}") + b"\0" for file in files)
        size = sum(file.size + _OF_A_MEMBER + 2 * len(file.name.encode("utf-8", "surrogateescape")) for file in files)
        with fresh(self._parts() / "archive") as packed:
            _, said = self._ask.land(_ARCHIVE, base, stdin=names, file=packed, size=size + _MAY_GROW)
            packed.seek(0)
            try:
                self._unpack(packed, {file.name: file for file in files})
            except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
                raise SchedulerError(f"{self._ask.where} could not pack the run's files: {said or error}") from error
        self._advance(sum(file.size for file in files))

    def _unpack(self, packed: BinaryIO, asked: Mapping[str, RemoteFile]) -> None:
        with open_archive(packed) as archive:
            for number, member in enumerate(archive):
                if number >= len(asked):
                    raise tarfile.ReadError(f"it holds more than the {len(asked)} files that were asked for")
                file = asked.get(member.name.removeprefix("./"))
                if file is None or not member.isreg():
                    continue
                part = self._parts() / "small"
                with fresh(part) as writing:
                    copy_member(archive, member, writing)
                # What came may be newer than what was listed: then it does not bear the listed time, and comes again.
                self._give_name(part, file, same=member.size == file.size)

    def large(self, file: RemoteFile) -> None:
        """Bring one file in pieces, from where an earlier try stopped; one that is written anew meanwhile stays as it is.

        Of one that only grows what was listed comes.
        """
        # Of another size or time it is another file, whose beginning says nothing of this one's.
        name = hashlib.sha256(os.fsencode(f"{file.place}\0{file.size}\0{file.modified}")).hexdigest()
        part = self._parts() / name
        same = True
        with resumed(part) as writing:
            have = writing.seek(0, os.SEEK_END)
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
        return own_parts(self._folder / PARTS)

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
    """Return where `file` goes in `folder`, with folders on the way there, and nothing that is in its place.

    What was fetched before may be a link where a folder is now: nothing is ever written through one.
    """
    path = inside(folder, file.place)
    for parent in reversed(path.relative_to(folder).parents[:-1]):
        there = folder / parent
        if there.is_symlink() or (there.exists() and not there.is_dir()):
            there.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
