"""Receive data that a script sends after a marker, and unpack the archives in it without trusting them."""

import io
import tarfile
from typing import BinaryIO

from hpcdeploy import limits
from hpcdeploy.limits import TooMuchError, bytes_in_words

LONGEST_STATE = 256
"""Maximum size in bytes of the size and time that follow a file's content."""

_LONGEST_HEADER = 16 * 1024
"""Maximum number of bytes to read at once from an archive.

A name that does not fit into its header has at most 4096 bytes (PATH_MAX). The tarfile module reads a header in one piece,
whatever its size, and parses PAX headers with an expression that takes quadratic time (CVE-2024-6232).
"""


class Received:
    """Write the data after a marker to `file`, at its current position: at most `size` bytes.

    Attributes:
        began: The marker was received.
        count: The number of bytes written.
        behind: Up to `LONGEST_STATE` bytes that follow the data.
    """

    def __init__(self, file: BinaryIO, mark: str, size: int) -> None:
        self._file = file
        self._mark = f"\n{mark}\n".encode()
        self._size = size
        self._banner = bytearray()
        self._searched = 0
        self.began = False
        self.count = 0
        self.behind = b""

    def take(self, piece: bytes) -> None:
        """Process received bytes.

        Raises:
            TooMuchError: There is more data than announced, or too much output before the marker.
        """
        if not self.began:
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
        self.began = True
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
