"""Find the code and the input files of a job, and pack the folders among them for the upload."""

import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.config.job_files import CODE_MOUNTED, absolute
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.ignoring import IGNORE_FILE
from hpcdeploy.flows.snapshot import Nowhere, Packed, Tree, changed, keep, largest, look, pack
from hpcdeploy.frozen import frozen
from hpcdeploy.job import Code, Input, Job
from hpcdeploy.plain_text import written
from hpcdeploy.shell import word
from hpcdeploy.staged_files import Placement, StagedFile, can_mount, staged_path
from hpcdeploy.whole_file import sha256_of

Allow = Callable[[str], bool]
"""Return whether something unusual, which the argument describes, may be done; usually by a prompt."""


@frozen
class JobUploads:
    """The files that a job uploads.

    Attributes:
        placements: The files, each with its path in the container.
        notes: Messages for the user: the sizes of code and inputs, and what is not uploaded.
        code_sha256: The sha256 of the code's archive; empty if the job uploads no code.
        commit: The commit that git reported for the code; empty if git reported none.
        dirty: Whether the code differs from that commit; None if unknown.
    """

    placements: tuple[Placement, ...] = ()
    notes: tuple[str, ...] = ()
    code_sha256: str = ""
    commit: str = ""
    dirty: bool | None = False

    @property
    def uploads(self) -> tuple[StagedFile, ...]:
        """The files to upload; a file with several placements is listed once."""
        return tuple({one.upload.path: one.upload for one in self.placements}.values())


CODE_IN_WORKDIR = "code"
"""Default path of the code, relative to the working folder, on clusters where jobs cannot mount folders."""

_SHOWN = 3
"""Maximum number of links in one note."""


def collect_uploads(
    job: Job, project: Path, scheduler: SchedulerName, cluster: Cluster, *, archives: Path | None, allow: Allow
) -> JobUploads:
    """Return the files that `job` uploads from the folder `project`, and their destinations on `cluster`.

    Args:
        job: The job.
        project: The project's folder.
        scheduler: The scheduler of the job.
        cluster: The cluster.
        archives: The folder for the archives of code and inputs. If None, nothing is written, and only the checksums of the
            archives are computed.
        allow: Returns whether code that is larger than its limit may be uploaded.

    Raises:
        ConfigError: A file is missing or cannot be read, the code is too large, or a destination is not possible on
            `cluster` or used twice.
        OSError: An archive cannot be written.
    """
    mounts = can_mount(scheduler, cluster)
    placements: list[Placement] = []
    notes: list[str] = []
    tree: Tree | None = None
    if job.code:
        tree = look(absolute(job.code.source, project))
        _check_limit(job.code, tree, allow)
        place = job.code.destination or (CODE_MOUNTED if mounts else CODE_IN_WORKDIR)
        placements.append(_folder(tree, place, f"the code of {job.name}", archives, mounts=mounts, is_code=True))
        notes += [f"the code: {_summary(tree)}", *_links_astray(tree), *_submodules_absent(tree), *_refused_by_git(tree)]
        notes += _code_path_note(job, mounts=mounts)
    for given in job.inputs:
        path = absolute(given.source, project)
        if path.is_dir():
            inner = look(path, is_code=False)
            placements.append(_folder(inner, given.destination, f"the input {given.source}", archives, mounts=mounts))
            notes += [f"the input {given.source}: {_summary(inner)}", *_links_astray(inner)]
        else:
            placements.append(_file(path, given, mounts=mounts))
            notes.append(f"the input {given.source}: {written(placements[-1].upload.size)}")
    _check_places(job, placements, mounts=mounts)
    return JobUploads(
        placements=tuple(placements),
        notes=tuple(notes),
        code_sha256=placements[0].upload.sha256 if tree else "",
        commit=tree.commit if tree else "",
        dirty=tree.dirty if tree else False,
    )


def _summary(tree: Tree) -> str:
    """Return the size, the number of files and the commit of `tree`, for a message."""
    since = {True: " and changes since", False: "", None: " (changes since: unknown)"}[tree.dirty]
    commit = f", commit {tree.commit[:10]}{since}" if tree.commit else ""
    return f"{written(tree.size)} in {len(tree.names)} file{'s' if len(tree.names) > 1 else ''}{commit}"


def _links_astray(tree: Tree) -> list[str]:
    """Return a note on links whose targets are not uploaded; an empty list if there are none."""
    if not tree.astray:
        return []
    shown = ", ".join(f"{name} -> {target}" for name, target in tree.astray[:_SHOWN])
    more = f" and {len(tree.astray) - _SHOWN} more" if len(tree.astray) > _SHOWN else ""
    return [f"note: targets of links are not uploaded: {shown}{more}; the cluster may have other files at these paths"]


def _code_path_note(job: Job, *, mounts: bool) -> list[str]:
    """Return a note if the job's command uses the path `CODE_MOUNTED`, but this cluster cannot mount the code there."""
    default = job.code is not None and not job.code.destination
    if not default or mounts or not any(word == CODE_MOUNTED or word.startswith(f"{CODE_MOUNTED}/") for word in job.command):
        return []
    note = (
        f"note: HTCondor cannot mount the code at {CODE_MOUNTED}, so the code is at {CODE_IN_WORKDIR} in the working "
        f'folder. Set destination = "{CODE_IN_WORKDIR}" to use this path on every cluster'
    )
    return [note]


def _submodules_absent(tree: Tree) -> list[str]:
    advice = "is not checked out and not uploaded; run 'git submodule update --init'"
    return [f"note: the submodule {name} {advice}" for name in tree.absent]


def _refused_by_git(tree: Tree) -> list[str]:
    if not tree.refused:
        return []
    advice = f"if you trust it, add it to git's safe.directory ('git -C {word(str(tree.folder))} status' shows how)"
    return [f"note: the commit of the code is unknown, because its git repository belongs to another user; {advice}"]


def _check_limit(code: Code, tree: Tree, allow: Allow) -> None:
    """Raise `ConfigError` if the code is larger than its limit and `allow` returns False."""
    if tree.size <= code.limit * 1024 * 1024:
        return
    parts = ", ".join(f"{name} ({written(size)})" for name, size in largest(tree))
    warning = f"the code in {tree.folder} is {_summary(tree)}, over the limit of {code.limit} MB; largest parts: {parts}"
    if not allow(warning):
        raise ConfigError(
            f"{warning}. Exclude files in {IGNORE_FILE}, make data an input, or raise the limit: "
            f'code = {{ source = "{code.source}", limit = "{tree.size // 1024**2 + 1} MB" }}'
        )


def _folder(tree: Tree, place: str, what: str, archives: Path | None, *, mounts: bool, is_code: bool = False) -> Placement:
    packed: Packed
    packed, path = (pack(tree, Nowhere()), None) if archives is None else keep(tree, archives)
    staged = StagedFile(
        sha256=packed.sha256,
        size=packed.size,
        path=staged_path(packed.sha256, is_folder=True, is_code=is_code, mounts=mounts),
        becomes=staged_path(packed.sha256, is_folder=False, is_code=is_code, mounts=mounts) if mounts else "",
        what=what,
        source=str(path or tree.folder),
    )
    return Placement(upload=staged, place=place, is_folder=True, is_code=is_code)


def _file(path: Path, given: Input, *, mounts: bool) -> Placement:
    try:
        before = path.stat()
        if not stat.S_ISREG(before.st_mode):
            raise ConfigError(f"the input {given.source} is not a file or folder; expected one of them at {path}")
        sha256 = sha256_of(path)
        after = path.stat()
    except OSError as error:
        raise ConfigError(f"the input {given.source} cannot be read: {error.strerror}; expected it at {path}") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise changed(path)
    staged = StagedFile(
        sha256=sha256,
        size=after.st_size,
        path=staged_path(sha256, is_folder=False, is_code=False, mounts=mounts),
        what=f"the input {given.source}",
        source=str(path),
    )
    return Placement(upload=staged, place=given.destination, is_folder=False)


def _check_places(job: Job, placements: Sequence[Placement], *, mounts: bool) -> None:
    places = [one.place for one in placements]
    for place in places:
        if place.startswith("/") and not mounts:
            raise ConfigError(
                f"job {job.name} has the destination {place}, but HTCondor cannot mount files if it starts the container; "
                f'use a path relative to the working folder, such as "{place.rpartition("/")[2]}", which Slurm accepts too'
            )
        if places.count(place) > 1 or any(other.startswith(f"{place}/") for other in places):
            raise ConfigError(f"job {job.name} uses the destination {place} twice; expected different destinations")
