"""Read an installed environment as entries of an image in which its folder has another path.

An installer writes the path of an environment into its files. In text files the path has any length. In binary files it is
part of a string that ends with a NUL byte and has room for a long path (conda-build's documentation, "Making packages
relocatable"). So a shorter path is written there, and the string is filled with NUL bytes.
"""

import base64
import hashlib
import io
import json
import os
import re
import stat
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

from hpcdeploy.direct.entries import Entry
from hpcdeploy.errors import BuildError
from hpcdeploy.frozen import frozen

LARGEST_PATCHED = 2 * 10**9
"""Maximum size in bytes of a file that contains the path and is therefore rewritten in memory."""

_BLOCK = 1 << 20
_MACHINE_KEYS = ("extracted_package_dir", "package_tarball_full_path", "link")
"""Keys of a package's record that name folders of the machine that installed it."""


@frozen
class Move:
    """A change of path: `old`, which the installer wrote, becomes `new`. Both have no trailing slash."""

    old: bytes
    new: bytes


class RelocatedLayer:
    """The entries of a folder as another folder of an image, with the old path replaced by the shorter new one.

    Modes depend on no umask: files are 0755 if their owner may execute them, else 0644, and folders are 0755. Times from
    packages are kept, because compiled Python files contain the time of their source.

    Args:
        folder: The folder of the environment.
        place: The path in the image, without a leading slash.
        move: The paths.
        began: When the installation began, in seconds since 1970. Later times become `time`.
        time: The time of files that the installation wrote, in seconds since 1970.

    Raises:
        BuildError: A file is too large to be rewritten, or the new path is longer.
    """

    has_whiteouts = False
    where = "the environment"

    def __init__(self, folder: Path, place: str, move: Move, *, began: float, time: int) -> None:
        if len(move.new) > len(move.old):
            raise BuildError(
                f"the build's folder {os.fsdecode(move.old)!r} is shorter than {os.fsdecode(move.new)!r}, so the path in "
                "binary files cannot be replaced; set XDG_CACHE_HOME to a folder with a longer path"
            )
        self._folder, self._place, self._move, self._began, self._time = folder, place, move, began, time
        self._changes = {
            path: _Change(hashlib.sha256(data).digest(), len(data))
            for path in _walk(folder)
            if (data := _patched(path, move)) is not None
        }

    def entries(self) -> Generator[Entry, None, None]:
        """Yield the entries, sorted by name in each folder.

        Raises:
            BuildError: A record of a package is malformed.
        """
        for path in _walk(self._folder):
            info = path.lstat()
            name = f"{self._place}/{path.relative_to(self._folder)}" if path != self._folder else self._place
            if stat.S_ISDIR(info.st_mode):
                yield Entry(path=name, kind="folder", mode=0o755, mtime=self._time)
            elif stat.S_ISLNK(info.st_mode):
                target = str(path.readlink()).replace(os.fsdecode(self._move.old), os.fsdecode(self._move.new))
                yield Entry(path=name, kind="link", mode=0o777, target=target, mtime=self._time)
            elif stat.S_ISREG(info.st_mode):
                reader = _Reader(path, self._move, self._changes)
                yield Entry(
                    path=name,
                    mode=0o755 if info.st_mode & 0o100 else 0o644,
                    mtime=int(info.st_mtime) if info.st_mtime < self._began else self._time,
                    size=reader.size,
                    content=reader.open,
                )


class _Change(NamedTuple):
    """The sha256 of a file after the change of its path, and its size in bytes."""

    after: bytes
    size: int


class _Reader:
    """Reads the content of one file as it will be in the image.

    The content is computed when it is needed, because the changed files of one environment may be larger than the memory.
    """

    def __init__(self, path: Path, move: Move, hashes: Mapping[Path, _Change]) -> None:
        self._path, self._move, self._hashes = path, move, hashes
        self.is_record = path.parent.name == "conda-meta" and path.suffix == ".json"
        self.is_wheel_record = path.name == "RECORD" and path.parent.name.endswith(".dist-info")

    @property
    def size(self) -> int:
        """The size of the content in bytes."""
        if self.is_record or self.is_wheel_record:
            return len(self._content())
        change = self._hashes.get(self._path)
        return change.size if change else self._path.stat().st_size

    def open(self) -> IO[bytes]:
        """Open the content."""
        if self.is_record or self.is_wheel_record or self._path in self._hashes:
            return io.BytesIO(self._content())
        return self._path.open("rb")

    def _content(self) -> bytes:
        data = _patched(self._path, self._move)
        data = self._path.read_bytes() if data is None else data
        if self.is_record:
            return _record(data, self._path.parent.parent, self._hashes)
        return _wheel_record(data, self._path.parent.parent, self._hashes) if self.is_wheel_record else data


def _walk(folder: Path) -> Iterator[Path]:
    """Yield a folder and everything in it, sorted in each folder. Links are not followed."""
    yield folder
    for parent, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(parent) / name for name in sorted((*folders, *files)))


def _patched(path: Path, move: Move) -> bytes | None:
    """Return the content of a file with the path replaced; None if the file does not contain the path."""
    info = path.lstat()
    if not stat.S_ISREG(info.st_mode) or info.st_size < len(move.old) or not _contains(path, move.old):
        return None
    if info.st_size > LARGEST_PATCHED:
        raise BuildError(f"{path.name} contains the environment's path and is too large to be rewritten in memory")
    data = path.read_bytes()
    if b"\0" not in data:
        return data.replace(move.old, move.new)
    # In a binary file, replace the path up to the end of its string, and fill the string to its old length.
    text = re.compile(re.escape(move.old) + rb"[^\0]*+")
    return text.sub(lambda match: match[0].replace(move.old, move.new).ljust(len(match[0]), b"\0"), data)


def _contains(path: Path, text: bytes) -> bool:
    """Tell whether a file, which may be larger than the memory, contains a text. ``mmap.find`` takes longer."""
    rest = b""
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            if text in (block := rest + block):
                return True
            rest = block[-len(text) + 1 :]
    return False


def _record(data: bytes, prefix: Path, changes: Mapping[Path, _Change]) -> bytes:
    """Return a package's record with the new checksums and sizes, and without folders of this machine.

    The format is that of rattler's files in ``conda-meta``.
    """
    try:
        values = json.loads(data)
        for entry in values.get("paths_data", {}).get("paths", ()):
            change = changes.get(prefix / str(entry.get("_path")))
            if change is not None:
                entry["sha256_in_prefix"], entry["size_in_bytes"] = change.after.hex(), change.size
    except (ValueError, AttributeError, TypeError) as error:
        raise BuildError(f"a record in conda-meta is malformed: {error}; remove the package cache, and try again") from error
    kept = {name: value for name, value in values.items() if name not in _MACHINE_KEYS}
    return json.dumps(kept, indent=2, ensure_ascii=False).encode()


def _wheel_record(data: bytes, site: Path, hashes: Mapping[Path, _Change]) -> bytes:
    """Return a wheel's RECORD with the new checksums and sizes (PyPA specifications, "Recording installed projects")."""
    table = {os.path.relpath(path, site): values for path, values in hashes.items()}
    lines = data.decode(errors="surrogateescape").splitlines(keepends=True)

    def line(text: str) -> str:
        match = re.fullmatch(r"([^,\"]+),sha256=[^,]*,\d+(\r?\n?)", text)
        values = table.get(match[1]) if match else None
        if match is None or values is None:
            return text
        digest = base64.urlsafe_b64encode(values.after).rstrip(b"=").decode()
        return f"{match[1]},sha256={digest},{values.size}{match[2]}"

    return "".join(map(line, lines)).encode(errors="surrogateescape")
