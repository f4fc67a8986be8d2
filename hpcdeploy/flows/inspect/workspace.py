"""Inspect a Pixi workspace, or a lock file alone: list the packages that an environment downloads. Nothing is built."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hpcdeploy.architecture import AMD64, ARCHITECTURES, Architecture
from hpcdeploy.boundary import Boundary
from hpcdeploy.environments.inventory import compare, items_of
from hpcdeploy.environments.pixi import Workspace, read_manifest
from hpcdeploy.environments.pixi_choice import Choice, choose_platform
from hpcdeploy.environments.pixi_lock import LockFile, Row, not_locked, read_lock
from hpcdeploy.environments.pixi_platform import DEFAULT_GLIBC, Platform, customised, overrides
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.flows.inspect.against import Older
from hpcdeploy.flows.inspect.report import SourceReport
from hpcdeploy.flows.sources.pixi import LOCK, find_manifest
from hpcdeploy.flows.sources.staging import read_text
from hpcdeploy.frozen import frozen

DEFAULT = "default"
_SIZES = "the sizes are those of compressed downloads; an image is compressed in another way"


@frozen
class Wanted:
    """The environment and platform to report on; `hpcdeploy.source.PixiSource` describes most attributes.

    `architecture` is that of the image. Without an image it is None: the first of `ARCHITECTURES` for which the environment
    is locked.
    """

    environment: str | None = None
    platform: str = ""
    cuda: str | None = None
    architecture: Architecture | None = None


def inspect_workspace(
    folder: Path, wanted: Wanted, *, against: Older | None = None, project: Path | None = None
) -> SourceReport:
    """Report on the Pixi workspace in `folder`.

    Args:
        folder: The workspace's folder.
        wanted: The environment and platform to report on.
        against: The older lock file to compare with; None for no comparison.
        project: The folder of the project that contains the workspace; None if that is `folder`.

    Raises:
        EnvironmentFileError: The manifest or lock file is missing or malformed.
    """
    within = Boundary(project or folder)
    manifest = find_manifest(folder, within)
    lock = folder / LOCK
    if not lock.exists():
        raise EnvironmentFileError(
            f"{lock} is missing, so the exact packages of {manifest.name} are not known; run 'pixi lock' in {folder}"
        )
    workspace = read_manifest(read_text(manifest, within), str(manifest))
    return inspect_lock(lock, wanted, workspace=workspace, against=against, within=within)


def inspect_lock(
    lock: Path,
    wanted: Wanted,
    *,
    workspace: Workspace | None = None,
    against: Older | None = None,
    within: Boundary | None = None,
) -> SourceReport:
    """Report on one environment of a lock file.

    Args:
        lock: The path of the lock file.
        wanted: The environment and platform to report on. Without an environment, the lock file's only environment is used,
            or else the environment ``default``.
        workspace: The workspace that the lock file belongs to. Lock files do not contain the names of platforms, and older
            ones not the CUDA and glibc versions. If None, the environment's first platform in the lock file is used.
        against: The older lock file to compare with; None for no comparison.
        within: The project that must contain the lock file; None if the user named the lock file in the command.

    Raises:
        EnvironmentFileError: The lock file is malformed, or lacks the environment.
    """
    parsed = read_lock(read_text(lock, within), str(lock))
    names = parsed.environments
    name = wanted.environment or (names[0] if len(names) == 1 else DEFAULT)
    architecture = wanted.architecture or _locked_for(parsed, name)
    if workspace:
        environment = workspace.environment(name)
        choice = choose_platform(
            workspace, environment, parsed, cuda=wanted.cuda, platform=wanted.platform, architecture=architecture
        )
    else:
        choice = _first_platform(parsed, name, architecture.subdir)
    platform = choice.platform if wanted.cuda is None else replace(choice.platform, cuda=wanted.cuda)
    locked = parsed.read(name, choice.row)
    about_platforms = choice.note if workspace else _other_platforms_note(parsed.rows(name, architecture.subdir))
    items, changes = items_of(locked.packages), None
    if against:
        older = read_lock(against.text, against.name)
        changes = compare(items_of(older.read(name, _same_platform(older, name, choice.row)).packages), items)
    return SourceReport(
        source="pixi",
        where=str(lock),
        environment=name,
        platform=choice.platform.name if workspace else choice.row.shown,
        environments=tuple((other, _shown(parsed, other, choice)) for other in names),
        channels=locked.channels,
        cuda=platform.cuda,
        glibc=platform.glibc or (DEFAULT_GLIBC if workspace else ""),
        overrides=tuple(f"{variable}={value}" for variable, value in _variables(platform)),
        items=items,
        against=against.name if against else "",
        changes=changes,
        notes=tuple(note for note in (about_platforms, _SIZES) if note),
    )


def _variables(platform: Platform) -> tuple[tuple[str, str], ...]:
    """Return the variables that the build sets for pixi."""
    return (*((("CONDA_OVERRIDE_CUDA", platform.cuda),) if platform.cuda else ()), *overrides(platform))


def _locked_for(lock: LockFile, environment: str) -> Architecture:
    """Return the first of `ARCHITECTURES` for which an environment is locked; amd64 if it is locked for none."""
    locked = {row.subdir for row in lock.rows(environment)} if environment in lock.environments else set()
    return next((one for one in ARCHITECTURES if one.subdir in locked), AMD64)


def _first_platform(lock: LockFile, environment: str, subdir: str) -> Choice:
    rows = lock.rows(environment, subdir)
    if not rows:
        raise not_locked(lock, environment, subdir)
    return Choice(platform=rows[0].platform, row=rows[0], named={})


def _other_platforms_note(rows: Sequence[Row]) -> str:
    """Return a note on a lock file with several platforms and no manifest; empty for one platform."""
    if len(rows) < 2:
        return ""
    return (
        f"the environment is locked for {', '.join(row.shown for row in rows)}; only the first is shown; inspect the "
        "workspace's folder to see the platform that images use"
    )


def _shown(lock: LockFile, environment: str, choice: Choice) -> tuple[str, ...]:
    """Return the names of an environment's platforms in the manifest; without a name, the platform's virtual packages."""
    return tuple(dict.fromkeys(choice.named.get(row.key, row.shown) for row in lock.rows(environment)))


def _same_platform(lock: LockFile, environment: str, row: Row) -> Row:
    """Return the row of `lock` for the same platform as `row` of another lock file; if there is none, its first row.

    Raises:
        EnvironmentFileError: `lock` has no row of the environment for the platform of `row`.
    """
    rows = lock.rows(environment, row.subdir)
    if not rows:
        raise not_locked(lock, environment, row.subdir)
    wanted = customised(row.listed or {}, row.subdir)
    same = (one for one in rows if customised(one.listed or {}, row.subdir) == wanted)
    return next(same, rows[0])
