"""Read an installed environment as entries of an image in which its folder has another path.

An installer writes the path of an environment into its files. In text files the path has any length. In binary files it is
part of a string that ends with a NUL byte and has room for a long path (conda-build's documentation, "Making packages
relocatable"). So a shorter path is written there, and the string is filled with NUL bytes.
"""

import base64
import hashlib
import io
import json
import mmap
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from hpcdeploy.direct.entries import Entry
from hpcdeploy.errors import BuildError

LARGEST_PATCHED = 2 * 10**9
"""Maximum size in bytes of a file that contains the path and is therefore rewritten in memory."""

_MACHINE_KEYS = ("extracted_package_dir", "package_tarball_full_path", "link")
"""Keys of a package's record that name folders of the machine that installed it."""


def relocated(folder: Path, place: str, old: bytes, new: bytes, *, time: int) -> Iterator[Entry]:
    """Yield the entries of `folder` as the folder `place` of an image, with each path `old` replaced by the shorter `new`.

    Modes depend on no umask: files are 0755 if their owner may execute them, else 0644, and folders are 0755. Times from
    packages are kept, because compiled Python files contain the time of their source. Later times become `time`.

    Args:
        folder: The folder of the environment.
        place: The path in the image, without a leading slash.
        old: The path that the installer wrote, without a trailing slash.
        new: The path in the image that replaces it.
        time: The time of files that the installation wrote, in seconds since 1970.

    Raises:
        BuildError: A file is too large to be rewritten, or the paths do not allow it.
    """
    if len(new) > len(old):
        raise BuildError(f"the build's folder {os.fsdecode(old)!r} is shorter than {os.fsdecode(new)!r}; use a longer path")
    paths = sorted(_walk(folder))
    newest = _installation_began(folder)
    changed = {path: data for path in paths if (data := _patched(path, old, new)) is not None}
    hashes = {path: (_sha256(path.read_bytes()), _sha256(data), len(data)) for path, data in changed.items()}
    for path in paths:
        info = path.lstat()
        mtime = int(info.st_mtime) if info.st_mtime < newest else time
        name = f"{place}/{path.relative_to(folder)}" if path != folder else place
        if stat.S_ISDIR(info.st_mode):
            yield Entry(path=name, kind="folder", mode=0o755, mtime=time)
        elif stat.S_ISLNK(info.st_mode):
            target = os.readlink(path).replace(os.fsdecode(old), os.fsdecode(new))
            yield Entry(path=name, kind="link", mode=0o777, target=target, mtime=mtime)
        elif stat.S_ISREG(info.st_mode):
            mode = 0o755 if info.st_mode & 0o100 else 0o644
            data = changed.get(path)
            if path.parent.name == "conda-meta" and path.suffix == ".json":
                data = _record(data if data is not None else path.read_bytes(), hashes.values())
            elif path.name == "RECORD" and path.parent.name.endswith(".dist-info"):
                data = _wheel_record(data if data is not None else path.read_bytes(), path.parent.parent, hashes)
            yield _file(name, path, data, mode, mtime, info.st_size)


def _file(name: str, path: Path, data: bytes | None, mode: int, mtime: int, size: int) -> Entry:
    def content() -> IO[bytes]:
        return path.open("rb") if data is None else io.BytesIO(data)

    return Entry(path=name, mode=mode, mtime=mtime, size=size if data is None else len(data), content=content)


def _walk(folder: Path) -> Iterator[Path]:
    yield folder
    for parent, folders, files in os.walk(folder):
        yield from (Path(parent) / name for name in (*folders, *files))


def _installation_began(folder: Path) -> float:
    """Return the time at which the installer began: all files that it did not take from a package are newer."""
    times = [path.stat().st_mtime for path in (folder / "conda-meta").glob("*") if path.is_file()]
    times += [parent.stat().st_mtime for parent in (folder, *folder.glob("*")) if parent.is_dir()]
    return min(times, default=0.0) - 3600


def _patched(path: Path, old: bytes, new: bytes) -> bytes | None:
    """Return the content of a file with the path replaced; None if the file does not contain the path."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size < len(old):
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(old) < 0:
            return None
        if len(content) > LARGEST_PATCHED:
            raise BuildError(f"{path.name} contains the environment's path and is too large to be rewritten in memory")
        data = content[:]
    if b"\0" not in data:
        return data.replace(old, new)
    pieces = data.split(b"\0")
    return b"\0".join(_padded(piece, old, new) if old in piece else piece for piece in pieces)


def _padded(text: bytes, old: bytes, new: bytes) -> bytes:
    """Replace the path in a string of a binary file, and fill the string with NUL bytes to its old length."""
    return text.replace(old, new).ljust(len(text), b"\0")


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _record(data: bytes, hashes: "object") -> bytes:
    """Return a package's record with the new checksums, and without folders of this machine."""
    for before, after, _ in cast("list[tuple[bytes, bytes, int]]", hashes):
        data = data.replace(before.hex().encode(), after.hex().encode())
    try:
        values = json.loads(data)
    except ValueError as error:
        raise BuildError(f"a record in conda-meta is not valid JSON: {error}; remove the package cache and try again") from error
    if not isinstance(values, dict):
        return data
    kept = {name: value for name, value in values.items() if name not in _MACHINE_KEYS}
    return json.dumps(kept, indent=2, ensure_ascii=False).encode()


def _wheel_record(data: bytes, site: Path, hashes: dict[Path, tuple[bytes, bytes, int]]) -> bytes:
    """Return a wheel's RECORD with the new checksums and sizes (PyPA specifications, "Recording installed projects")."""
    table = {os.path.relpath(path, site): values for path, values in hashes.items()}
    lines = data.decode(errors="surrogateescape").splitlines(keepends=True)

    def line(text: str) -> str:
        match = re.fullmatch(r"([^,\"]+),sha256=[^,]*,\d+(\r?\n?)", text)
        values = table.get(match[1]) if match else None
        if match is None or values is None:
            return text
        digest = base64.urlsafe_b64encode(values[1]).rstrip(b"=").decode()
        return f"{match[1]},sha256={digest},{values[2]}{match[2]}"

    return "".join(map(line, lines)).encode(errors="surrogateescape")
