"""Transfer files to and from a registry without loading them into memory."""

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

from hpcdeploy.errors import RegistryError
from hpcdeploy.progress import Progress

BLOCK = 1 << 20
"""Number of bytes to read and send at a time (1 MiB). The 8 KiB of http.client would need many more system calls."""

RECEIVED_BLOCK = 1 << 17
"""Number of bytes to receive at a time (128 KiB). An incomplete block is downloaded again after a lost connection."""


class FileBody:
    """A file as the body of a request. It has a length, and each iteration starts at the beginning of the file.

    requests sends the length as ``Content-Length``, and urllib3 sends each block. All blocks are views of one buffer, so a
    block is only valid until the next one is read.
    """

    def __init__(self, file: BinaryIO, size: int, progress: Progress) -> None:
        self._file = file
        self._size = size
        self._progress = progress

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[memoryview]:
        """Yield the blocks of the file from its beginning.

        Raises:
            RegistryError: The file is shorter than the size at the start of the push.
        """
        buffer = memoryview(bytearray(BLOCK))
        self._file.seek(0)
        done = 0
        while done < self._size:
            got = self._file.readinto(buffer[: min(BLOCK, self._size - done)])  # type: ignore[attr-defined]  # raw files have it
            if not got:
                raise RegistryError(
                    f"{self._file.name} became shorter while it was being pushed; build it again, then push it"
                )
            yield buffer[:got]
            done += got
            self._progress(done, self._size)

    def sha256(self) -> str:
        """Read the whole file again; return its sha256 in hex digits."""
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()  # type: ignore[arg-type]  # raw files have readinto


class PartialFile:
    """The file of an unfinished download, in the folder of its destination.

    Use it as a context manager. It locks the file, and appends to the data of an earlier unfinished download. `finish` moves
    the complete file to its destination.

    Args:
        destination: The path of the complete file.
        sha256: The checksum of the complete file (64 hex digits).
        size: The size of the complete file in bytes.
        progress: Receives the number of bytes received so far, and the size of the complete file in bytes.

    Raises:
        RegistryError: At the start of the with block: another process downloads the same file.
        OSError: The file cannot be created or written.
    """

    def __init__(self, destination: Path, *, sha256: str, size: int, progress: Progress) -> None:
        self._destination = destination
        self._sha256 = sha256
        self._size = size
        self._progress = progress
        self.path = destination.with_name(f".{destination.name}.{sha256[:16]}.part")
        self._file: BinaryIO | None = None
        self._hash = hashlib.sha256()
        self.done = 0

    def __enter__(self) -> Self:
        self._destination.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.__exit__()
            raise RegistryError(
                f"another download is writing {self.path}; wait until that download has ended, then try again"
            ) from None
        if os.fstat(descriptor).st_size > self._size:
            self.restart()
        while block := self._file.read(BLOCK):
            self._hash.update(block)
            self.done += len(block)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def restart(self) -> None:
        """Discard all received data, so that the next data is the beginning of the file."""
        file = self._opened()
        file.seek(0)
        file.truncate()
        self._hash = hashlib.sha256()
        self.done = 0

    def write(self, blocks: Iterable[bytes]) -> None:
        """Append `blocks` to the file.

        Raises:
            RegistryError: The file would become larger than its expected size. The file was removed.
        """
        for block in blocks:
            if self.done + len(block) > self._size:
                self.discard()
                raise RegistryError(
                    f"the registry sent more than the {self._size} bytes in the manifest; the download was discarded"
                )
            self._append(block)
            self._hash.update(block)
            self.done += len(block)
            self._progress(self.done, self._size)

    def discard(self) -> None:
        """Remove the file. Its content is wrong, so it must not be resumed."""
        self.path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Check the sha256 and move the file to its destination.

        Raises:
            RegistryError: The content has another size or sha256 than expected. The file was removed.
        """
        if self.done != self._size or self._hash.hexdigest() != self._sha256:
            self.discard()
            raise RegistryError(
                f"the download does not match sha256:{self._sha256} "
                f"(got {self.done} bytes with sha256:{self._hash.hexdigest()}); "
                "the download was discarded. The file in the registry is damaged or was replaced; report this to the "
                "registry's administrator"
            )
        file = self._opened()
        os.fsync(file.fileno())
        self.path.replace(self._destination)

    def _append(self, block: bytes) -> None:
        """Append all of `block`. If the disk becomes full, write(2) first writes a part of the data without an error."""
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[self._opened().write(rest) :]
        except OSError as error:
            error.filename = error.filename or str(self._destination)
            raise

    def _opened(self) -> BinaryIO:
        assert self._file is not None, "used outside of its with block"
        return self._file
