"""Fetch: a run's output and logs, brought home: what is not here yet or has changed, going on where it stopped."""

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
from hpcdeploy.flows.answered import is_path
from hpcdeploy.flows.connections import Connections
from hpcdeploy.flows.fetch_pieces import PARTS, Asking, Bringing, place_for
from hpcdeploy.flows.last_words import check_began
from hpcdeploy.flows.remote_files import PIECE, RemoteFile, groups, inside, is_here, leads_out, read_listing
from hpcdeploy.flows.snapshot import FETCHED
from hpcdeploy.flows.unfinished import mark, read_mark
from hpcdeploy.login_node import SHELL, read_answer
from hpcdeploy.progress import Progress, ignore_progress
from hpcdeploy.run import Run
from hpcdeploy.scheduler.answers import read_sections
from hpcdeploy.scheduler.login_node import listing

_LISTED = (0, 123)
"""The exit codes of a listing: 123 where find met a file that it may not read, or that has gone (xargs(1), find(1))."""

_LEADS_OUT = "a link that leads out of the run's folder"


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What a fetch did: the run's files that are here now, those among them that it brought, and what it left and why.

    ``changed`` are those of ``files`` that came and are not as they were listed: they changed meanwhile. ``missing`` are the
    files that were listed and did not come; an older one of that name may be here.
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
    """Bring what `run` wrote to the folder `destination`: ``output/`` and ``logs/``, or of the output only `patterns`.

    A file that is here with the same size and time is left alone; each takes its name when it is whole. Raises `ConfigError`
    where `destination` is there and is no such folder of this run, `SchedulerError` where the run's folder is not there or
    the listing names a file outside of it, OSError where something cannot be written here.
    `overrides` is the folder of the project whose own templates count.
    """
    ask = Asking(cluster, connections)
    bases, found, notes = _listed(run, patterns, ask, cluster, overrides)
    for file in found:
        inside(destination, file.place)
    notes += [f"left out: {file.place}, {why}" for file in found if (why := _unwanted(file))]
    if patterns and not found:
        notes.append(f"no file of {run.id} is meant by {' or '.join(patterns)}; patterns begin at its working folder")
    wanted = [file for file in found if not _unwanted(file)]
    with _told_of(destination), _claimed(destination, run):
        blocked = {file.place for file in wanted if _is_folder(inside(destination, file.place))}
        notes += [f"left out: {place}, a folder here and a file there; move it away and fetch again" for place in blocked]
        wanted = [file for file in wanted if file.place not in blocked]
        missing = [file for file in wanted if not is_here(file, destination)]
        bringing = Bringing(destination, bases, ask, progress, sum(file.size for file in missing if file.kind == "f"))
        for group in groups((file for file in missing if file.kind == "f"), at_most=PIECE):
            if group[0].size > PIECE:
                bringing.large(group[0])
            else:
                bringing.small(group)
        for file in missing:
            if file.kind == "l":
                _link(file, destination)
        shutil.rmtree(destination / PARTS, ignore_errors=True)
        escaped = {file.place for file in wanted if file.kind == "l" and _escapes(file, destination)}
        notes += [f"left out: {place}, {_LEADS_OUT}" for place in sorted(escaped)]
        wanted, missing = ([file for file in files if file.place not in escaped] for files in (wanted, missing))
        if patterns or run.outputs:
            alone = [file for file in wanted if file.kind == "l" and not (destination / file.place).exists()]
            notes += [f"{file.place} is a link to {file.link}, which was not fetched; name that too" for file in alone]
        moving = [file.place for file in missing if not is_here(file, destination)]
    changed = {place for place in moving if place in bringing.received}
    lost = set(moving) - changed
    notes += [
        f"{place} changed while it was fetched; fetch again once it is still"
        if place in changed
        else f"{place} did not come: it changed, vanished or could not be read; fetch again once it is still"
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
    """Return the folders that hold the run's files, by part, the files, and what could not be listed; one round trip."""
    fence = secrets.token_hex(8)
    script = listing(cluster, run, tuple(patterns), fence, overrides=overrides)
    try:
        completed = ask.run(SHELL, script.encode("utf-8", "surrogateescape"), limit=limits.LISTING)
    except OverLimitError as error:
        raise OverLimitError(
            f"the list of the files of run {run.id} is longer than one fetch reads; fetch them in parts, by patterns "
            f"({error})"
        ) from error
    check_began(completed, ask.where)
    said = completed.stderr.decode("utf-8", "replace").strip()
    try:
        answer = read_answer(completed.stdout)
    except ValueError as error:
        answer, said = None, f"{error}; {said}"
    if completed.exit_code or answer is None or not all(is_path(answer.get(part)) for part in ("output", "logs")):
        raise SchedulerError(f"the files of run {run.id} could not be listed on {ask.where}: {said}")
    sections = read_sections(completed.stdout, fence, *(("output",) if patterns else ("output", "logs")))
    for part, section in sections.items():
        if section.exit_code not in _LISTED:
            raise SchedulerError(
                f"{answer[part]} could not be listed on {ask.where} (exit code {section.exit_code}): {said}"
            )
    listed = [read_listing(part, section.content) for part, section in sections.items()]
    files = [file for found, _ in listed for file in found]
    closed = [f"left out: {line[6:]}" for line in said.splitlines() if line[:6] == "find: " and line.endswith("denied")]
    closed += [f"left out: {entry!r}, an entry of the listing that cannot be read" for _, bad in listed for entry in bad]
    return {part: str(base) for part, base in answer.items()}, files, closed


def _unwanted(file: RemoteFile) -> str:
    """Say why a file does not come home; empty where it does."""
    if file.kind == "!":
        return "which may not be read there"
    if file.kind not in "fl":
        return "which is no file, folder or link"
    return _LEADS_OUT if file.kind == "l" and leads_out(file) else ""


@contextmanager
def _told_of(folder: Path) -> Iterator[None]:
    """Say of a full disk, which names no file (write(2)), which one it is."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise


@contextmanager
def _claimed(destination: Path, run: Run) -> Iterator[None]:
    """Make sure that `destination` is a folder of this run's, and ours alone for now.

    A mark that says nothing is of a fetch that ended before it wrote one: then the folder holds nothing else.
    """
    path = destination / FETCHED
    if destination.is_symlink() or (destination.exists() and not destination.is_dir()):
        raise ConfigError(f"{destination} is there already, and is no folder; name another one with --output")
    held = {entry.name for entry in destination.iterdir()} if destination.exists() else set()
    marked = read_mark(path)
    if held and marked != run.id and not (marked == "" and held == {FETCHED}):
        raise ConfigError(
            f"{destination} is there already, and not from fetching {run.id}; name another folder with --output, "
            "or move this one away"
        )
    destination.mkdir(parents=True, exist_ok=True)
    with mark(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"another fetch into {destination} is going on; wait for it, or name another") from error
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
    """Tell whether a link that was made leads out after all, through others, as no honest program's does; it is removed."""
    path, part = destination / file.place, (destination / file.part).resolve()
    if Path(os.path.realpath(path)).is_relative_to(part):
        return False
    path.unlink(missing_ok=True)
    return True
