"""Compare hpcdeploy with the tools that it replaces; print a table, then JSON: ``python -m bench``."""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from bench import builds, crowds, login_node, subjects, uploads
from bench.pairs import Pair
from bench.place import place_for
from bench.ways import ways
from hpcdeploy_lab import cluster, state
from hpcdeploy_lab.settings import LabSettings, default_settings
from hpcdeploy_lab.state import Lab

SUBJECTS = ("start", "submit", "login", "sweep", "status", "upload", "push", "build")


def main() -> None:
    """Measure the requested subjects in a lab that only the benchmark uses; afterwards stop the lab and remove all files."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure how much longer hpcdeploy takes than the tools that it replaces."
    )
    parser.add_argument("--only", choices=SUBJECTS, action="append", help="subject to measure; may be repeated")
    parser.add_argument("--pairs", type=int, default=7, help="number of pairs of measurements (for large files: a third)")
    parser.add_argument("--megabytes", type=int, default=1000, help="size in MB of the file to push and upload")
    parser.add_argument(
        "--crowd", type=int, default=10_000, help="number of tasks in one run; a tenth of it is the number of runs"
    )
    parser.add_argument(
        "--packages", type=int, default=len(builds.PACKAGES), help="number of packages in the environment to build"
    )
    given = parser.parse_args()
    with _own_lab() as (folder, lab):
        chosen = given.only or SUBJECTS
        pairs = [_told(pair) for pair in _measured(folder, lab, chosen, given)]
    print(_table(pairs))
    print(json.dumps([asdict(pair) for pair in pairs], indent=2))


@contextmanager
def _own_lab() -> Iterator[tuple[Path, Lab]]:
    """Start a lab for the benchmark alone, so that its runs and images do not fill the user's lab; yield its folder and it.

    The folder is in the same parent folder as that of the user's lab, and not in ``/tmp``, which may be in memory. If an
    earlier benchmark was killed, its lab is stopped and its files are removed first.
    """
    usual = default_settings()
    folder = usual.state.with_name("bench")
    settings = replace(usual, state=folder / "hpcdeploy" / "lab", base_image=False)
    with state.locked(folder.with_name("bench.lock"), "waiting for another benchmark", _say):
        _remove(folder, settings)
        try:
            yield folder, cluster.up(settings, _say)
        finally:
            _remove(folder, settings)


def _remove(folder: Path, settings: LabSettings) -> None:
    cluster.down(settings)
    if folder.exists():
        shutil.rmtree(folder)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _measured(folder: Path, lab: Lab, chosen: Sequence[str], given: argparse.Namespace) -> Iterator[Pair]:
    pairs, megabytes = given.pairs, given.megabytes
    place = place_for(folder, lab)
    with ways(lab, folder) as (near, far):
        if "start" in chosen:
            yield from subjects.starting(place, pairs=pairs)
        if "submit" in chosen:
            yield from subjects.submitting(place, lab, (near, far), pairs=pairs)
        place.reach(lab, near)
        if "login" in chosen:
            yield login_node.submitting_there(place, lab, pairs=pairs)
        if "sweep" in chosen:
            yield crowds.sweeping(place, lab, tasks=given.crowd, pairs=pairs)
        if "status" in chosen:
            yield from crowds.asking(place, lab, (near, far), runs=max(1, given.crowd // 10), pairs=pairs)
        if "upload" in chosen:
            yield from uploads.uploading(place, lab, (near, far), megabytes=megabytes, pairs=max(1, pairs // 3))
        if "push" in chosen:
            yield subjects.pushing(place, lab, megabytes=megabytes, pairs=max(1, pairs // 3))
        if "build" in chosen:
            yield from builds.building(lab, packages=builds.PACKAGES[: given.packages], pairs=max(1, pairs // 3))


def _told(pair: Pair) -> Pair:
    _say(f"{pair.name}: {pair.ratio:.2f} times {pair.yardstick}")
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
