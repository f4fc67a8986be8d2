"""Define the entries of a layer: files, folders and links with their metadata, and where their content comes from."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import IO, BinaryIO, Literal, Protocol

from hpcdeploy.errors import BuildError
from hpcdeploy.frozen import frozen

Kind = Literal["file", "folder", "link", "hard link", "pipe", "device"]

LONGEST_PATH = 4096
"""Maximum length of a path in bytes (PATH_MAX, limits.h)."""

LONGEST_NAME = 256
"""Maximum length of one component of a path in bytes (SQUASHFS_NAME_LEN, fs/squashfs/squashfs_fs.h)."""


class CheckedContent(io.FileIO):
    """A file whose sha256 must be `expected`. The end of its with block raises `BuildError` if it is another one."""

    def __init__(self, path: Path, expected: str) -> None:
        super().__init__(path)
        self._path, self._expected = path, expected
        self._sha256 = hashlib.sha256()

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes."""
        block = super().read(-1 if size is None else size)
        self._sha256.update(block)
        return block

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self.close()
        if kind is None and self._sha256.hexdigest() != self._expected:
            raise BuildError(
                f"{self._path} changed while the build was prepared; run the same command again when the file no longer "
                "changes"
            )


@frozen
class Entry:
    """One entry of a layer.

    Attributes:
        path: The path in the image without a leading slash, such as ``usr/bin/env``; empty for the root folder.
        kind: What the entry is. A hard link has no metadata of its own.
        mode: The permissions, with the set-id and sticky bits.
        mtime: The time of the last change, in seconds since 1970.
        uid: The owner's number.
        gid: The group's number.
        size: The size of a file's content in bytes.
        target: The target of a link: for a hard link a path as in `path`, for a symbolic link any text.
        xattrs: Extended attributes, as pairs of a full name, such as ``security.capability``, and a value.
        content: Opens the content of a file. It is valid only until the layer yields the next entry.
    """

    path: str
    kind: Kind = "file"
    mode: int = 0o644
    mtime: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    target: str = ""
    xattrs: tuple[tuple[str, str], ...] = ()
    content: Callable[[], IO[bytes]] | None = None


class Layer(Protocol):
    """Entries that are applied on top of earlier layers.

    Attributes:
        has_whiteouts: Names such as ``.wh.NAME`` remove entries of earlier layers (OCI image specification, layer.md).
    """

    has_whiteouts: bool

    def entries(self) -> Generator[Entry, None, None]:
        """Yield the entries. Each call yields the same entries in the same order."""
        ...


class OwnLayer:
    """A layer of entries that are in memory or on this machine's disk."""

    has_whiteouts = False

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = tuple(entries)

    def entries(self) -> Generator[Entry, None, None]:
        """Yield the entries."""
        yield from self._entries


def text_entry(path: str, content: str | bytes, *, mode: int = 0o644, mtime: int = 0) -> Entry:
    """Return the entry of a file with this `content`."""
    data = content.encode() if isinstance(content, str) else content
    return Entry(path=path, mode=mode, mtime=mtime, size=len(data), content=lambda: io.BytesIO(data))


def plain_path(name: str, where: str) -> str:
    """Return a path from a layer without ``./``, ``//`` and leading or trailing slashes.

    Raises:
        BuildError: The path has ``..``, is too long, or has a NUL byte. `where` is the layer, for the message.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BuildError(f"{where} has the path {name[:200]!r}, which leads out of the image; do not use this image")
    path = "/".join(parts)
    size = len(path.encode(errors="surrogateescape"))
    longest = max((len(part.encode(errors="surrogateescape")) for part in parts), default=0)
    if "\0" in path or size > LONGEST_PATH or longest > LONGEST_NAME:
        raise BuildError(
            f"{where} has a path that no file system can have: {path[:80]!r}... of {size} bytes; do not use this image"
        )
    return path


def write_entry(out: BinaryIO, entry: Entry, path: str) -> None:
    """Write an entry at `path` to a tar stream for mksquashfs. Owners are numbers, and times are whole seconds.

    Only an entry with extended attributes gets a PAX header. Others have GNU's headers for long names: mksquashfs of
    squashfs-tools 4.5.1 removes the leading slash of a symbolic link's target in a PAX header.

    Raises:
        BuildError: The content is shorter than the entry's size.
        OSError: The stream cannot be written.
    """
    info = tarfile.TarInfo(path or ".")
    info.mode, info.uid, info.gid = entry.mode & 0o7777, entry.uid, entry.gid
    info.mtime = stored_time(entry.mtime)
    info.type = _TYPES[entry.kind]
    if entry.kind == "file":
        info.size = entry.size
    elif entry.kind in ("link", "hard link"):
        info.linkname = entry.target
    info.pax_headers = {f"SCHILY.xattr.{name}": value for name, value in entry.xattrs}
    out.write(info.tobuf(tarfile.PAX_FORMAT if entry.xattrs else tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
    if entry.kind == "file" and entry.content is not None and entry.size:
        with entry.content() as content:
            _copy(out, content, entry.size, path)
        out.write(bytes(-entry.size % tarfile.BLOCKSIZE))


def stored_time(mtime: int) -> int:
    """Return a time as squashfs can store it."""
    return min(max(mtime, 0), _LAST_TIME)


def _copy(out: BinaryIO, content: IO[bytes], size: int, path: str) -> None:
    while size:
        block = content.read(min(size, _BLOCK))
        if not block:
            raise BuildError(f"{path!r} became shorter during the build; build again")
        out.write(block)
        size -= len(block)


_BLOCK = 1 << 20
_LAST_TIME = 2**32 - 1
"""The last time that squashfs can store (32 bits without sign)."""

_TYPES = {
    "file": tarfile.REGTYPE, "folder": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE,
    "pipe": tarfile.FIFOTYPE,
}  # fmt: skip
