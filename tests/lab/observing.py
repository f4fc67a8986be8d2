"""How the tests look at a lab from outside: its processes, its mounts, and what comes true in time."""

import time
from collections.abc import Callable
from pathlib import Path

from hpcdeploy_lab.state import Lab

Ask = Callable[[Lab, str], str]


def eventually(claim: Callable[[], bool], patience: float = 60) -> bool:
    """Tell whether a claim comes true before the patience ends."""
    deadline = time.monotonic() + patience
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def processes_in(namespace: str) -> list[int]:
    """List the processes of a PID namespace, named as the link ``/proc/PID/ns/pid`` names it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                link = str((entry / "ns" / "pid").readlink())
            except OSError:
                continue
            if link == namespace:
                found.append(int(entry.name))
    return found


def mounts_of(folder: Path) -> list[str]:
    """List the mounts, in any process's view, that mention a folder as their place or their source."""
    found: set[str] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                lines = (entry / "mountinfo").read_text().splitlines()
            except OSError:
                continue
            found.update(line for line in lines if str(folder) in line)
    return sorted(found)
