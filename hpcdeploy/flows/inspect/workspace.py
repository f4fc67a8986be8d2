"""A Pixi workspace, or its lock file alone: what one environment will download, before anything is built."""

from pathlib import Path

from hpcdeploy.environments.inventory import compare, items_of
from hpcdeploy.environments.pixi import LINUX, Workspace, read_manifest
from hpcdeploy.environments.pixi_lock import read_locked, read_outline
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.flows.inspect.against import Older
from hpcdeploy.flows.inspect.report import SourceReport
from hpcdeploy.flows.sources.pixi import LOCK, find_manifest
from hpcdeploy.flows.sources.staging import read_text

DEFAULT = "default"


def inspect_workspace(folder: Path, environment: str | None = None, *, against: Older | None = None) -> SourceReport:
    """Report on the workspace in `folder`; raises `EnvironmentFileError`, for a missing lock file too."""
    manifest = find_manifest(folder)
    lock = folder / LOCK
    if not lock.is_file():
        raise EnvironmentFileError(
            f"{lock} is missing: it says which packages {manifest.name} stands for; run 'pixi lock' in {folder}"
        )
    return inspect_lock(lock, environment, workspace=read_manifest(read_text(manifest), str(manifest)), against=against)


def inspect_lock(
    lock: Path, environment: str | None = None, *, workspace: Workspace | None = None, against: Older | None = None
) -> SourceReport:
    """Report on one environment of a lock file; without a name it is ``default``, or the only one that there is.

    The `workspace` it belongs to knows what older lock files do not say: which CUDA and glibc are wanted.
    """
    text = read_text(lock)
    outline = read_outline(text, str(lock))
    names = [name for name, _ in outline.environments]
    name = environment or (names[0] if len(names) == 1 else DEFAULT)
    locked = read_locked(text, name, file=str(lock))
    items = items_of(locked.packages)
    cuda, glibc = locked.cuda, locked.glibc
    if workspace:
        wanted = workspace.environment(name)
        cuda, glibc = cuda or workspace.cuda(wanted), glibc or workspace.glibc(wanted)
    changes = None
    if against:
        before = read_locked(against.text, name, file=against.name)
        changes = compare(items_of(before.packages), items)
    return SourceReport(
        source="pixi",
        where=str(lock),
        environment=name,
        platform=LINUX,
        environments=outline.environments,
        channels=locked.channels,
        cuda=cuda,
        glibc=glibc,
        items=items,
        against=against.name if against else "",
        changes=changes,
        notes=("sizes are those of the downloads, which are compressed; an image is compressed in its own way",),
    )
