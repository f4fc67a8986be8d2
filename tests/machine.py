"""How many tests this machine can run at once."""

import os
from pathlib import Path

PER_CORE = 4
"""Workers for each core: a test of the lab waits for a scheduler most of the time."""

MEMORY_OF_ALL = 2_000
"""MB that the lab's daemons and the jobs and builds in it take."""

MEMORY_OF_ONE = 300
"""MB that one worker and what it starts take."""


MEMORY_FOR_SCRATCH = 14_000
"""MB of memory from which on the lab's scratch is kept in it: all tests together leave up to 6 GB there."""


def workers(cores: int, available: int) -> int:
    """Return how many worker processes fit a machine with so many `cores` and so many `available` MB of memory."""
    return max(1, min(cores * PER_CORE, (available - MEMORY_OF_ALL) // MEMORY_OF_ONE))


def read_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def read_available_memory() -> int:
    """Return how many MB can be had without swapping (proc(5), MemAvailable)."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1000
    return 4_000
