"""Run two commands alternately, A B A B ..., so that a change of the machine's speed affects both."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# A new process inherits the peak memory of its parent, because exec keeps the maximum (Linux, fs/exec.c, exec_mmap). So the
# parent must be small: it is a bare interpreter, which prints the exit code, time and memory of its only child.
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
    """The duration of one process in seconds, and its peak memory in MB: the highest of the process and its children."""

    seconds: float
    megabytes: float

    def beyond(self, other: "Taken") -> "Taken":
        """Return this measurement with the time of `other` subtracted; the memory stays the same."""
        return Taken(seconds=self.seconds - other.seconds, megabytes=self.megabytes)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The result of comparing two commands: ``ours`` of hpcdeploy, and ``theirs``, which it is compared with.

    Both are medians. ``ratio`` is the median of the ratios of all pairs of times; ``pairs`` is the number of pairs.
    """

    name: str
    yardstick: str
    ours: Taken
    theirs: Taken
    ratio: float
    pairs: int


def take(
    argv: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    folder: Path | None = None,
    interpreter: Sequence[str] = (sys.executable,),
) -> Taken:
    """Run a command as a new process in `folder`, and return its time and memory.

    `interpreter` is the command of the Python that starts and measures the process. It may be in another place, such as
    inside the lab; the time of reaching this place is not measured.

    A memory below that of a bare Python (about 8 MB) cannot be measured, for the reason given at `_STARTER`.

    Raises:
        RuntimeError: The command failed.
    """
    starter = [*interpreter, "-I", "-S", "-c", _STARTER]
    done = subprocess.run([*starter, *argv], env=environment, cwd=folder, capture_output=True, text=True, check=True)
    code, seconds, kibibytes = json.loads(done.stdout.splitlines()[-1])
    if code:
        raise RuntimeError(f"{argv[0]} ended with {code}: {done.stderr[-500:]}")
    return Taken(seconds=seconds, megabytes=kibibytes * 1024 / 1e6)


def compare(name: str, yardstick: str, ours: Callable[[], Taken], theirs: Callable[[], Taken], *, pairs: int) -> Pair:
    """Measure both commands `pairs` times alternately; before that, run each once without measuring, to fill caches."""
    ours()
    theirs()
    return compared(name, yardstick, [(ours(), theirs()) for _ in range(pairs)])


def compared(name: str, yardstick: str, taken: Sequence[tuple[Taken, Taken]]) -> Pair:
    """Return the comparison of pairs of measurements; in each pair, that of hpcdeploy is the first."""
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
