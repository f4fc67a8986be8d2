"""Snapshot: a folder of this machine as one archive that is named by what it holds. The same files give the same bytes."""

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
"""Names that never travel: history, and what another machine makes for itself."""

CACHES = NEVER | {
    *(".env", ".venv", ".tox", ".nox", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints", "node_modules"),
}
"""What does not travel either where no git says what belongs to a folder: caches, and the file of secrets by custom."""

FETCHED = ".hpcdeploy-run"
"""The file that ``hpcdeploy fetch`` leaves in a folder: results are no code, and would make each snapshot a new one."""

_TIME = 315532800
"""Seconds since 1970 that every file of an archive bears: 1980, before which tar warns."""

_KEPT = 30 * 86400
"""Seconds that an archive is kept here after it was last packed."""

_ANOTHER_FILE = (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
"""What says that a file is not what it was when it was looked at; None: it ended early (tarfile)."""


@frozen
class Tree:
    """The files of a folder that are to travel: names relative to it, in the order of their bytes, and what git says.

    ``size`` is in bytes. ``commit`` is empty where there is none, or git does not say; ``dirty`` says that the files are not
    those of the commit, None that git does not say. ``refused``: it does not, because the work tree is another user's.
    ``astray`` are the links among ``names`` that lead to nothing that travels, each with where it leads; ``absent`` are the
    submodules that are not checked out.
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
    """An archive as it came out: its sha256 and size in bytes."""

    sha256: str
    size: int


class Sink(Protocol):
    """Whatever takes bytes."""

    def write(self, block: bytes, /) -> object:
        """Take a piece."""


def look(folder: Path, *, is_code: bool = True) -> Tree:
    """Find what of `folder` is to travel.

    Of code in a git work tree it is what git tracks or would track, with the submodules that are checked out; of code
    elsewhere all but caches and what ``.gitignore`` files say; of data all there is, for data is what git is told to ignore.
    ``.hpcdeployignore`` counts everywhere. Links stay links. Raises `ConfigError` where the folder is none, cannot be read,
    or holds nothing to send.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder of this machine; expected the folder whose files are to travel")
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
        raise ConfigError(f"{folder} holds no file to send; expected some that neither git nor {IGNORE_FILE} ignores")
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
    """Write `tree` to `sink` as a tar archive: names, links, what each file holds and whether it is a program.

    Owners, times and the other modes are not in it, as they are not in git. Raises `ConfigError` where a file changes, or
    vanishes, while it is packed, or cannot be read; OSError where `sink` does not take it.
    """
    hashed = _Hashed(sink)
    # GNU tar's own format carries every name as its bytes; PAX wants UTF-8.
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
    """Write the archive of `tree` into `folder`, named by its sha256, and return it with its path.

    A submission that was cut off wants it again, whatever became of the files; after 30 days it is removed.
    """
    private_folder(folder)
    for old in folder.iterdir():
        with suppress(FileNotFoundError):  # what another call makes has one name now, and another one then
            if old.lstat().st_mtime < time.time() - _KEPT:
                old.unlink()
    fresh = Path(part_name(str(folder / "snapshot")))
    with whole_file(fresh, private=True) as file:
        packed = pack(tree, file)
    path = folder / f"{packed.sha256}.tar"
    fresh.replace(path)
    return packed, path


def largest(tree: Tree, count: int = 3) -> list[tuple[str, int]]:
    """Return the largest parts of `tree`: files and folders at its top, with their size in bytes."""
    sizes: dict[str, int] = {}
    for name in tree.names:
        top, slash, _ = name.partition("/")
        sizes[top + slash] = sizes.get(top + slash, 0) + (tree.folder / name).lstat().st_size
    return sorted(sizes.items(), key=lambda item: -item[1])[:count]


def changed(path: Path) -> ConfigError:
    """Say that a file did not stay as it was."""
    return ConfigError(f"{path} changed while it was packed; run the same command again once it is still")


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
    """Passes on what is written, and hashes it."""

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
    """Takes bytes and keeps none: for an archive of which only the sha256 is wanted."""

    def write(self, block: bytes, /) -> None:
        """Take a piece."""


def _listed_by_git(folder: Path, absent: list[str], base: str = "") -> list[str] | None:
    """Return what git tracks, or would, under `folder`; None where it is no work tree, or git is not there.

    A submodule, and a work tree inside, is listed as one name: it is asked in turn. One that is not checked out is an empty
    folder (git-submodule(1)), whose name comes into `absent`, with `base` before it.
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
    """Read every ``.hpcdeployignore`` beside the files `names`, the deeper ones last."""
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
    """Tell whether the folder `name` of `folder` is a link; what was looked up before is in `known`.

    To git a tracked file is deleted where its folder has become a link (symlinks.c, has_symlink_leading_path): the link may
    lead anywhere.
    """
    if name not in known:
        known[name] = (folder / name).is_symlink()
    return known[name]


def _is_file(path: Path) -> bool:
    """Tell whether there is a file or a link: git lists deleted files too, and nobody can send a socket."""
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
        """Follow a link, and those that it leads to, as far as a system does (path_resolution(7))."""
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
    """Return what git says of the work tree: commit, whether the files differ from it, and whether it refused to say.

    The commit is empty before the first. None: it is not known whether the files differ.
    """
    commit = ask_git(folder, "rev-parse", "--verify", "HEAD")
    return (
        commit.stdout.decode().strip() if commit and not commit.returncode else "",
        has_changes(folder, "--", "."),
        is_refused(commit),
    )
