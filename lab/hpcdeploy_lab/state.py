"""Describe a running lab as a value, and record its state in files for later commands."""

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcdeploy.cluster import SchedulerName
from hpcdeploy.private import private_folder
from hpcdeploy.whole_file import write_whole
from hpcdeploy_lab.process import Process
from hpcdeploy_lab.releases import DEFAULT
from hpcdeploy_lab.settings import LabSettings, Ports


@dataclass(frozen=True, kw_only=True)
class Lab:
    """A running lab.

    Attributes:
        name: The lab's name.
        host: The ``Host`` of the lab in ``ssh_config``.
        user: The name of the lab's user.
        ssh_port: The port of the lab's sshd.
        registry: The host of the lab's registry in image references, ``localhost:PORT``; the registry uses plain HTTP.
        ports: The ports of all daemons.
        state: The folder of this lab on this machine.
        cache: The folder on this machine that all labs share.
        rootfs: The path of the shared root file system that the lab was started from.
        ssh_config: The path of the lab's SSH configuration.
        home: The home folder of ``user`` in the lab.
        scratch: The scratch folder of ``user`` in the lab.
        colleague: The name of a second user.
        team_scratch: A folder in the lab that both users may write to.
        accounting: Whether slurmdbd is running.
        slurm: The release of Slurm, such as ``24.11``.
        schedulers: The schedulers of the lab, the default first.
        init: The lab's first process.
        outer: The process on this machine that started ``init``.
    """

    name: str
    host: str
    user: str
    ssh_port: int
    registry: str
    ports: Ports
    state: Path
    cache: Path
    rootfs: Path
    ssh_config: Path
    home: str
    scratch: str
    colleague: str
    team_scratch: str
    accounting: bool
    slurm: str
    schedulers: tuple[SchedulerName, ...]
    init: Process
    outer: Process

    @property
    def inside(self) -> Path:
        """Return the folder that the lab sees as ``/lab``: plan, status, keys, logs."""
        return self.state / "inside"

    @property
    def logs(self) -> Path:
        """Return the folder with the logs of the init and of all daemons."""
        return self.inside / "log"

    def seen(self, path: str) -> Path:
        """Return the path on this machine of a path below the lab's ``/home``, ``/scratch`` or ``/tmp``."""
        return self.state / path.removeprefix("/")

    @property
    def init_pid(self) -> int:
        """Return the PID of the lab's first process on this machine."""
        return self.init.pid


def describe(settings: LabSettings, ports: Ports, rootfs: Path, init: Process, outer: Process) -> Lab:
    """Return the value that describes a lab."""
    return Lab(
        name=settings.name,
        host=f"hpcdeploy-{settings.name}",
        user=settings.user,
        ssh_port=ports.ssh,
        registry=f"localhost:{ports.registry}",
        ports=ports,
        state=settings.state,
        cache=settings.cache,
        rootfs=rootfs,
        ssh_config=settings.state / "ssh_config",
        home=settings.home,
        scratch=settings.scratch,
        colleague=settings.colleague,
        team_scratch=f"/scratch/{settings.team}",
        accounting=settings.accounting,
        slurm=settings.slurm,
        schedulers=settings.schedulers,
        init=init,
        outer=outer,
    )


def write(path: Path, lab: Lab) -> None:
    """Record a lab in the file `path`."""
    values = {
        "rootfs": str(lab.rootfs),
        "accounting": lab.accounting,
        "slurm": lab.slurm,
        "init": [lab.init.pid, lab.init.started],
        "outer": [lab.outer.pid, lab.outer.started],
    }
    write_whole(path, json.dumps(values), private=True)


@dataclass(frozen=True)
class Record:
    """The record that was written when the lab's init was started; its processes may have ended since."""

    rootfs: Path
    accounting: bool
    slurm: str
    init: Process
    outer: Process


def read(path: Path) -> Record | None:
    """Read the record; return None if it is missing or malformed.

    A record of an older version lacks the release of Slurm; the release is then the default.
    """
    try:
        values = json.loads(path.read_text())
        return Record(
            Path(values["rootfs"]),
            bool(values["accounting"]),
            str(values.get("slurm", DEFAULT)),
            Process(*values["init"]),
            Process(*values["outer"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def read_status(inside: Path) -> dict[str, Any]:
    """Return the latest status that the lab's init wrote; ``phase`` is ``entering`` if it has not written one yet."""
    try:
        status: dict[str, Any] = json.loads((inside / "status.json").read_text())
    except (OSError, ValueError):
        return {"phase": "entering", "services": {}}
    return status


@contextmanager
def locked(path: Path, waiting: str, report: Callable[[str], None]) -> Iterator[int]:
    """Hold a lock file while the block runs (flock(2)); yield its file descriptor.

    A child that inherits the file descriptor holds the lock too.

    Args:
        path: The lock file.
        waiting: The message to report if another process holds the lock.
        report: Receives the message.
    """
    private_folder(path.parent)
    with path.open("ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(waiting)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle.fileno()
