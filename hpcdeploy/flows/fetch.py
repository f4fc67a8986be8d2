"""Fetch: a run's output and logs, brought home in one archive and unpacked as a whole."""

import json
import shutil
import tarfile
import tempfile
from pathlib import Path

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError, SchedulerError
from hpcdeploy.flows.connections import Connections
from hpcdeploy.run import Run
from hpcdeploy.scheduler.login_node import packing
from hpcdeploy.transport.contract import Progress, ignore_progress

MARK = "HPCDEPLOY {"


def fetch(
    run: Run, destination: Path, cluster: Cluster, connections: Connections, *, progress: Progress = ignore_progress
) -> list[Path]:
    """Bring ``output/`` and ``logs/`` of `run` to the folder `destination`, which must not be there yet; list the files.

    The folder appears whole or not at all. Raises `ConfigError` where it is there already, `SchedulerError` where the run's
    folder is not, or holds what no archive may (a link out of it, a device).
    """
    if destination.exists():
        raise ConfigError(f"{destination} is there already; name another folder with --output, or move this one away")
    transport = connections.to(cluster)
    completed = transport.run(("bash", "-l", "-s"), stdin=packing(cluster, run).encode())
    archive = _archive(completed.stdout.decode("utf-8", "surrogateescape"))
    if completed.exit_code or archive is None:
        said = completed.stderr.decode("utf-8", "replace").strip()
        raise SchedulerError(f"the output of run {run.id} could not be packed on {transport.where}: {said}")
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


def _archive(output: str) -> str | None:
    for line in output.splitlines():
        if line.startswith(MARK):
            return str(json.loads(line.removeprefix("HPCDEPLOY "))["archive"])
    return None


def _unpack(packed: Path, folder: Path, run: Run) -> None:
    """Unpack with Python's data filter, which lets nothing out of the folder (PEP 706)."""
    folder.mkdir()

    with tarfile.open(packed) as archive:
        try:
            archive.extractall(folder, filter="data")
        except tarfile.FilterError as error:
            raise SchedulerError(f"the output of run {run.id} holds what cannot be brought home: {error}") from error
