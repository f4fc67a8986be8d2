"""Read the layers of OCI images: tar archives, compressed with gzip or zstd or not at all."""

import contextlib
import hashlib
import queue
import tarfile
import threading
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import IO, BinaryIO, NoReturn, Self, cast

from hpcdeploy.direct.entries import Entry, Kind
from hpcdeploy.errors import BuildError

OpenBlob = Callable[[], BinaryIO]
_BLOCK = 1 << 20
_AHEAD = 4
"""Maximum number of blocks that are decompressed before they are read (`_ReadAhead`)."""

_BUFFER = 32 << 10
"""Size of tarfile's buffer in bytes. tarfile copies the buffer for each header, so a large one takes long."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"

_LONGEST_HEADER = 1 << 20
"""Maximum size in bytes of a PAX or GNU header. tarfile reads a header into memory, and a short blob may decompress to
gigabytes."""

_MOST_BEHIND = 64 << 20
"""Maximum number of bytes after the end of an archive. Archives are padded to blocks of up to 10 MB."""

_KINDS: dict[bytes, Kind] = {
    tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.CONTTYPE: "file", tarfile.GNUTYPE_SPARSE: "file",
    tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "link", tarfile.LNKTYPE: "hard link", tarfile.FIFOTYPE: "pipe",
    tarfile.CHRTYPE: "device", tarfile.BLKTYPE: "device",
}  # fmt: skip


class MissingZstdError(BuildError):
    """A layer is compressed with zstd, and no library for zstd is installed."""


class TarLayer:
    """A layer of an OCI image.

    Args:
        open_blob: Opens the layer's file.
        where: The layer, for messages.
        diff_id: The sha256 digest of the archive without compression (``sha256:...``), from the image's configuration.
            The first reading checks it. Empty to check nothing.
    """

    has_whiteouts = True

    def __init__(self, open_blob: OpenBlob, where: str, *, diff_id: str = "") -> None:
        self._open_blob = open_blob
        self.where = where
        self._unchecked = diff_id

    def entries(self) -> Generator[Entry, None, None]:
        """Yield the entries in the order of the archive.

        Raises:
            BuildError: The archive is damaged, has another digest, or needs a library for zstd that is not installed.
        """
        sha256 = hashlib.sha256()
        try:
            with self._open_blob() as blob:
                blocks = decompressed(blob)
                with _ReadAhead(_hashed(blocks, sha256) if self._unchecked else blocks) as stream:
                    yield from _members(stream, self.where)
                    if self._unchecked:
                        self._check(stream, sha256)
        except (tarfile.TarError, EOFError, zlib.error, ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise  # an error of this machine; those of tarfile have no number
            raise BuildError(f"{self.where} is damaged: {error}; create the image again") from error

    def _check(self, stream: "_ReadAhead", sha256: "hashlib._Hash") -> None:
        rest = 0
        while block := stream.read(_BLOCK):
            rest += len(block)
            if rest > _MOST_BEHIND:
                raise BuildError(f"{self.where} has more than {_MOST_BEHIND} bytes after its end; do not use this image")
        found = f"sha256:{sha256.hexdigest()}"
        if found != self._unchecked:
            raise BuildError(
                f"{self.where} has the digest {found} without compression; expected {self._unchecked}: the image "
                "is damaged, or was modified on the way"
            )
        self._unchecked = ""


class _ReadAhead:
    """A stream that a thread fills while it is read, so that decompression uses a second processor.

    zlib, zstandard and hashlib release Python's lock while they work. At most `_AHEAD` blocks wait to be read.
    """

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._waiting: queue.Queue[bytes | Exception] = queue.Queue(_AHEAD)
        self._ended = threading.Event()
        self._block, self._position = b"", 0
        self._thread = threading.Thread(target=self._fill, args=(blocks,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._waiting.get(timeout=0.01)  # the thread may wait for room
        self._thread.join()

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; none at the end."""
        if self._position == len(self._block):
            found = self._waiting.get() if not self._ended.is_set() else b""
            if isinstance(found, Exception) or not found:
                self._ended.set()
            if isinstance(found, Exception):
                raise found
            self._block, self._position = found, 0
        start, self._position = self._position, min(self._position + size, len(self._block))
        return self._block[start : self._position]

    def _fill(self, blocks: Iterator[bytes]) -> None:
        try:
            for block in blocks:
                if self._ended.is_set():
                    return
                self._waiting.put(block)
            self._waiting.put(b"")
        except Exception as error:  # noqa: BLE001  # the reader raises it
            self._waiting.put(error)


def _hashed(blocks: Iterator[bytes], sha256: "hashlib._Hash") -> Iterator[bytes]:
    for block in blocks:
        sha256.update(block)
        yield block


def decompressed(blob: BinaryIO) -> Iterator[bytes]:
    """Yield blocks of a stream without its compression, which its first bytes show.

    Raises:
        MissingZstdError: The stream is compressed with zstd, and no library for zstd is installed.
        EOFError: The compressed stream is damaged or not complete.
        zlib.error: The compressed stream is damaged.
    """
    head = blob.read(4)
    blob.seek(0)
    if head.startswith(_GZIP):
        yield from _inflated(blob)
    elif head == _ZSTD:
        yield from _without_zstd(blob)
    else:
        while block := blob.read(_BLOCK):
            yield block


def _inflated(blob: BinaryIO) -> Iterator[bytes]:
    """Yield the content of a gzip file, which may have several members (RFC 1952) and zeros behind them.

    Blocks of 1 MB are read three times as fast as `gzip.GzipFile` reads (8 KB in Python 3.11).
    """
    decoder = zlib.decompressobj(wbits=31)
    begun = False
    while data := blob.read(_BLOCK):
        while data:
            if not begun and not (data := data.lstrip(b"\0")):
                break
            begun = True
            if block := decoder.decompress(data, _BLOCK):
                yield block
            data = decoder.unconsumed_tail
            if decoder.eof:
                data, begun = decoder.unused_data, False
                decoder = zlib.decompressobj(wbits=31)
    if begun:
        raise EOFError("the compressed file ends before the end of its content")


def _without_zstd(blob: BinaryIO) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError as error:
        raise MissingZstdError(
            "a layer is compressed with zstd, which needs the library zstandard: pip install 'hpcdeploy[direct]'"
        ) from error
    # The window of 128 MiB is the largest that zstd(1) reads by default (zstd(1), --long).
    with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(blob, read_across_frames=True) as plain:
        try:
            while block := plain.read(_BLOCK):
                yield block
        except zstandard.ZstdError as error:
            raise EOFError(str(error)) from error


class _Header(tarfile.TarInfo):
    """A tar header that refuses extended headers above `_LONGEST_HEADER`, and sparse files.

    A few bytes can expand to a map of a sparse file that fills the memory. Tools for images write no sparse files.
    """

    def _refuse_sparse(self, *_arguments: object) -> NoReturn:
        raise tarfile.ReadError("a sparse file, which hpcdeploy does not read")

    # The methods with which tarfile reads maps (Python 3.11 to 3.14).
    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse

    def _proc_member(self, archive: tarfile.TarFile) -> "tarfile.TarInfo":
        # tarfile documents this method as its extension point in a comment above its definition.
        if self.type not in _KINDS and self.size > _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes; expected at most {_LONGEST_HEADER}")
        return cast("tarfile.TarInfo", super()._proc_member(archive))  # type: ignore[misc]  # not in typeshed


def _members(stream: object, where: str) -> Iterator[Entry]:
    with contextlib.closing(
        tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|", bufsize=_BUFFER, tarinfo=_Header)
    ) as archive:
        for info in archive:
            archive.members = []  # type: ignore[attr-defined]  # tarfile keeps all members, which may be a million
            kind = _KINDS.get(info.type)
            if kind is not None:
                yield _entry(info, kind, archive, where)


def _entry(info: tarfile.TarInfo, kind: Kind, archive: tarfile.TarFile, where: str) -> Entry:
    def content() -> IO[bytes]:
        opened = archive.extractfile(info)
        if opened is None:
            raise BuildError(f"{where} has no content for {info.name[:200]!r}; create the image again")
        return opened

    return Entry(
        path=info.name,
        kind=kind,
        mode=info.mode & 0o7777,
        mtime=int(info.mtime),
        uid=_number(info.uid),
        gid=_number(info.gid),
        size=info.size if kind == "file" else 0,
        target=info.linkname,
        xattrs=tuple(sorted(_xattrs(info.pax_headers))),
        content=content if kind == "file" else None,
    )


def _number(owner: int) -> int:
    return owner if 0 <= owner < 2**32 else 0


def _xattrs(headers: "dict[str, str] | object") -> Iterator[tuple[str, str]]:
    """Yield the extended attributes that a squashfs image keeps.

    Capabilities and the user's attributes are kept. Attributes of overlay file systems and of rootless tools describe how a
    layer was stored, and access control lists name users of another machine.
    """
    for key, value in cast("dict[str, str]", headers).items():
        name = key.removeprefix("SCHILY.xattr.")
        ours = name == "security.capability" or name.startswith("user.")
        if name != key and ours and not name.startswith(("user.overlay.", "user.rootlesscontainers", "user.containers.")):
            yield name, value
