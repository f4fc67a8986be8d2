"""What is on record about one lab: a value for the rest of the program, files for the next command."""

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

    ``host`` is its name in ``ssh_config``. ``registry`` is ``localhost:PORT``, the form in which image references name it,
    over plain HTTP. ``slurm`` is the release of Slurm, such as ``24.11``.
    ``colleague`` is another user, and ``team_scratch`` a folder that both may write to.
    ``rootfs`` is the shared root file system that it was started from; ``inside`` is a folder of this machine that the lab
    sees as ``/lab``.
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
        """Folder that the lab sees as ``/lab``: plan, status, keys, logs."""
        return self.state / "inside"

    @property
    def logs(self) -> Path:
        """Folder of every daemon's log."""
        return self.inside / "log"

    def seen(self, path: str) -> Path:
        """Return where this machine sees a path below the lab's ``/home``, ``/scratch`` or ``/tmp``."""
        return self.state / path.removeprefix("/")

    @property
    def init_pid(self) -> int:
        """Number of the lab's first process on this machine."""
        return self.init.pid


def describe(settings: LabSettings, ports: Ports, rootfs: Path, init: Process, outer: Process) -> Lab:
    """Put a lab's value together."""
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
    """What was written down when the lab's init was started; its processes may have ended since."""

    rootfs: Path
    accounting: bool
    slurm: str
    init: Process
    outer: Process


def read(path: Path) -> Record | None:
    """Read the record; none where there is no usable one. Records of older versions do not name the release of Slurm."""
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
    """Read what the lab's init last published; ``{"phase": "entering"}`` before it did."""
    try:
        status: dict[str, Any] = json.loads((inside / "status.json").read_text())
    except (OSError, ValueError):
        return {"phase": "entering", "services": {}}
    return status


@contextmanager
def locked(path: Path, waiting: str, report: Callable[[str], None]) -> Iterator[int]:
    """Hold a lock file for as long as the block runs; say `waiting` first where somebody else holds it (flock(2)).

    Gives the file descriptor: a child that inherits it holds the lock too.
    """
    private_folder(path.parent)
    with path.open("ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(waiting)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle.fileno()
