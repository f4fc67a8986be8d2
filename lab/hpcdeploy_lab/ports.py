"""Free TCP ports on loopback, kept from one start to the next so that addresses given out stay good."""

import json
import random
import socket
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from hpcdeploy.errors import LabError
from hpcdeploy_lab.settings import LabSettings, Ports

RANGE = range(20000, 30000)
"""Below the ports that the kernel hands to outgoing connections (ip(7), ip_local_port_range: 32768 and up)."""


def shuffled() -> list[int]:
    """Return every candidate in a random order, so that two labs that start together do not look at the same port."""
    return random.SystemRandom().sample(RANGE, len(RANGE))


def is_free(port: int) -> bool:
    """Tell whether nobody listens on that port, by taking it for a moment."""
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
    """Keep every remembered port that is still free; take the first free candidates for the rest."""
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
        raise LabError(f"no free port from {RANGE.start} to {RANGE.stop - 1} on loopback; end what listens there")

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
    """Remember the ports in a JSON file."""
    path.write_text(json.dumps(asdict(ports)))


def read(path: Path) -> Ports | None:
    """Read remembered ports; none where nothing usable was remembered."""
    try:
        values = json.loads(path.read_text())
        return Ports(**{**values, "slurmd": tuple(values["slurmd"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
