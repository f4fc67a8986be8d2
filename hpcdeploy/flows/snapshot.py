"""Pack a folder of this machine into an archive that is named by its checksum. The same files result in the same bytes."""

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
from hpcdeploy.git import ask_git, is_refused, list_files
from hpcdeploy.git_changes import has_changes
from hpcdeploy.private import private_folder
from hpcdeploy.regular_file import LARGEST_TEXT, read_regular
from hpcdeploy.whole_file import part_name, whole_file

NEVER = frozenset({".git", ".pixi", ".hpcdeploy", "__pycache__", ".DS_Store"})
"""Names that are never uploaded: history, caches and environments of this machine."""

CACHES = NEVER | {
    *(".env", ".venv", ".tox", ".nox", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints", "node_modules"),
}
"""Names that are not uploaded either if git does not list the files: caches, and ``.env``, which usually has secrets."""

FETCHED = ".hpcdeploy-run"
"""The file that ``hpcdeploy fetch`` leaves in a folder: results are not code, and would change each snapshot."""

_TIME = 315532800
"""Modification time of every file in an archive, in seconds since 1970: the year 1980, before which tar warns."""

_KEPT = 30 * 86400
"""Time in seconds that an archive is kept here after it was last packed."""

_ANOTHER_FILE = (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
"""Errors if a file was replaced after it was checked; None: it ended early (tarfile)."""


@frozen
class Tree:
    """The files of a folder that are uploaded.

    Attributes:
        folder: The folder.
        names: Paths relative to it, sorted by their bytes.
        size: Their size in bytes.
        astray: Links in ``names`` whose targets are not uploaded, with these targets.
        absent: Submodules that are not checked out.
        commit: The commit; empty if there is none, or if git did not report it.
        dirty: The files differ from the commit; None if unknown.
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

    Of code in a git work tree these are the files that git tracks or would track, including checked-out submodules. Of code
    elsewhere these are all files except caches and those that ``.gitignore`` excludes. Of data these are all files, because
    data is often ignored by git. ``.hpcdeployignore`` always applies. Links stay links.

    Raises:
        ConfigError: It is not a folder, cannot be read, or has no file to upload.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder on this machine; expected the folder whose files to upload")
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

    Owners, times and other permissions are left out, as in git.

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
    """Write the archive of `tree` into `folder`, named by its sha256; return its checksum, size and path.

    An interrupted submission needs the same archive when it is resumed, even if the files have changed. It is removed after
    30 days.

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
    """Return the `count` largest files and folders at the top of `tree`, with their size in bytes."""
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
    """Pass on the written bytes, and hash them."""

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
    """Return the files that git tracks or would track under `folder`; None if it is not a work tree, or git is not
    installed.

    git lists a submodule, or a nested work tree, as one name, so it is queried separately. A submodule that is not checked
    out is an empty folder (git-submodule(1)); its name, with the prefix `base`, is added to `absent`.
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
        elif _travels(raw.split("/"), NEVER) and _is_file(path):
            names.append(raw)
    return kept(_rules_of(folder, names), names)


def _rules_of(folder: Path, names: Sequence[str]) -> tuple[Rule, ...]:
    """Read all ``.hpcdeployignore`` files in the folders of the files `names`, the deepest last."""
    folders = {"", *(parent for name in names for parent in _parents(name))}
    return tuple(
        rule
        for base in sorted(folders, key=lambda base: (base.count("/") + bool(base), base))
        for rule in _read(folder / base / IGNORE_FILE, base)
    )


def _walk(folder: Path, base: str, above: tuple[Rule, ...], *, is_code: bool) -> Iterator[str]:
    here = folder / base
    rules = (*above, *(_read(here / ".gitignore", base) if is_code else ()), *_read(here / IGNORE_FILE, base))
    for name in sorted(os.listdir(here)):  # noqa: PTH208 - names in an order of their own
        path, relative = here / name, f"{base}/{name}" if base else name
        is_folder = path.is_dir() and not path.is_symlink()
        if (is_code and not _travels([name], CACHES)) or leaves_out(rules, relative, is_folder=is_folder):
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


def _travels(parts: Sequence[str], left_out: frozenset[str]) -> bool:
    return not left_out.intersection(parts) and not parts[-1].endswith(".sif")


def _is_link(folder: Path, name: str, known: dict[str, bool]) -> bool:
    """Tell whether the folder `name` of `folder` is a link; results are cached in `known`.

    git treats a tracked file as deleted if its folder has become a link (symlinks.c, has_symlink_leading_path), because the
    link may have any target.
    """
    if name not in known:
        known[name] = (folder / name).is_symlink()
    return known[name]


def _is_file(path: Path) -> bool:
    """Tell whether there is a regular file or a link: git also lists deleted files, and sockets cannot be uploaded."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def _without_fetched(names: list[str]) -> list[str]:
    marked = tuple(name.removesuffix(FETCHED) for name in names if name.endswith(f"/{FETCHED}"))
    return [name for name in names if not name.startswith(marked)] if marked else names


def _astray(links: Mapping[str, str], names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    if not links:
        return ()
    there = {"", *names, *(parent for name in names for parent in _parents(name))}

    def stays(name: str, target: str, steps: int = 40) -> bool:
        """Follow a link, and further links in its target, up to the system's limit (path_resolution(7))."""
        place = os.path.normpath(f"{name.rpartition('/')[0] or '.'}/{target}")
        through = next((one for one in (place, *_parents(place)) if one in links), None)
        if target.startswith("/") or not steps:
            return False
        if through is None:
            return place in there or place == "."
        return stays(through, f"{links[through]}{place[len(through) :]}", steps - 1)

    return tuple((name, target) for name, target in sorted(links.items()) if not stays(name, target))


def _parents(name: str) -> Iterator[str]:
    while name := name.rpartition("/")[0]:
        yield name


def _facts(folder: Path) -> tuple[str, bool | None, bool]:
    """Return the commit of a work tree, whether the files differ from it, and whether git rejected the work tree.

    The commit is empty before the first one. The second value is None if it is unknown.
    """
    commit = ask_git(folder, "rev-parse", "--verify", "HEAD")
    return (
        commit.stdout.decode().strip() if commit and not commit.returncode else "",
        has_changes(folder, "--", "."),
        is_refused(commit),
    )
