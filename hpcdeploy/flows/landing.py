"""Bytes of a login node on their way into a file, and what is read from it as an archive: never more than was announced."""

import io
import tarfile
from typing import BinaryIO

from hpcdeploy import limits
from hpcdeploy.limits import TooMuchError, bytes_in_words

LONGEST_STATE = 256
"""Bytes of a file's size and time behind its content."""

_LONGEST_HEADER = 16 * 1024
"""Bytes that are read at once from an archive. A name that does not fit into its header has at most 4096 (PATH_MAX), and
the tarfile module reads what it calls a header whole: of any size, and one of PAX with an expression that takes quadratic
time (CVE-2024-6232)."""


class Landing:
    """Writes to `file`, from where that stands on, what stands behind a mark: at most `size` bytes.

    ``behind`` is what comes after these, and may have `LONGEST_STATE` bytes. Raises `hpcdeploy.limits.TooMuchError` for
    more, and for a banner without end before the mark.
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
        """Take what comes."""
        if not self.begun:
            piece = self._behind_the_mark(piece)
        inside = piece[: self._size - self.count]
        self._file.write(inside)
        self.count += len(inside)
        self.behind += piece[len(inside) : len(inside) + LONGEST_STATE + 1]
        if len(self.behind) > LONGEST_STATE:
            raise TooMuchError(f"sent more than the {bytes_in_words(self._size)} that it listed")

    def _behind_the_mark(self, piece: bytes) -> bytes:
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
    """A file of which nothing large is read at once."""

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
    """Open an archive as our script has tar write it: GNU's format, not packed. Raises `tarfile.TarError`.

    What is packed may hold a thousand times what came, and so may a sparse file (`copy_member`).
    """
    return tarfile.open(fileobj=_Small(file), mode="r:", encoding="utf-8", errors="surrogateescape")


def copy_member(archive: tarfile.TarFile, member: tarfile.TarInfo, target: BinaryIO) -> None:
    """Copy what a file of an archive holds; raises `tarfile.TarError` for a sparse one, which tar writes if asked only."""
    if member.issparse():
        raise tarfile.ReadError(f"{member.name!r} is sparse in it")
    source = archive.extractfile(member)
    if source is None:
        return
    with source:
        while block := source.read(_LONGEST_HEADER):
            target.write(block)
