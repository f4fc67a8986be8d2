"""How files come home: small ones together in an archive, a large one in pieces, each a round trip that may be repeated."""

import hashlib
import io
import os
import secrets
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConnectionLostError, SchedulerError
from hpcdeploy.flows.connections import Connections
from hpcdeploy.flows.remote_files import PIECE, RemoteFile, inside, read_state
from hpcdeploy.progress import Progress
from hpcdeploy.transport.contract import Completed

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


class Asking:
    """Runs commands on a cluster that may be run again: where the connection dies, they are."""

    def __init__(self, cluster: Cluster, connections: Connections) -> None:
        self._cluster = cluster
        self._connections = connections

    @property
    def where(self) -> str:
        """The machine, for messages."""
        return self._connections.to(self._cluster).where

    def run(self, argv: Sequence[str], stdin: bytes) -> Completed:
        """Run `argv`; raises `ConnectionLostError` where the connection died in each of three tries."""
        for pause in _PAUSES:
            try:
                return self._connections.to(self._cluster).run(argv, stdin=stdin)
            except ConnectionLostError:
                self._connections.drop(self._cluster)
                time.sleep(pause)
        return self._connections.to(self._cluster).run(argv, stdin=stdin)

    def bytes_of(self, script: str, *words: str, stdin: bytes = b"") -> tuple[bytes, str]:
        """Run a script that prints its first argument, a mark, and then bytes; return these, and what it said to people."""
        mark = secrets.token_hex(16)
        completed = self.run(["sh", "-c", script, "hpcdeploy-fetch", mark, *words], stdin)
        _, found, rest = completed.stdout.partition(f"\n{mark}\n".encode())
        said = completed.stderr.decode("utf-8", "replace").strip()
        if not found:
            raise SchedulerError(f"{self.where} sent none of the run's files: {said or '(no message)'}")
        return rest, said


class Bringing:
    """Brings files into `folder`; ``bases`` are the folders over there, by part."""

    def __init__(self, folder: Path, bases: Mapping[str, str], ask: Asking, progress: Progress, total: int) -> None:
        self._folder = folder
        self._bases = bases
        self._ask = ask
        self._progress = progress
        self._done = 0
        self._total = total

    def small(self, files: Sequence[RemoteFile]) -> None:
        """Bring `files` of one part in one archive; one that has vanished meanwhile is left out."""
        base = self._bases[files[0].part]
        names = b"".join(os.fsencode(f"./{file.name}") + b"\0" for file in files)
        content, said = self._ask.bytes_of(_ARCHIVE, base, stdin=names)
        asked = {file.name: file for file in files}
        try:
            with tarfile.open(fileobj=io.BytesIO(content), encoding="utf-8", errors="surrogateescape") as archive:
                for member in archive:
                    file = asked.get(member.name.removeprefix("./"))
                    source = archive.extractfile(member) if file and member.isreg() else None
                    if file and source:
                        with source:
                            self._write(file, source.read())
        except tarfile.TarError as error:
            raise SchedulerError(f"{self._ask.where} could not pack the run's files: {said or error}") from error
        self._advance(sum(file.size for file in files))

    def large(self, file: RemoteFile) -> None:
        """Bring one file in pieces, from where an earlier try stopped; one that is written anew meanwhile stays as it is.

        Of one that only grows what was listed comes.
        """
        # Of another size or time it is another file, whose beginning says nothing of this one's.
        name = hashlib.sha256(os.fsencode(f"{file.place}\0{file.size}\0{file.modified}")).hexdigest()
        part = self._parts() / name
        same = True
        with part.open("ab") as writing:
            have = writing.tell()
            self._advance(have)
            while have < file.size:
                size = min(PIECE, file.size - have)
                words = (self._bases[file.part], f"./{file.name}", str(have + 1), str(size))
                came, _ = self._ask.bytes_of(_RANGE, *words)
                content, _, state = came.rpartition(b"\n")
                now = read_state(state.decode())
                same = same and now == (file.size, file.modified)
                if len(content) != size or not (same or now[0] > file.size):
                    return
                writing.write(content)
                writing.flush()
                have += size
                self._advance(size)
        self._give_name(part, file, same=same)

    def _write(self, file: RemoteFile, content: bytes) -> None:
        part = self._parts() / "small"
        part.write_bytes(content)
        # What came may be newer than what was listed: then it does not bear the listed time, and comes again.
        self._give_name(part, file, same=len(content) == file.size)

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
