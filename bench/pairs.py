"""Timing two commands in turn, A B A B ..., so that a machine whose speed drifts drifts for both."""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What one whole process took: wall-clock seconds, and its peak memory in MB (the largest of it and its children)."""

    seconds: float
    megabytes: float


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Medians of one command against its yardstick; ``ratio`` is the median of the ratios pair by pair."""

    name: str
    yardstick: str
    ours: Taken
    theirs: Taken
    ratio: float
    pairs: int


def take(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> Taken:
    """Run a command as a whole process and wait for it with wait4(2); a failure of its own is an error here."""
    began = time.perf_counter()
    with subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"{argv[0]} ended with {process.returncode}: {said.decode(errors='replace')[-500:]}")
    return Taken(seconds=seconds, megabytes=usage.ru_maxrss / 1000)


def compare(name: str, yardstick: str, ours: Callable[[], Taken], theirs: Callable[[], Taken], *, pairs: int) -> Pair:
    """Time both `pairs` times in turn, after one of each that does not count."""
    ours()
    theirs()
    taken = [(ours(), theirs()) for _ in range(pairs)]
    return Pair(
        name=name,
        yardstick=yardstick,
        ours=_median([mine for mine, _ in taken]),
        theirs=_median([other for _, other in taken]),
        ratio=statistics.median(mine.seconds / other.seconds for mine, other in taken),
        pairs=pairs,
    )


def _median(taken: Sequence[Taken]) -> Taken:
    return Taken(
        seconds=statistics.median(one.seconds for one in taken), megabytes=statistics.median(one.megabytes for one in taken)
    )
