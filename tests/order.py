"""The order of the tests: in units that one worker runs as a whole, the longest first.

How long a test takes is known from ``tests/durations.json``: seconds (set-up, call and tear-down) by test id. Each run
writes its own durations to ``.last-run.json``, which git ignores; ``make durations`` makes them the known ones.
"""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
KNOWN = ROOT / "tests" / "durations.json"
LAST_RUN = ROOT / ".last-run.json"

SMALL_FILE = 300.0
"""A file whose tests take fewer seconds than this in all is one unit: its tests share fixtures, such as an image."""

TOGETHER = {
    "tests/cluster/test_older_slurm.py": "older Slurm",
    "tests/cluster/test_older_slurm_shapes.py": "older Slurm",
}
"""Files that are one unit whatever time they take: they share a lab, and some of their tests break it for a while."""

SLOW = 1.0
"""A test that took this many seconds in the kept run is left out of the inner loop: 5 tests in 100, and half of its time."""

UNKNOWN_FILE = 30.0
"""How many seconds a file is expected to take of which no test is in the list."""

SHORTEST = 0.5
"""Tests that take fewer seconds are not listed: the file would be long, and changed by each run."""


def file_of(nodeid: str) -> str:
    """Return the file of a test id."""
    return nodeid.partition("::")[0]


def read_durations() -> dict[str, float]:
    """Return the known seconds by test id; empty where there is no such file."""
    durations: dict[str, float] = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
    return durations


def write_run(durations: Mapping[str, float], seconds: float, *, whole: bool) -> None:
    """Write down what a run measured: seconds by test id, and of the run; `whole` means that no test was left out."""
    LAST_RUN.write_text(json.dumps({"whole": whole, "seconds": seconds, "durations": durations}))


def units(tests: Sequence[str], known: Mapping[str, float]) -> dict[str, str]:
    """Assign each test id the unit that it is run in; the units come in the order in which they are to start.

    A file is a unit if it is short or one of `TOGETHER`, else each of its tests is one.

    Args:
        tests: All test ids, in the order in which they were collected; a unit keeps it.
        known: Seconds by test id. A test that is not listed takes no time if another one of its file is.
    """
    listed = {file_of(test) for test in known}
    count = Counter(file_of(test) for test in tests)
    unknown = {file: 0.0 if file in listed else UNKNOWN_FILE / number for file, number in count.items()}
    seconds = {test: known.get(test, unknown[file_of(test)]) for test in tests}
    of_file: dict[str, float] = defaultdict(float)
    for test in tests:
        of_file[file_of(test)] += seconds[test]
    unit_of: dict[str, str] = {}
    for test in tests:
        file = file_of(test)
        unit_of[test] = TOGETHER.get(file) or (file if of_file[file] < SMALL_FILE else test)
    of_unit: dict[str, float] = defaultdict(float)
    for test, unit in unit_of.items():
        of_unit[unit] += seconds[test]
    collected = {unit: number for number, unit in enumerate(dict.fromkeys(unit_of.values()))}
    order = sorted(of_unit, key=lambda unit: (-of_unit[unit], collected[unit]))
    place = {unit: number for number, unit in enumerate(order)}
    return {test: unit_of[test] for test in sorted(tests, key=lambda test: place[unit_of[test]])}


def last_run() -> dict[str, Any]:
    """Return what the last run wrote down (`write_run`); ends the program where there was none."""
    if not LAST_RUN.exists():
        sys.exit(f"{LAST_RUN.name} is missing: run make test first")
    run: dict[str, Any] = json.loads(LAST_RUN.read_text())
    return run


def keep_durations() -> None:
    """Make the durations of the last run those that order the next ones; tests that it left out keep theirs."""
    run = last_run()
    kept = {} if run["whole"] else {test: known for test, known in read_durations().items() if test not in run["durations"]}
    kept |= {test: round(seconds, 1) for test, seconds in run["durations"].items() if seconds >= SHORTEST}
    KNOWN.write_text(json.dumps(dict(sorted(kept.items())), indent=0) + "\n")


def tell() -> str:
    """Return one line about the last run: how many tests, wall time, and the slowest."""
    run = last_run()
    slowest = max(run["durations"], key=run["durations"].__getitem__, default="")
    longest = f"; slowest: {slowest}, {run['durations'][slowest]:.0f} s" if slowest else ""
    return f"{len(run['durations'])} tests in {run['seconds']:.0f} s{longest}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--tell"]:
        print(tell())
    else:
        keep_durations()
