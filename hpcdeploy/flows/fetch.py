"""Download a run's output and logs: new and changed files only, resuming an interrupted download."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy import limits
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError, OverLimitError, SchedulerError
from hpcdeploy.flows.snapshot import FETCHED
from hpcdeploy.progress import Progress, ignore_progress
from hpcdeploy.remote.answers import SHELL, is_path, read_answer
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.download import (
    PARTS,
    PIECE,
    Asking,
    Bringing,
    RemoteFile,
    groups,
    inside,
    is_here,
    leads_out,
    place_for,
    read_listing,
)
from hpcdeploy.remote.output import check_began
from hpcdeploy.remote.scripts import listing
from hpcdeploy.run import Run
from hpcdeploy.scheduler.answers import read_sections

_LISTED = (0, 123)
"""Exit codes of a complete listing; 123: find met an unreadable file, or one that was removed (xargs(1), find(1))."""

_LEADS_OUT = "a link to outside the run's folder"


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """The result of a download.

    Attributes:
        files: The run's files that are on this machine now.
        brought: The files among them that were downloaded now.
        changed: The files among them that changed during the download, so they differ from the listing.
        missing: Listed files that were not downloaded; an older file of that name may be present.
        notes: Messages on files that were left out.
    """

    files: tuple[Path, ...]
    brought: tuple[Path, ...]
    changed: tuple[Path, ...] = ()
    missing: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def fetch(
    run: Run,
    destination: Path,
    cluster: Cluster,
    connections: Connections,
    *,
    patterns: Sequence[str] = (),
    progress: Progress = ignore_progress,
    overrides: Path | None = None,
) -> Fetched:
    """Download the files of `run` into the folder `destination`.

    A file with the same size and time is not downloaded again. A file gets its name when it is complete.

    Args:
        run: The run.
        destination: The folder on this machine, with the subfolders ``output`` and ``logs``.
        cluster: The cluster.
        connections: The connections.
        patterns: Patterns of files, relative to the run's working folder; none for all files and the logs.
        progress: Receives the progress.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        ConfigError: `destination` exists, but is not a download folder of this run.
        SchedulerError: The run's folder does not exist, or the listing names a file outside of it.
        OSError: A file cannot be written.
        TransportError: The connection failed.
    """
    ask = Asking(cluster, connections)
    bases, found, notes = _listed(run, patterns, ask, cluster, overrides)
    for file in found:
        inside(destination, file.place)
    notes += [f"left out: {file.place}, {why}" for file in found if (why := _unwanted(file))]
    if patterns and not found:
        notes.append(f"no file of {run.id} matches {' or '.join(patterns)}; patterns are relative to its working folder")
    wanted = [file for file in found if not _unwanted(file)]
    with _named(destination), _locked(destination, run):
        blocked = {file.place for file in wanted if _is_folder(inside(destination, file.place))}
        notes += [
            f"left out: {place}, a file on the cluster and a folder here; move the folder away and fetch again"
            for place in blocked
        ]
        wanted = [file for file in wanted if file.place not in blocked]
        missing = [file for file in wanted if not is_here(file, destination)]
        download = Bringing(destination, bases, ask, progress, sum(file.size for file in missing if file.kind == "f"))
        for group in groups((file for file in missing if file.kind == "f"), at_most=PIECE):
            if group[0].size > PIECE:
                download.large(group[0])
            else:
                download.small(group)
        for file in missing:
            if file.kind == "l":
                _link(file, destination)
        shutil.rmtree(destination / PARTS, ignore_errors=True)
        escaped = {file.place for file in wanted if file.kind == "l" and _escapes(file, destination)}
        notes += [f"left out: {place}, {_LEADS_OUT}" for place in sorted(escaped)]
        wanted, missing = ([file for file in files if file.place not in escaped] for files in (wanted, missing))
        if patterns or run.outputs:
            alone = [file for file in wanted if file.kind == "l" and not (destination / file.place).exists()]
            notes += [f"{file.place} is a link to {file.link}, which was not fetched; add that file too" for file in alone]
        moving = [file.place for file in missing if not is_here(file, destination)]
    changed = {place for place in moving if place in download.received}
    lost = set(moving) - changed
    notes += [
        f"{place} changed during the download; fetch again when it no longer changes"
        if place in changed
        else f"{place} was not downloaded: it changed, was removed or cannot be read; fetch again when it no longer changes"
        for place in moving
    ]
    return Fetched(
        files=_paths(destination, (file.place for file in wanted if file.place not in lost)),
        brought=_paths(destination, (file.place for file in missing if file.place not in moving)),
        changed=_paths(destination, changed),
        missing=_paths(destination, lost),
        notes=tuple(notes),
    )


def _paths(folder: Path, places: Iterable[str]) -> tuple[Path, ...]:
    return tuple(sorted(folder / place for place in places))


def _listed(
    run: Run, patterns: Sequence[str], ask: Asking, cluster: Cluster, overrides: Path | None
) -> tuple[Mapping[str, str], list[RemoteFile], list[str]]:
    """List the run's files in one round trip; return its folders by part, the files, and messages on unlisted files."""
    fence = secrets.token_hex(8)
    script = listing(cluster, run, tuple(patterns), fence, overrides=overrides)
    try:
        completed = ask.run(SHELL, script.encode("utf-8", "surrogateescape"), limit=limits.LISTING)
    except OverLimitError as error:
        raise OverLimitError(
            f"the list of the files of run {run.id} is too long for one download; use patterns to fetch only some ({error})"
        ) from error
    check_began(completed, ask.where)
    message = completed.stderr.decode("utf-8", "replace").strip()
    try:
        answer = read_answer(completed.stdout)
    except ValueError as error:
        answer, message = None, f"{error}; {message}"
    if completed.exit_code or answer is None or not all(is_path(answer.get(part)) for part in ("output", "logs")):
        raise SchedulerError(f"the files of run {run.id} could not be listed on {ask.where}: {message}")
    sections = read_sections(completed.stdout, fence, *(("output",) if patterns else ("output", "logs")))
    for part, section in sections.items():
        if section.exit_code not in _LISTED:
            raise SchedulerError(
                f"{answer[part]} could not be listed on {ask.where} (exit code {section.exit_code}): {message}"
            )
    listed = [read_listing(part, section.content) for part, section in sections.items()]
    files = [file for found, _ in listed for file in found]
    closed = [f"left out: {line[6:]}" for line in message.splitlines() if line[:6] == "find: " and line.endswith("denied")]
    closed += [f"left out: {entry!r}, a malformed entry of the listing" for _, bad in listed for entry in bad]
    return {part: str(base) for part, base in answer.items()}, files, closed


def _unwanted(file: RemoteFile) -> str:
    """Return the reason for leaving out a file; empty if it will be downloaded."""
    if file.kind == "!":
        return "which is not readable on the cluster"
    if file.kind not in "fl":
        return "which is not a file, folder or link"
    return _LEADS_OUT if file.kind == "l" and leads_out(file) else ""


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Add the folder's name to OSError of a full disk, which names no file (write(2))."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise


@contextmanager
def _locked(destination: Path, run: Run) -> Iterator[None]:
    """Ensure that `destination` is a folder of this run, and lock it."""
    mark = destination / FETCHED
    if destination.is_symlink() or (destination.exists() and not destination.is_dir()):
        raise ConfigError(f"{destination} exists, but is not a folder; use another one with --output")
    if destination.exists() and any(destination.iterdir()) and _marked(mark) not in {run.id, ""}:
        raise ConfigError(
            f"{destination} exists, but does not belong to a fetch of {run.id}; use another folder with --output, "
            "or move this one away"
        )
    destination.mkdir(parents=True, exist_ok=True)
    with mark.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"another fetch into {destination} is running; wait for it, or use another folder") from error
        file.seek(0)
        if not file.read():
            file.write(f"{run.id}\n")
            file.flush()
        yield


def _marked(mark: Path) -> str | None:
    """Return the run whose files are in a folder; empty if its id is not written yet, None for any other folder."""
    try:
        return mark.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _link(file: RemoteFile, destination: Path) -> None:
    path = place_for(file, destination)
    path.unlink(missing_ok=True)
    path.symlink_to(file.link)


def _escapes(file: RemoteFile, destination: Path) -> bool:
    """Tell whether a new link leads out of its part through other links, and remove it; honest programs make none."""
    path, part = destination / file.place, (destination / file.part).resolve()
    if Path(os.path.realpath(path)).is_relative_to(part):
        return False
    path.unlink(missing_ok=True)
    return True
