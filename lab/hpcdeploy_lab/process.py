"""Start the lab's init from outside, identify its process later, run commands inside the lab, and end the init."""

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
_TIMEOUT = 15.0
"""Maximum time in seconds for the creation of the namespaces, and for a process to end after a signal."""


@dataclass(frozen=True)
class Process:
    """A process, identified by PID and start time, because a PID can be reused (proc(5), stat, field 22)."""

    pid: int
    started: int

    def alive(self) -> bool:
        """Tell whether the process is still running; a zombie does not count as running."""
        found = _stat(self.pid)
        return found is not None and found[1] == self.started and found[2] not in "ZX"


def _stat(pid: int) -> tuple[int, int, str] | None:
    """Return parent, start time and state of a process; None if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]), int(fields[19]), fields[0]


def identify(pid: int) -> Process:
    """Return the identity of a running process.

    Raises:
        LabError: The process has ended.
    """
    found = _stat(pid)
    if found is None:
        raise LabError(f"process {pid} of the lab ended before it could be recorded")
    return Process(pid, found[1])


def child_of(parent: int) -> Process | None:
    """Return the only child of a process; None if it has none."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            found = _stat(int(entry.name))
            if found is not None and found[0] == parent:
                return Process(int(entry.name), found[1])
    return None


@dataclass(frozen=True)
class Waiting:
    """An init that waits for `go` before it does anything; if this program dies before `go`, the init ends."""

    init: Process
    outer: Process
    opener: int

    def go(self) -> None:
        """Let the init continue; from then on it does not depend on this program."""
        os.write(self.opener, b"go\n")
        os.close(self.opener)


def start(root: Path, settings: LabSettings, log: Path) -> Waiting:
    """Start the lab's init in its own namespaces, detached from the terminal.

    Raises:
        LabError: The namespaces could not be created.
    """
    arguments = (str(root), str(settings.state), settings.name, str(settings.gpus))
    argv = ["env", "--chdir=/", *UNSHARE, "/bin/sh", str(ENTER), *arguments]
    reading, writing = os.pipe()  # no child inherits an end, except the one that posix_spawn duplicates
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_DUP2, reading, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    outer = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions, setsid=True)
    os.close(reading)
    deadline = time.monotonic() + _TIMEOUT
    while time.monotonic() < deadline and os.waitpid(outer, os.WNOHANG) == (0, 0):
        child = child_of(outer)
        if child is not None:
            return Waiting(init=child, outer=identify(outer), opener=writing)
        time.sleep(0.02)
    os.close(writing)
    raise LabError(f"the lab's namespaces could not be created: {log.read_text(errors='replace').strip()}")


def end(init: Process, outer: Process) -> None:
    """End the lab: send SIGTERM, then SIGKILL, to its init, and wait until both processes have ended.

    When the init ends, the kernel ends all other processes of the lab (pid_namespaces(7)). When the last process has ended,
    the kernel removes the lab's mounts.

    Raises:
        LabError: One of the two processes does not end, not even after SIGKILL.
    """
    for process, number, timeout in (
        (init, signal.SIGTERM, _TIMEOUT),
        (init, signal.SIGKILL, _TIMEOUT),
        (outer, signal.SIGKILL, 2.0),
    ):
        if process.alive():
            os.kill(process.pid, number)
        deadline = time.monotonic() + timeout
        while process.alive() and time.monotonic() < deadline:
            _collect(outer.pid)
            time.sleep(0.05)
    _collect(outer.pid)
    if init.alive() or outer.alive():
        raise LabError(
            f"the lab's first process ({init.pid}) does not end; it is blocked in the kernel: see /proc/{init.pid}/stack"
        )


def _collect(pid: int) -> None:
    """Collect the exit status of the process `pid`, if it is a child of this process."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def enter_argv(init: Process, argv: Sequence[str], environment: Mapping[str, str], *, user: str, home: str) -> list[str]:
    """Return the command that runs `argv` inside the lab as `user`, in `home`, with exactly `environment`."""
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
