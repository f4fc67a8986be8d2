"""Download the files of a run: small files in archives, large files in chunks, so that a lost connection costs one chunk."""

import hashlib
import os
import secrets
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from hpcdeploy import limits
from hpcdeploy.errors import SchedulerError
from hpcdeploy.progress import Progress
from hpcdeploy.remote.listing import RemoteFile, place_for, read_state
from hpcdeploy.remote.received import Received, copy_member, open_archive
from hpcdeploy.remote.session import ScriptResult, Session
from hpcdeploy.remote.unfinished import fresh, parts_folder, resumed

CHUNK = 32 * 1024 * 1024
"""Number of bytes to download at once.

A chunk of this size takes much longer than a round trip, and is small enough to be downloaded again after a failure.
"""

_MOST_FILES = 2000
"""Maximum number of files in an archive, so that few files must be downloaded again after a lost connection."""


PARTS = ".hpcdeploy-parts"
"""The folder for incomplete files, inside the destination folder."""

_KNOWN_STATE = "unset -f printf cd tar tail head find; unset CDPATH TAR_OPTIONS"
"""The start of a script for sh: remove shell functions and variables that would change the commands used here.

sshd's shell reads ~/.bashrc, which may export functions. If /bin/sh is bash, it imports them from the environment.
"""

# $1: a marker, which is printed before the data because login shells print banners; $2: the folder. The names of the files
# are read from standard input. Each begins with ./ so that tar does not parse it as an option.
_ARCHIVE = f"""
{_KNOWN_STATE}
printf '\\n%s\\n' "$1"
cd -- "$2" && exec tar --create --no-recursion --format=gnu --null --files-from=-
"""

# $3: the name; $4: the number of the first byte, starting at 1; $5: the number of bytes. The file's current size and time
# follow the data.
_RANGE = f"""
{_KNOWN_STATE}
printf '\\n%s\\n' "$1"
cd -- "$2" && tail -c "+$4" -- "$3" | head -c "$5"
LC_ALL=C find "$3" -printf '\\n%s %T@'
"""

_MAY_GROW = 32 * 1024 * 1024
"""Maximum growth in bytes of an archive's files, in total, between listing and packing."""

_MEMBER_OVERHEAD = 3 * 512
"""Overhead of a file in an archive, in bytes: its header, the header of a long name, and the padding of the last block."""


class Download:
    """Download files into `folder`. An archive or chunk is requested again after a lost connection.

    Args:
        folder: The destination folder on this machine.
        bases: The folders on the cluster with the files, by the part of the run (``output`` or ``logs``).
        session: A session with the cluster.
        progress: Receives the number of bytes downloaded so far, and the total size of `files` in bytes.
        files: The files to download, as they were listed.

    Attributes:
        received: The paths of the files that were downloaded completely, relative to `folder`.
    """

    def __init__(
        self, folder: Path, bases: Mapping[str, str], session: Session, progress: Progress, files: Sequence[RemoteFile]
    ) -> None:
        self._folder = folder
        self._bases = bases
        self._session = session
        self._progress = progress
        self._files = files
        self.received: set[str] = set()
        self._done = 0
        self._total = sum(file.size for file in files)

    def run(self) -> None:
        """Download the files.

        Raises:
            SchedulerError: The login node sent no files, or an invalid archive.
            ConnectionLostError: The connection was lost in each attempt.
            OverLimitError: The login node sent more data than it listed.
            TransportError: The machine cannot be reached.
            OSError: A file cannot be written.
        """
        for group in groups(self._files, at_most=CHUNK):
            if group[0].size > CHUNK:
                self._large(group[0])
            else:
                self._small(group)

    def _small(self, files: Sequence[RemoteFile]) -> None:
        """Download `files`, which are all in ``output`` or all in ``logs``, in one archive.

        Files that were removed on the cluster after they were listed are left out.
        """
        base = self._bases[files[0].part]
        names = b"".join(os.fsencode(f"./{file.name}") + b"\0" for file in files)
        size = sum(file.size + _MEMBER_OVERHEAD + 2 * len(file.name.encode("utf-8", "surrogateescape")) for file in files)
        with fresh(self._parts() / "archive") as packed:
            _, result = _receive(self._session, _ARCHIVE, base, stdin=names, file=packed, size=size + _MAY_GROW)
            packed.seek(0)
            try:
                self._unpack(packed, {file.name: file for file in files})
            except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
                raise SchedulerError(f"{result.where} could not pack the run's files: {result.errors or error}") from error
        self._advance(sum(file.size for file in files))

    def _unpack(self, packed: BinaryIO, requested: Mapping[str, RemoteFile]) -> None:
        with open_archive(packed) as archive:
            for number, member in enumerate(archive):
                if number >= len(requested):
                    raise tarfile.ReadError(f"the archive has more than the {len(requested)} requested files")
                file = requested.get(member.name.removeprefix("./"))
                if file is None or not member.isreg():
                    continue
                incomplete = self._parts() / "small"
                with fresh(incomplete) as writing:
                    copy_member(archive, member, writing)
                # If the file's size differs from the listing, the file was changed after it was listed. Then it does not get
                # the listed time, so that the next fetch downloads it again.
                self._give_name(incomplete, file, unchanged=member.size == file.size)

    def _large(self, file: RemoteFile) -> None:
        """Download one file in chunks, and continue an earlier, incomplete download.

        If the file grew after it was listed, its first bytes are downloaded, up to the listed size. If it was changed
        otherwise, it is not downloaded.
        """
        # The name of the incomplete file depends on size and time, so that the beginning of an older version is not reused.
        name = hashlib.sha256(os.fsencode(f"{file.place}\0{file.size}\0{file.modified}")).hexdigest()
        incomplete = self._parts() / name
        unchanged = True
        with resumed(incomplete) as writing:
            have = writing.seek(0, os.SEEK_END)
            self._advance(have)
            while have < file.size:
                size = min(CHUNK, file.size - have)
                arguments = (self._bases[file.part], f"./{file.name}", str(have + 1), str(size))
                received, _ = _receive(self._session, _RANGE, *arguments, file=writing, size=size)
                surplus, _, state = received.behind.partition(b"\n")
                try:
                    now = read_state(state.decode())
                except ValueError:
                    writing.truncate(have)
                    return
                unchanged = unchanged and now == (file.size, file.modified)
                if surplus or received.count != size or not (unchanged or now[0] > file.size):
                    writing.truncate(have)
                    return
                writing.flush()
                have += size
                self._advance(size)
        self._give_name(incomplete, file, unchanged=unchanged)

    def _parts(self) -> Path:
        return parts_folder(self._folder / PARTS)

    def _give_name(self, downloaded: Path, file: RemoteFile, *, unchanged: bool) -> None:
        """Move a downloaded file to its final path; an unchanged file gets the modification time of the listing."""
        path = place_for(file, self._folder)
        downloaded.chmod(0o755 if file.mode & 0o100 else 0o644)
        if unchanged:
            os.utime(downloaded, ns=(file.modified, file.modified))
        downloaded.replace(path)
        self.received.add(file.place)

    def _advance(self, size: int) -> None:
        self._done += size
        self._progress(min(self._done, self._total), self._total)


def _receive(
    session: Session, script: str, *arguments: str, file: BinaryIO, size: int, stdin: bytes = b""
) -> tuple[Received, ScriptResult]:
    """Run a script that prints its first argument (a marker) and then data, and write the data to `file`.

    The script is run again after a lost connection.

    Args:
        session: A session with the cluster.
        script: The script, for sh.
        *arguments: The arguments of the script after the marker.
        file: The file; data is written at its current position.
        size: Maximum size of the data in bytes.
        stdin: The script's standard input.

    Returns:
        The received data, and the result of the script.

    Raises:
        ConnectionLostError: The connection was lost in each attempt.
        OverLimitError: The script printed more than `size` bytes of data.
        SchedulerError: The script printed no marker.
    """
    mark, start = secrets.token_hex(16), file.tell()
    argv = ["sh", "-c", script, "hpcdeploy-fetch", mark, *arguments]

    def attempt() -> tuple[Received, ScriptResult]:
        file.seek(start)
        file.truncate()
        received = Received(file, mark, size)
        result = session.stream(argv, stdin=stdin, on_stdout=received.take, limit=limits.receiving(size))
        return received, result

    received, result = session.repeat(attempt)
    if not received.found_marker:
        raise SchedulerError(f"{result.where} sent none of the run's files: {result.errors or '(no message)'}")
    return received, result


def groups(files: Iterable[RemoteFile], *, at_most: int = CHUNK) -> Iterator[Sequence[RemoteFile]]:
    """Yield groups of consecutive files, each for one request.

    The files of a group are all in ``output`` or all in ``logs``. A group has at most `at_most` bytes, or a single file.
    """
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
