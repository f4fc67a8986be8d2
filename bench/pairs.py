"""Timing two commands in turn, A B A B ..., so that a machine whose speed drifts drifts for both."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# A process that is started counts its starter's peak memory as its own (exec keeps the largest seen: Linux, fs/exec.c,
# exec_mmap). The starter is therefore a bare interpreter of its own, and what it reports is of its only child.
_STARTER = """
import os, sys, time
began = time.perf_counter()
_, status = os.waitpid(os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ), 0)
seconds = time.perf_counter() - began
import resource
kibibytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print("\\n[%d, %r, %d]" % (os.waitstatus_to_exitcode(status), seconds, kibibytes))
"""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What one whole process took: wall-clock seconds, and its peak memory in MB (the largest of it and its children)."""

    seconds: float
    megabytes: float

    def beyond(self, other: "Taken") -> "Taken":
        """Return what this took longer than `other`."""
        return Taken(seconds=self.seconds - other.seconds, megabytes=self.megabytes)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Medians of one command against its yardstick; ``ratio`` is the median of the ratios pair by pair."""

    name: str
    yardstick: str
    ours: Taken
    theirs: Taken
    ratio: float
    pairs: int


def take(argv: Sequence[str], environment: Mapping[str, str] | None = None, *, folder: Path | None = None) -> Taken:
    """Run a command as a whole process, in `folder`; a failure of its own is an error here.

    Memory below that of a bare Python (some 8 MB) cannot be told apart from it: see the comment on the starter.
    """
    starter = [sys.executable, "-I", "-S", "-c", _STARTER]
    done = subprocess.run([*starter, *argv], env=environment, cwd=folder, capture_output=True, text=True, check=True)
    code, seconds, kibibytes = json.loads(done.stdout.splitlines()[-1])
    if code:
        raise RuntimeError(f"{argv[0]} ended with {code}: {done.stderr[-500:]}")
    return Taken(seconds=seconds, megabytes=kibibytes * 1024 / 1e6)


def compare(name: str, yardstick: str, ours: Callable[[], Taken], theirs: Callable[[], Taken], *, pairs: int) -> Pair:
    """Time both `pairs` times in turn, after one of each that does not count."""
    ours()
    theirs()
    return compared(name, yardstick, [(ours(), theirs()) for _ in range(pairs)])


def compared(name: str, yardstick: str, taken: Sequence[tuple[Taken, Taken]]) -> Pair:
    """Make a comparison of what was taken, ours first."""
    return Pair(
        name=name,
        yardstick=yardstick,
        ours=_median([mine for mine, _ in taken]),
        theirs=_median([other for _, other in taken]),
        ratio=statistics.median(mine.seconds / other.seconds for mine, other in taken),
        pairs=len(taken),
    )


def _median(taken: Sequence[Taken]) -> Taken:
    return Taken(
        seconds=statistics.median(one.seconds for one in taken), megabytes=statistics.median(one.megabytes for one in taken)
    )
