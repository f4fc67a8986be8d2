"""List the files of a run on a login node, and find their paths on this machine."""

import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hpcdeploy import limits, shell
from hpcdeploy.checked_values import LATEST, whole_number
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import OverLimitError, SchedulerError
from hpcdeploy.frozen import frozen
from hpcdeploy.remote.answers import is_path
from hpcdeploy.remote.script_parts import FILES, setup_for
from hpcdeploy.remote.session import Session
from hpcdeploy.run import Run
from hpcdeploy.scheduler.contract import read_sections
from hpcdeploy.shell_script import Script, Setup, Value, paths_function
from hpcdeploy.templates import refuse_former

_LISTED = (0, 123)
"""Exit codes of a usable listing. With 123, find could not read a file, or the file was removed (xargs(1), find(1))."""

_UNITS = (1, 100, 10**3, 10**6, 10**7, 10**9, 2 * 10**9)
"""Possible resolutions of file times on this machine, in nanoseconds.

Most file systems have 1, NTFS and SMB 100, relatives of FAT 10**7, HFS+ and old ext 10**9, FAT 2 * 10**9.
"""


_LONGEST_NAME = 255
"""Maximum length of a file's name in bytes (limits.h, NAME_MAX)."""

_MODE = re.compile(r"[0-7]{1,7}")
_STATE = re.compile(r"(?P<size>[0-9]+) (?P<sign>-?)(?P<seconds>[0-9]+)(?:\.(?P<fraction>[0-9]{0,20}))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """A file on the cluster.

    Attributes:
        part: ``output`` (the task's files) or ``logs``.
        name: The file's path in the folder of its part.
        kind: The type as find prints it (``f``: file, ``l``: link), or ``!`` if the file is not readable.
        size: The size in bytes.
        modified: The modification time in nanoseconds since 1970.
        mode: The permission bits.
        link: The target of a link; empty for a file.
    """

    part: str
    name: str
    kind: str
    size: int
    modified: int
    mode: int
    link: str = ""

    @property
    def place(self) -> str:
        """The file's path relative to the destination folder on this machine."""
        return f"{self.part}/{self.name}"


@frozen
class Listing:
    """The files of a run on a cluster.

    Attributes:
        bases: The folder of each part (``output``, ``logs``) on the cluster.
        files: The listed files.
        notes: Messages about files and folders that could not be listed.
    """

    bases: Mapping[str, str]
    files: Sequence[RemoteFile]
    notes: Sequence[str]


def list_files(run: Run, patterns: Sequence[str], session: Session) -> Listing:
    """List the files of `run` in one round trip.

    With `patterns`, only matching files in the tasks' working folders are listed. Without patterns, the job's outputs are
    listed, or all files in the run's own folder if the job has no outputs; in both cases the logs are listed as well.

    Raises:
        SchedulerError: The files cannot be listed, or there are more than `hpcdeploy.limits.MOST_FILES` of a part.
        OverLimitError: The list has more bytes than `hpcdeploy.limits.LISTING`.
        ConnectionLostError: The connection was lost in each attempt.
        TransportError: The machine cannot be reached.
    """
    fence = secrets.token_hex(8)
    script = listing(session.cluster, run, tuple(patterns), fence, overrides=session.overrides)
    try:
        result = session.repeat(lambda: session.run(script, limit=limits.LISTING))
    except OverLimitError as error:
        raise OverLimitError(
            f"the list of the files of run {run.id} is too long for one download; use patterns to fetch only some ({error})"
        ) from error
    message = result.errors
    try:
        answer = result.answer()
    except ValueError as error:
        answer, message = None, f"{error}; {message}"
    if result.exit_code or answer is None or not all(is_path(answer.get(part)) for part in ("output", "logs")):
        raise SchedulerError(f"the files of run {run.id} could not be listed on {result.where}: {message}")
    sections = read_sections(result.stdout, fence, *(("output",) if patterns else ("output", "logs")))
    for part, section in sections.items():
        if section.exit_code not in _LISTED:
            raise SchedulerError(
                f"{answer[part]} could not be listed on {result.where} (exit code {section.exit_code}): {message}"
            )
    listed = [read_listing(part, section.content) for part, section in sections.items()]
    notes = [f"left out: {line[6:]}" for line in message.splitlines() if line[:6] == "find: " and line.endswith("denied")]
    notes += [f"left out: {entry!r}, a malformed entry of the listing" for _, bad in listed for entry in bad]
    return Listing(
        bases={part: str(base) for part, base in answer.items()},
        files=[file for found, _ in listed for file in found],
        notes=notes,
    )


def listing(cluster: Cluster, run: Run, patterns: tuple[str, ...], fence: str, *, overrides: Path | None = None) -> str:
    """Render the script that lists the files of a run.

    Args:
        cluster: The cluster.
        run: The run.
        patterns: Patterns of files in each task's working folder. Without patterns, the script lists the job's outputs, or
            everything in the run's own folder if the job has no outputs; in both cases also the logs.
        fence: An unpredictable word for the markers in the output.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        ConfigError: A path contains a line break or a NUL.
        TemplateError: A template is broken.
    """
    chosen = patterns or run.outputs
    alone = [f"./{pattern}" for pattern in chosen] if run.tasks == 1 or run.workdir else []
    of_tasks = [] if run.workdir else [f"./[0-9]*/{pattern}" for pattern in chosen]
    default_patterns = () if run.workdir else (".",)
    refuse_former(overrides)
    values: dict[str, Value] = {
        "run_id": run.id,
        "patterns": (*alone, *of_tasks) if chosen else default_patterns,
        "with_logs": not patterns,
        "fence": fence,
    }
    paths = {"root": shell.path(cluster.root), "work": shell.path(run.workdir) if run.workdir else "''"}
    return Script(
        title="List the files that a run wrote.",
        values=values,
        functions=(paths_function("set_paths", paths),),
        setup=Setup(lines=setup_for(cluster, cluster.root, run.workdir or "")),
        files=FILES["list"],
    ).text()


def read_listing(part: str, content: bytes) -> tuple[list[RemoteFile], list[str]]:
    """Parse the output of ``login/list.sh`` for one part: the files, and the malformed entries.

    A file that is listed twice is returned once.

    Raises:
        SchedulerError: There are more than `hpcdeploy.limits.MOST_FILES` files and malformed entries.
    """
    found: dict[str, RemoteFile] = {}
    unread: list[str] = []
    for entry, link in _entries(content):
        if len(found) + len(unread) >= limits.MOST_FILES:
            raise SchedulerError(
                f"the run's {part} has more than {limits.MOST_FILES} files, the maximum of one fetch; use "
                "patterns to fetch them in several steps: hpcdeploy fetch RUN 'a*' 'b*'"
            )
        try:
            file = _read_entry(part, entry, link)
        except ValueError:
            unread.append(entry[:_LONGEST_NAME])
        else:
            found[file.name] = file
    return list(found.values()), unread


def _read_entry(part: str, entry: str, link: str) -> RemoteFile:
    kind, size, when, mode, path = entry.split(" ", 4)
    name = path.removeprefix("./")
    length, modified = read_state(f"{size} {when}")
    if not _MODE.fullmatch(mode) or any(len(os.fsencode(word)) > _LONGEST_NAME for word in name.split("/")):
        raise ValueError(entry)
    return RemoteFile(part=part, name=name, kind=kind, size=length, modified=modified, mode=int(mode, 8), link=link)


def _entries(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield the pairs of entry and link target in `content`, where a NUL ends each of the two texts."""
    start = 0
    while (middle := content.find(b"\0", start)) >= 0 and (end := content.find(b"\0", middle + 1)) >= 0:
        entry, link = content[start:middle], content[middle + 1 : end]
        yield entry.decode("utf-8", "surrogateescape"), link.decode("utf-8", "surrogateescape")
        start = end + 1


def read_state(text: str) -> tuple[int, int]:
    """Return a file's size in bytes and its time in nanoseconds since 1970, from find's ``%s %T@``.

    If `text` is empty, the file does not exist, and both values are -1.

    Raises:
        ValueError: `text` is malformed.
    """
    if not text:
        return -1, -1
    match = _STATE.fullmatch(text)
    size, seconds = (whole_number(match["size"]), whole_number(match["seconds"], LATEST)) if match else (None, None)
    if match is None or size is None or seconds is None:
        raise ValueError(text)
    nanoseconds = int((match["fraction"] or "")[:9].ljust(9, "0"))
    return size, (-seconds if match["sign"] else seconds) * 10**9 + nanoseconds


def inside(folder: Path, place: str) -> Path:
    """Return the path of `place` in `folder`.

    The first component of `place` is a part (``output`` or ``logs``). The result is always in the folder of this part, so it
    cannot be another file in `folder`, such as the one that records the fetch.

    Raises:
        SchedulerError: The path would be outside the folder of its part.
    """
    whole, part = PurePosixPath(os.path.normpath(place)), place.partition("/")[0]
    if part in ("", ".", "..") or whole.parts[:1] != (part,) or len(whole.parts) == 1:
        raise SchedulerError(f"the run has {place!r}, which is outside its folder; nothing was downloaded")
    return folder / whole


def leads_out(file: RemoteFile) -> bool:
    """Tell whether the target of a link is outside the folder of its part."""
    whole = PurePosixPath(os.path.normpath(PurePosixPath(file.name).parent / file.link))
    return whole.is_absolute() or whole.parts[:1] == ("..",)


def is_here(file: RemoteFile, folder: Path) -> bool:
    """Tell whether `folder` already has `file`.

    Files are compared by size and modification time, as rsync does. Links are compared by their targets.
    """
    path = inside(folder, file.place)
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if file.kind == "l":
        return stat.S_ISLNK(status.st_mode) and os.readlink(path) == file.link  # noqa: PTH115 - as it is
    times = {file.modified - file.modified % unit for unit in _UNITS}
    return stat.S_ISREG(status.st_mode) and status.st_size == file.size and status.st_mtime_ns in times


def place_for(file: RemoteFile, folder: Path) -> Path:
    """Return the path of `file` in `folder`, and create its parent folders.

    If a parent is a link or a file, for example from an earlier download, it is replaced by a folder, because files must
    never be written through links.
    """
    path = inside(folder, file.place)
    for parent in reversed(path.relative_to(folder).parents[:-1]):
        there = folder / parent
        if there.is_symlink() or (there.exists() and not there.is_dir()):
            there.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
