"""Pack a folder of this machine into an archive that is named by its sha256. The same files give the same archive."""

import errno
import hashlib
import io
import os
import stat
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.ignoring import IGNORE_FILE, Rule, kept, leaves_out, read_rules
from hpcdeploy.frozen import frozen
from hpcdeploy.git import is_refused, list_files, run_git
from hpcdeploy.git_changes import has_changes
from hpcdeploy.private import private_folder
from hpcdeploy.regular_file import LARGEST_TEXT, read_regular
from hpcdeploy.whole_file import part_name, whole_file

NEVER = frozenset({".git", ".pixi", ".hpcdeploy", "__pycache__", ".DS_Store"})
"""Names of files and folders that are never uploaded as code: git's history, caches, and environments of this machine."""

CACHES = NEVER | {
    *(".env", ".venv", ".tox", ".nox", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints", "node_modules"),
}
"""Names that are not uploaded as code from a folder without git: `NEVER`, more caches, and ``.env``, which usually has
secrets.
"""

FETCHED = ".hpcdeploy-run"
"""The name of the file by which ``hpcdeploy fetch`` marks a download folder.

Code does not include such folders, because results are not code, and new results would change the snapshot.
"""

_TIME = 315532800
"""Modification time of every file in an archive, in seconds since 1970: the first second of 1980.

It is not 0, because GNU tar warns about files from 1970-01-01 00:00 UTC or earlier ("implausibly old time stamp").
"""

_KEPT = 30 * 86400
"""Time in seconds (30 days) after which an archive on this machine is removed, counted from when it was last packed."""

_ANOTHER_FILE = (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
"""Values of `OSError.errno` that mean that a file was replaced or cut after it was listed.

None is the value if a file ends before the size in its header was read (tarfile.copyfileobj raises OSError without errno).
"""


@frozen
class Tree:
    """The files of a folder that are uploaded.

    Attributes:
        folder: The folder's path.
        names: Paths of the files, relative to `folder`, sorted by their bytes.
        size: Total size of the files in bytes.
        astray: Pairs of a link in `names` and its target, if the target is not uploaded.
        absent: Paths of submodules that are not checked out, relative to `folder`.
        commit: The commit's id; empty if there is no commit, or if git did not report one.
        dirty: Whether the files differ from the commit; None if unknown.
        refused: git did not report the commit, because the work tree belongs to another user.
    """

    folder: Path
    names: tuple[str, ...]
    size: int
    astray: tuple[tuple[str, str], ...] = ()
    absent: tuple[str, ...] = ()
    commit: str = ""
    dirty: bool | None = False
    refused: bool = False


@frozen
class Packed:
    """The sha256 and size in bytes of an archive."""

    sha256: str
    size: int


class Sink(Protocol):
    """A destination for bytes."""

    def write(self, block: bytes, /) -> object:
        """Write a piece."""


def look(folder: Path, *, is_code: bool = True) -> Tree:
    """Find the files of `folder` to upload.

    These files are found:

    - code in a git work tree: the files that git tracks or would track, including checked-out submodules
    - code in any other folder: all files except `CACHES` and files that ``.gitignore`` excludes
    - data (not `is_code`): all files, because git often ignores data

    Code never includes `NEVER`, ``.sif`` files and download folders of ``hpcdeploy fetch``. Files that ``.hpcdeployignore``
    excludes are never found. Links are uploaded as links.

    Raises:
        ConfigError: `folder` is not a folder, cannot be read, or has no file to upload.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder on this machine; expected the folder whose files are uploaded")
    absent: list[str] = []
    try:
        listed = _listed_by_git(folder, absent) if is_code else None
        names = listed if listed is not None else list(_walk(folder, "", (), is_code=is_code))
        names = _without_fetched(names) if is_code else names
        found = {name: (folder / name).lstat() for name in names}
        links = {name: os.readlink(folder / name) for name in names if stat.S_ISLNK(found[name].st_mode)}  # noqa: PTH115
    except OSError as error:
        raise ConfigError(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    if not names:
        raise ConfigError(f"{folder} has no file to upload; expected files that neither git nor {IGNORE_FILE} ignores")
    commit, dirty, refused = _facts(folder) if listed is not None else ("", False, False)
    return Tree(
        folder=folder,
        names=tuple(sorted(names, key=os.fsencode)),
        size=sum(status.st_size for status in found.values()),
        astray=_astray(links, names),
        absent=tuple(absent),
        commit=commit,
        dirty=dirty,
        refused=refused,
    )


def pack(tree: Tree, sink: Sink) -> Packed:
    """Write `tree` to `sink` as a tar archive with the names, links, contents and executable bits.

    Owners, times and other permissions are not stored, as in git. Therefore the archive only changes with the files.

    Raises:
        ConfigError: A file cannot be read, or changes while it is packed.
        OSError: Writing to `sink` failed.
    """
    hashed = _Hashed(sink)
    # The GNU format keeps every name as bytes; PAX requires UTF-8.
    options = {"format": tarfile.GNU_FORMAT, "encoding": "utf-8", "errors": "surrogateescape"}
    with tarfile.open(fileobj=hashed, mode="w|", **options) as archive:  # type: ignore[call-overload]
        for name in tree.names:
            path = tree.folder / name
            try:
                _add(archive, name, path)
            except OSError as error:
                if error.errno in _ANOTHER_FILE:
                    raise changed(path) from error
                if error.filename != str(path):
                    raise  # the archive could not be written
                raise ConfigError(
                    f"{path} cannot be read: {error.strerror}; make it readable, or exclude it in {IGNORE_FILE}"
                ) from error
    return Packed(sha256=hashed.sha256.hexdigest(), size=hashed.size)


def keep(tree: Tree, folder: Path) -> tuple[Packed, Path]:
    """Write the archive of `tree` into `folder`, named by its sha256; return the archive's checksum, size and path.

    The archive is kept for `_KEPT` seconds, because an interrupted submission needs the same archive when it is resumed,
    even if the files have changed since. This function also removes older archives.

    Raises:
        ConfigError: A file cannot be read, or changes while it is packed.
        OSError: The archive cannot be written.
    """
    private_folder(folder)
    for old in folder.iterdir():
        with suppress(FileNotFoundError):  # a concurrent call renames its archive
            if old.lstat().st_mtime < time.time() - _KEPT:
                old.unlink()
    fresh = Path(part_name(str(folder / "snapshot")))
    with whole_file(fresh, private=True) as file:
        packed = pack(tree, file)
    path = folder / f"{packed.sha256}.tar"
    fresh.replace(path)
    return packed, path


def largest(tree: Tree, count: int = 3) -> list[tuple[str, int]]:
    """Return the `count` largest files and folders at the top level of `tree`, each with its size in bytes."""
    sizes: dict[str, int] = {}
    for name in tree.names:
        top, slash, _ = name.partition("/")
        sizes[top + slash] = sizes.get(top + slash, 0) + (tree.folder / name).lstat().st_size
    return sorted(sizes.items(), key=lambda item: -item[1])[:count]


def changed(path: Path) -> ConfigError:
    """Return the error for a file that changed while it was read."""
    return ConfigError(f"{path} changed while it was packed; run the same command again when it no longer changes")


def _add(archive: tarfile.TarFile, name: str, path: Path) -> None:
    entry = tarfile.TarInfo(name)
    entry.mtime = _TIME
    if path.is_symlink():
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, os.readlink(path), 0o777  # noqa: PTH115 - as it is: Path drops "./"
        archive.addfile(entry)
        return
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise changed(path)
        entry.size, entry.mode = before.st_size, 0o755 if before.st_mode & 0o100 else 0o644
        archive.addfile(entry, file)  # raises OSError for a file that ends early
        after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise changed(path)


class _Hashed(io.RawIOBase):
    """Write bytes to a sink, and compute their sha256 and number."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.sha256 = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, block: bytes) -> int:  # type: ignore[override]  # tarfile writes bytes only
        self._sink.write(block)
        self.sha256.update(block)
        self.size += len(block)
        return len(block)


class Nowhere:
    """Discard bytes, to compute the checksum of an archive."""

    def write(self, block: bytes, /) -> None:
        """Discard a piece."""


def _listed_by_git(folder: Path, absent: list[str], base: str = "") -> list[str] | None:
    """Return the files under `folder` that git tracks or would track; None without a work tree or an installed git.

    git lists a submodule or a nested work tree as one name, so this function lists its files with another call of git. A
    submodule that is not checked out is an empty folder (git-submodule(1)). Its path is added to `absent`; `base` is the
    prefix of that path.
    """
    listed = list_files(folder, "--cached", "--others", "--exclude-standard")
    if listed is None:
        return None
    names: list[str] = []
    links: dict[str, bool] = {}
    for raw in sorted({name.rstrip("/") for name in listed}):
        path = folder / raw
        if any(_is_link(folder, parent, links) for parent in _parents(raw)):
            continue
        if path.is_dir() and not path.is_symlink():
            if (path / ".git").exists():
                names += (f"{raw}/{inner}" for inner in (_listed_by_git(path, absent, f"{base}{raw}/") or ()))
            else:
                absent.append(f"{base}{raw}")
        elif _is_uploaded(raw.split("/"), NEVER) and _is_file(path):
            names.append(raw)
    return kept(_rules_of(folder, names), names)


def _rules_of(folder: Path, names: Sequence[str]) -> tuple[Rule, ...]:
    """Read the ``.hpcdeployignore`` files of all folders that contain one of the files `names`, the deepest folder last."""
    folders = {"", *(parent for name in names for parent in _parents(name))}
    return tuple(
        rule
        for base in sorted(folders, key=lambda base: (base.count("/") + bool(base), base))
        for rule in _read(folder / base / IGNORE_FILE, base)
    )


def _walk(folder: Path, base: str, above: tuple[Rule, ...], *, is_code: bool) -> Iterator[str]:
    """Yield the files below the subfolder `base` of `folder` that are not excluded; `above` are the outer folders' rules."""
    here = folder / base
    rules = (*above, *(_read(here / ".gitignore", base) if is_code else ()), *_read(here / IGNORE_FILE, base))
    for name in sorted(os.listdir(here)):  # noqa: PTH208 - names in an order of their own
        path, relative = here / name, f"{base}/{name}" if base else name
        is_folder = path.is_dir() and not path.is_symlink()
        if (is_code and not _is_uploaded([name], CACHES)) or leaves_out(rules, relative, is_folder=is_folder):
            continue
        if is_folder:
            yield from _walk(folder, relative, rules, is_code=is_code)
        elif _is_file(path):
            yield relative


def _read(file: Path, base: str) -> tuple[Rule, ...]:
    try:
        return read_rules(read_regular(file, LARGEST_TEXT).decode("utf-8", "surrogateescape"), base)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ()


def _is_uploaded(parts: Sequence[str], left_out: frozenset[str]) -> bool:
    """Tell whether a path may be uploaded: it has no component in `left_out`, and is not a ``.sif``."""
    return not left_out.intersection(parts) and not parts[-1].endswith(".sif")


def _is_link(folder: Path, name: str, known: dict[str, bool]) -> bool:
    """Tell whether the path `name` in `folder` is a link; results are cached in `known`.

    If the parent folder of a tracked file has become a link, git treats the file as deleted, because the link may have any
    target (symlinks.c, has_symlink_leading_path). Such a file is therefore not uploaded.
    """
    if name not in known:
        known[name] = (folder / name).is_symlink()
    return known[name]


def _is_file(path: Path) -> bool:
    """Tell whether `path` is a regular file or a link.

    git also lists deleted files, and a folder may have sockets and pipes, which cannot be uploaded.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def _without_fetched(names: list[str]) -> list[str]:
    """Return `names` without the files in download folders of ``hpcdeploy fetch``, which have the file `FETCHED`."""
    marked = tuple(name.removesuffix(FETCHED) for name in names if name.endswith(f"/{FETCHED}"))
    return [name for name in names if not name.startswith(marked)] if marked else names


def _astray(links: Mapping[str, str], names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the links, with their targets, whose targets are not among the files `names` or their folders."""
    if not links:
        return ()
    there = {"", *names, *(parent for name in names for parent in _parents(name))}

    def stays(name: str, target: str, steps: int = 40) -> bool:
        """Tell whether a link leads to an uploaded file, through at most 40 links, as in Linux (path_resolution(7))."""
        place = os.path.normpath(f"{name.rpartition('/')[0] or '.'}/{target}")
        through = next((one for one in (place, *_parents(place)) if one in links), None)
        if target.startswith("/") or not steps:
            return False
        if through is None:
            return place in there or place == "."
        return stays(through, f"{links[through]}{place[len(through) :]}", steps - 1)

    return tuple((name, target) for name, target in sorted(links.items()) if not stays(name, target))


def _parents(name: str) -> Iterator[str]:
    """Yield the folders that contain the path `name`, the innermost first."""
    while name := name.rpartition("/")[0]:
        yield name


def _facts(folder: Path) -> tuple[str, bool | None, bool]:
    """Return the facts that git reports about the work tree `folder`.

    Returns:
        The commit's id, which is empty if there is no commit or git did not report one; whether the files differ from the
        commit (None if unknown); and whether git rejected the work tree because it belongs to another user.
    """
    commit = run_git(folder, "rev-parse", "--verify", "HEAD")
    return (
        commit.stdout.decode().strip() if commit and not commit.returncode else "",
        has_changes(folder, "--", "."),
        is_refused(commit),
    )
