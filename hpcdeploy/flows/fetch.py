"""Download a run's output and logs. Only new and changed files are downloaded; an interrupted download is resumed."""

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.snapshot import FETCHED
from hpcdeploy.frozen import frozen
from hpcdeploy.progress import Progress, ignore_progress
from hpcdeploy.remote.download import PARTS, Download
from hpcdeploy.remote.listing import RemoteFile, inside, is_here, leads_out, list_files, place_for
from hpcdeploy.remote.local_names import FolderNames, unusable_names
from hpcdeploy.remote.session import Session
from hpcdeploy.remote.unfinished import open_mark, read_mark
from hpcdeploy.run import Run

_LEADS_OUT = "a link to outside the run's folder"


@frozen
class Fetched:
    """The result of a download.

    Attributes:
        files: Paths of the run's files that are complete on this machine now. `changed` files are included.
        brought: Paths of the files that this call downloaded completely. `changed` files are not included.
        changed: Paths of downloaded files that changed on the cluster during the download.
        missing: Paths of files that could not be downloaded. An older file may be at such a path.
        notes: Messages on files that were left out, are missing, or changed.
    """

    files: tuple[Path, ...]
    brought: tuple[Path, ...]
    changed: tuple[Path, ...] = ()
    missing: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def fetch(
    run: Run,
    destination: Path,
    session: Session,
    *,
    patterns: Sequence[str] = (),
    progress: Progress = ignore_progress,
) -> Fetched:
    """Download the files of `run` into the folder `destination`.

    A file that already has the same size and modification time here is not downloaded again. A file gets its name when it
    is complete.

    Args:
        run: The run to fetch.
        destination: The folder on this machine. It gets the subfolders ``output`` and ``logs``.
        session: A session with the run's cluster.
        patterns: Patterns of files, relative to the run's working folder. Without patterns, the run's ``outputs`` (by
            default all files) and the logs are downloaded.
        progress: Receives the number of bytes downloaded so far, and the total number of bytes to download.

    Raises:
        ConfigError: `destination` exists but is not a download folder of this run, or another process uses it.
        SchedulerError: The files cannot be listed or packed, or the listing names a file outside the run's folder.
        OSError: A file cannot be written.
        TransportError: The connection failed.
    """
    listed = list_files(run, patterns, session)
    found, notes = listed.files, list(listed.notes)
    for file in found:
        inside(destination, file.place)
    notes += [f"left out: {file.place}, {why}" for file in found if (why := _unwanted(file))]
    if patterns and not found:
        notes.append(f"no file of {run.id} matches {' or '.join(patterns)}; patterns are relative to its working folder")
    wanted = [file for file in found if not _unwanted(file)]
    with _named(destination), _locked(destination, run):
        unusable = unusable_names([file.place for file in wanted], FolderNames(destination / PARTS))
        notes += [f"left out: {place}, {why}" for place, why in unusable.items()]
        wanted, more = _without_folders([file for file in wanted if file.place not in unusable], destination)
        notes += more
        missing = [file for file in wanted if not is_here(file, destination)]
        download = Download(destination, listed.bases, session, progress, [file for file in missing if file.kind == "f"])
        download.run()
        shutil.rmtree(destination / PARTS, ignore_errors=True)
        links = [file for file in wanted if file.kind == "l"]
        escaped, more = _make_links(links, missing, destination, chosen=bool(patterns or run.outputs))
        notes += more
        wanted, missing = ([file for file in files if file.place not in escaped] for files in (wanted, missing))
        moving = [file.place for file in missing if not is_here(file, destination)]
    changed = {place for place in moving if place in download.received}
    lost = set(moving) - changed
    return Fetched(
        files=_paths(destination, (file.place for file in wanted if file.place not in lost)),
        brought=_paths(destination, (file.place for file in missing if file.place not in moving)),
        changed=_paths(destination, changed),
        missing=_paths(destination, lost),
        notes=(*notes, *(_moving_note(place, changed=place in changed) for place in moving)),
    )


def _without_folders(wanted: Sequence[RemoteFile], destination: Path) -> tuple[list[RemoteFile], list[str]]:
    """Return the `wanted` files without those whose path is a folder on this machine, and a note on each such file."""
    blocked = {file.place for file in wanted if _is_folder(inside(destination, file.place))}
    notes = [
        f"left out: {place}, a file on the cluster but a folder on this machine; move the folder away and fetch again"
        for place in blocked
    ]
    return [file for file in wanted if file.place not in blocked], notes


def _make_links(
    links: Sequence[RemoteFile], missing: Sequence[RemoteFile], destination: Path, *, chosen: bool
) -> tuple[set[str], list[str]]:
    """Create the missing links of a run on this machine; remove links that lead out of their part of the run's folder.

    Args:
        links: All links that were listed.
        missing: All listed files and links that this machine does not have yet.
        destination: The folder on this machine.
        chosen: Only some of the run's files are downloaded, so the target of a link may be missing.

    Returns:
        The paths of the removed links, and notes for the user.
    """
    for file in missing:
        if file.kind == "l":
            _link(file, destination)
    escaped = {file.place for file in links if _escapes(file, destination)}
    notes = [f"left out: {place}, {_LEADS_OUT}" for place in sorted(escaped)]
    kept = [file for file in links if file.place not in escaped]
    alone = [file for file in kept if not (destination / file.place).exists()] if chosen else []
    notes += [f"{file.place} is a link to {file.link}, which was not fetched; add a pattern for that file" for file in alone]
    return escaped, notes


def _moving_note(place: str, *, changed: bool) -> str:
    """Return the note on a file that changed while it was downloaded (`changed`), or could not be downloaded."""
    if changed:
        return f"{place} changed during the download; fetch again when it no longer changes"
    return f"{place} was not downloaded: it changed, was removed or cannot be read; fetch again when it no longer changes"


def _paths(folder: Path, places: Iterable[str]) -> tuple[Path, ...]:
    return tuple(sorted(folder / place for place in places))


def _unwanted(file: RemoteFile) -> str:
    """Return why a file is not downloaded, for a message; empty if the file can be downloaded."""
    if file.kind == "!":
        return "which is not readable on the cluster"
    if file.kind not in "fl":
        return "which is not a file, folder or link"
    return _LEADS_OUT if file.kind == "l" and leads_out(file) else ""


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Add the path `folder` to each `OSError` without a path: a failed write(2), as on a full disk, names no file."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise


@contextmanager
def _locked(destination: Path, run: Run) -> Iterator[None]:
    """Lock the folder `destination` for this run; create it if it does not exist.

    The file `FETCHED` contains the run's id. It is empty if an earlier fetch was interrupted before it wrote the id. A
    folder with an empty `FETCHED` is accepted if it contains no other file.

    Raises:
        ConfigError: `destination` exists but is not a folder of this run, or another process has locked it.
    """
    path = destination / FETCHED
    if destination.is_symlink() or (destination.exists() and not destination.is_dir()):
        raise ConfigError(f"{destination} exists, but is not a folder; use another path with --output")
    present = {entry.name for entry in destination.iterdir()} if destination.exists() else set()
    marked = read_mark(path)
    if present and marked != run.id and not (marked == "" and present == {FETCHED}):
        raise ConfigError(
            f"{destination} exists, but does not belong to a fetch of {run.id}; use another folder with --output, "
            "or move the existing folder away"
        )
    destination.mkdir(parents=True, exist_ok=True)
    with open_mark(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another fetch into {destination} is running; wait until it ends, or use another folder with --output"
            ) from error
        file.seek(0)
        if not file.read():
            file.write(f"{run.id}\n")
            file.flush()
        yield


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _link(file: RemoteFile, destination: Path) -> None:
    path = place_for(file, destination)
    path.unlink(missing_ok=True)
    path.symlink_to(file.link)


def _escapes(file: RemoteFile, destination: Path) -> bool:
    """Tell whether a link leads out of ``output`` or ``logs`` through other links. If it does, remove it.

    The login node's listing is not trusted: a chain of links could lead to any file on this machine.
    """
    path, part = destination / file.place, (destination / file.part).resolve()
    if Path(os.path.realpath(path)).is_relative_to(part):
        return False
    path.unlink(missing_ok=True)
    return True
