"""Choose free TCP ports on loopback. A lab keeps its ports between starts, so that published addresses stay valid."""

import json
import random
import socket
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from hpcdeploy.errors import LabError
from hpcdeploy_lab.settings import LabSettings, Ports

RANGE = range(20000, 30000)
"""Ports below those that the kernel uses for outgoing connections (ip(7), ip_local_port_range: from 32768)."""


def shuffled() -> list[int]:
    """Return all ports of `RANGE` in random order, so that two labs that start together rarely try the same port."""
    return random.SystemRandom().sample(RANGE, len(RANGE))


def is_free(port: int) -> bool:
    """Tell whether a port on loopback is unused, by binding it for a moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose(
    settings: LabSettings, remembered: Ports | None, candidates: Iterable[int], free: Callable[[int], bool] = is_free
) -> Ports:
    """Return the ports of a lab: each remembered port that is still free, and the first free candidates for the rest.

    Raises:
        LabError: There are not enough free ports.
    """
    taken: set[int] = set()
    kept = set(remembered.numbers()) if remembered else set()
    supply = iter(candidates)

    def one(old: int | None) -> int:
        if old is not None and old not in taken and free(old):
            taken.add(old)
            return old
        for port in supply:
            if port not in taken | kept and free(port):
                taken.add(port)
                return port
        raise LabError(f"no free port from {RANGE.start} to {RANGE.stop - 1} on loopback; end programs that listen there")

    nodes = len(settings.nodes)
    old_nodes: tuple[int | None, ...] = (None,) * nodes
    if remembered is not None and len(remembered.slurmd) == nodes:
        old_nodes = remembered.slurmd
    return Ports(
        ssh=one(remembered.ssh if remembered else None),
        registry=one(remembered.registry if remembered else None),
        condor=one(remembered.condor if remembered else None),
        slurmctld=one(remembered.slurmctld if remembered else None),
        slurmdbd=one(remembered.slurmdbd if remembered else None),
        slurmd=tuple(one(port) for port in old_nodes),
    )


def write(path: Path, ports: Ports) -> None:
    """Write the ports to a JSON file."""
    path.write_text(json.dumps(asdict(ports)))


def read(path: Path) -> Ports | None:
    """Read the ports from a JSON file; return None if the file is missing or malformed."""
    try:
        values = json.loads(path.read_text())
        return Ports(**{**values, "slurmd": tuple(values["slurmd"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
