"""``python -m bench``: measure, print a table, then the same as JSON."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from bench import subjects
from bench.pairs import Pair
from hpcdeploy.lab import cluster
from hpcdeploy.lab.settings import default_settings
from hpcdeploy.lab.state import Lab

SUBJECTS = ("start", "submit", "push")


def main() -> None:
    """Measure what was asked for, on the lab; a lab that was not up is taken down again."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Ratios against the bare tools, side by side.")
    parser.add_argument("--only", choices=SUBJECTS, action="append", help="measure this; again for more")
    parser.add_argument("--pairs", type=int, default=7, help="how many pairs (a third of them for pushing)")
    parser.add_argument("--megabytes", type=int, default=1000, help="how much to push")
    given = parser.parse_args()
    settings = default_settings()
    was_up = cluster.find(settings) is not None
    lab = cluster.up(settings, lambda line: print(line, file=sys.stderr))
    here = Path.cwd()
    try:
        with tempfile.TemporaryDirectory() as folder:
            chosen = given.only or SUBJECTS
            pairs = [_told(pair) for pair in _measured(Path(folder), lab, chosen, given.pairs, given.megabytes)]
            os.chdir(here)
    finally:
        if not was_up:
            cluster.down(settings)
    print(_table(pairs))
    print(json.dumps([asdict(pair) for pair in pairs], indent=2))


def _measured(folder: Path, lab: Lab, chosen: Sequence[str], pairs: int, megabytes: int) -> Iterator[Pair]:
    environment = subjects.project(folder, lab)
    if "start" in chosen:
        yield from subjects.starting(folder, environment, pairs=pairs)
    if "submit" in chosen:
        yield from subjects.submitting(folder, environment, lab, pairs=pairs)
    if "push" in chosen:
        yield from subjects.pushing(folder, lab, megabytes=megabytes, pairs=max(1, pairs // 3))


def _told(pair: Pair) -> Pair:
    print(f"{pair.name}: {pair.ratio:.2f} times {pair.yardstick}", file=sys.stderr)
    return pair


def _table(pairs: list[Pair]) -> str:
    rows = [("WHAT", "AGAINST", "RATIO", "OURS", "THEIRS", "OUR MEMORY", "THEIR MEMORY")]
    rows += [
        (
            pair.name,
            pair.yardstick,
            f"{pair.ratio:.2f}",
            f"{pair.ours.seconds:.3f} s",
            f"{pair.theirs.seconds:.3f} s",
            f"{pair.ours.megabytes:.0f} MB",
            f"{pair.theirs.megabytes:.0f} MB",
        )
        for pair in pairs
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


if __name__ == "__main__":
    main()
