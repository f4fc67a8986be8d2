"""Fetch: a run's output and logs, brought home in one archive and unpacked as a whole."""

import os
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError, SchedulerError
from hpcdeploy.flows.connections import Connections
from hpcdeploy.login_node import SHELL, read_answer
from hpcdeploy.progress import Progress, ignore_progress
from hpcdeploy.run import Run
from hpcdeploy.scheduler.login_node import packing
from hpcdeploy.transport.contract import Completed


def fetch(
    run: Run,
    destination: Path,
    cluster: Cluster,
    connections: Connections,
    *,
    progress: Progress = ignore_progress,
    overrides: Path | None = None,
) -> list[Path]:
    """Bring ``output/`` and ``logs/`` of `run` to the folder `destination`, which must not be there yet; list the files.

    The folder appears whole or not at all. Raises `ConfigError` where it is there already, `SchedulerError` where the run's
    folder is not, or holds what no archive may (a link out of it, a device). `overrides` is the folder of the project whose
    own templates count.
    """
    if destination.exists():
        raise ConfigError(f"{destination} is there already; name another folder with --output, or move this one away")
    transport = connections.to(cluster)
    completed = transport.run(SHELL, stdin=packing(cluster, run, overrides=overrides).encode())
    archive = _archive(completed, run, transport.where)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{destination.name}-", dir=destination.parent) as temporary:
        packed = Path(temporary) / "archive.tar"
        try:
            transport.get(archive, packed, progress=progress)
        finally:
            transport.run(["rm", "-f", "--", archive])
        _unpack(packed, Path(temporary) / "run", run)
        shutil.move(Path(temporary) / "run", destination)
    return sorted(path for path in destination.rglob("*") if path.is_file())


def _archive(completed: Completed, run: Run, where: str) -> str:
    """Return the path of the packed archive; `SchedulerError` with what was said where there is none."""
    said = completed.stderr.decode("utf-8", "replace").strip()
    try:
        answer = read_answer(completed.stdout)
    except ValueError as error:
        answer, said = None, f"{error}; {said}"
    if completed.exit_code or answer is None:
        raise SchedulerError(f"the output of run {run.id} could not be packed on {where}: {said}")
    return str(answer["archive"])


def _unpack(packed: Path, folder: Path, run: Run) -> None:
    """Unpack files, folders and links that stay inside `folder`, and refuse everything else.

    Python's own filters (PEP 706) came with 3.11.4; Debian 12 has 3.11.2. Links are made last, so that nothing is
    ever written through one.
    """
    folder.mkdir()
    links: list[tuple[Path, str]] = []
    with tarfile.open(packed) as archive:
        for member in archive:
            target = _inside(folder, member.name, run)
            target.parent.mkdir(parents=True, exist_ok=True)
            if member.isdir():
                target.mkdir(exist_ok=True)
            elif member.issym():
                _inside(folder, str(PurePosixPath(member.name).parent / member.linkname), run)
                links.append((target, member.linkname))
            elif source := archive.extractfile(member):
                with source, target.open("xb") as file:
                    shutil.copyfileobj(source, file)
                target.chmod(0o755 if member.mode & 0o100 else 0o644)
            else:
                raise SchedulerError(f"the output of run {run.id} holds {member.name!r}, which is no file, folder or link")
    for target, destination in links:
        target.symlink_to(destination)


def _inside(folder: Path, name: str, run: Run) -> Path:
    """Return the place of `name` in `folder`; raises `SchedulerError` where it would be outside."""
    whole = PurePosixPath(os.path.normpath(name))
    if whole.is_absolute() or whole.parts[:1] == ("..",):
        raise SchedulerError(
            f"the output of run {run.id} holds {name!r}, which leads out of its folder; nothing was unpacked"
        )
    return folder / whole
