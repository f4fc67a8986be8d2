"""Who is at the other end of a connection, where that is a process that the test has not started itself: ssh(1)'s master."""

import contextlib
import os
import signal
from pathlib import Path

_ESTABLISHED = "01"


def kill_whoever_comes_to(port: int) -> None:
    """Kill the processes of this machine that have a connection to loopback's `port` (proc_pid_net(5), proc_pid_fd(5))."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[2].endswith(f":{port:04X}") and row[3] == _ESTABLISHED}
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):  # it has ended
            if any(_leads_to(file) in sockets for file in folder.iterdir()):
                os.kill(int(folder.parent.name), signal.SIGKILL)


def _leads_to(file: Path) -> str:
    try:
        return str(file.readlink())
    except OSError:
        return ""
