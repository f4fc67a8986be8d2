"""The lab's processes seen from outside: start its init, find it again, run something beside it, end it."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy.errors import LabError
from hpcdeploy_lab.settings import LabSettings

ENTER = Path(__file__).with_name("enter.sh")
UNSHARE = ("unshare", "--mount", "--uts", "--ipc", "--pid", "--propagation", "private", "--fork", "--kill-child=SIGKILL")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PATIENCE = 15.0


@dataclass(frozen=True)
class Process:
    """A process, never mistaken for a later one of the same number: its start time counts (proc(5), stat, field 22)."""

    pid: int
    started: int

    def alive(self) -> bool:
        """Tell whether it still runs; a zombie does not."""
        found = _stat(self.pid)
        return found is not None and found[1] == self.started and found[2] not in "ZX"


def _stat(pid: int) -> tuple[int, int, str] | None:
    """Return parent, start time and state of a process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]), int(fields[19]), fields[0]


def identify(pid: int) -> Process:
    """Take down who a running process is."""
    found = _stat(pid)
    if found is None:
        raise LabError(f"process {pid} of the lab ended before it could be recorded")
    return Process(pid, found[1])


def child_of(parent: int) -> Process | None:
    """Find the one child of a process."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            found = _stat(int(entry.name))
            if found is not None and found[0] == parent:
                return Process(int(entry.name), found[1])
    return None


@dataclass(frozen=True)
class Waiting:
    """An init that has been started and waits for the word to go on; it ends by itself if this program dies first."""

    init: Process
    outer: Process
    opener: int

    def go(self) -> None:
        """Let it go on, on its own."""
        os.write(self.opener, b"go\n")
        os.close(self.opener)


def start(root: Path, settings: LabSettings, log: Path) -> Waiting:
    """Start the lab's init in namespaces of its own, detached from the terminal."""
    words = (str(root), str(settings.state), settings.name, str(settings.gpus))
    argv = ["env", "--chdir=/", *UNSHARE, "/bin/sh", str(ENTER), *words]
    reading, writing = os.pipe()  # neither end is inherited, except as what posix_spawn makes of it
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_DUP2, reading, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    outer = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions, setsid=True)
    os.close(reading)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and os.waitpid(outer, os.WNOHANG) == (0, 0):
        child = child_of(outer)
        if child is not None:
            return Waiting(init=child, outer=identify(outer), opener=writing)
        time.sleep(0.02)
    os.close(writing)
    raise LabError(f"the lab's namespaces could not be made: {log.read_text(errors='replace').strip()}")


def end(init: Process, outer: Process) -> None:
    """End the lab: ask its init, then make the kernel do it, and wait until both processes are gone.

    Every other process of the lab ends with its init (pid_namespaces(7)), and with the last of them every mount.
    """
    for process, number, patience in (
        (init, signal.SIGTERM, _PATIENCE),
        (init, signal.SIGKILL, _PATIENCE),
        (outer, signal.SIGKILL, 2.0),
    ):
        if process.alive():
            os.kill(process.pid, number)
        deadline = time.monotonic() + patience
        while process.alive() and time.monotonic() < deadline:
            _collect(outer.pid)
            time.sleep(0.05)
    _collect(outer.pid)
    if init.alive() or outer.alive():
        raise LabError(
            f"the lab's first process ({init.pid}) does not end; it waits on the kernel: look at /proc/{init.pid}/stack"
        )


def _collect(pid: int) -> None:
    """Collect the exit status where the lab was started by this very program."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def enter_argv(init: Process, argv: Sequence[str], environment: Mapping[str, str], *, user: str, home: str) -> list[str]:
    """Plan the command that runs `argv` inside the lab as `user`, in `home`, with exactly `environment`."""
    become = [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
    variables = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": home, "USER": user, "LOGNAME": user, **environment}
    return [
        "nsenter",
        f"--target={init.pid}",
        *("--mount", "--uts", "--ipc", "--pid", "--root", "--wd", "--"),
        *become,
        *("env", "-i", "-C", home, *(f"{key}={value}" for key, value in variables.items())),
        *argv,
    ]
