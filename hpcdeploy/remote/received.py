"""Receive data that a script prints after a marker, and read untrusted archives in the data safely."""

import io
import tarfile
from typing import BinaryIO

from hpcdeploy import limits
from hpcdeploy.limits import TooMuchError, format_bytes

LONGEST_STATE = 256
"""Maximum length in bytes of the text after a file's content: the file's current size and time."""

_LONGEST_HEADER = 16 * 1024
"""Maximum number of bytes to read at once from an archive.

The largest valid header contains a path, which has at most 4096 bytes (PATH_MAX). A limit is needed because the tarfile
module reads a header of any size at once, and parses PAX headers in quadratic time (CVE-2024-6232).
"""


class Received:
    """Write the first `size` bytes after a marker to `file`, at its current position.

    Attributes:
        found_marker: Whether the marker was received.
        count: The number of bytes written to the file.
        behind: The bytes that follow the data, at most `LONGEST_STATE`.
    """

    def __init__(self, file: BinaryIO, mark: str, size: int) -> None:
        self._file = file
        self._mark = f"\n{mark}\n".encode()
        self._size = size
        self._banner = bytearray()
        self._searched = 0
        self.found_marker = False
        self.count = 0
        self.behind = b""

    def take(self, piece: bytes) -> None:
        """Process received bytes.

        Raises:
            TooMuchError: More than `LONGEST_STATE` bytes follow the data, or more than `hpcdeploy.limits.BANNER` bytes
                precede the marker.
        """
        if not self.found_marker:
            piece = self._after_marker(piece)
        inside = piece[: self._size - self.count]
        self._file.write(inside)
        self.count += len(inside)
        self.behind += piece[len(inside) : len(inside) + LONGEST_STATE + 1]
        if len(self.behind) > LONGEST_STATE:
            raise TooMuchError(f"sent more than the {format_bytes(self._size)} that it listed")

    def _after_marker(self, piece: bytes) -> bytes:
        self._banner += piece
        place = self._banner.find(self._mark, self._searched)
        if place < 0:
            self._searched = max(0, len(self._banner) - len(self._mark))
            if len(self._banner) > limits.BANNER:
                raise TooMuchError(f"printed more than {format_bytes(limits.BANNER)} before its answer")
            return b""
        self.found_marker = True
        rest = bytes(self._banner[place + len(self._mark) :])
        self._banner.clear()
        return rest


class _BoundedReads(io.RawIOBase):
    """A file that raises an error if a caller requests more than `_LONGEST_HEADER` bytes at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"the archive has a header of {size} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def open_archive(file: BinaryIO) -> tarfile.TarFile:
    """Open an archive in the format that our script requests from tar: GNU format, not compressed.

    Compressed archives are rejected, because they may expand a thousandfold. For the same reason `copy_member` rejects
    sparse files.

    Raises:
        tarfile.TarError: The archive is malformed.
    """
    return tarfile.open(fileobj=_BoundedReads(file), mode="r:", encoding="utf-8", errors="surrogateescape")


def copy_member(archive: tarfile.TarFile, member: tarfile.TarInfo, target: BinaryIO) -> None:
    """Copy the content of a file in an archive to `target`.

    Raises:
        tarfile.TarError: The file is sparse. An archive of our script has none: tar writes sparse files only if requested.
    """
    if member.issparse():
        raise tarfile.ReadError(f"{member.name!r} is a sparse file, which hpcdeploy does not request")
    source = archive.extractfile(member)
    if source is None:
        return
    with source:
        while block := source.read(_LONGEST_HEADER):
            target.write(block)
