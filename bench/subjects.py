"""Measure starting, submitting and pushing; each measurement is one process, as a user starts it."""

import itertools
import sys
from collections.abc import Iterator, Sequence
from functools import partial

from bench.pairs import Pair, Taken, compare, take
from bench.place import CLUSTER, Place, write_sif
from bench.ways import Way
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab

MEDIA = "application/vnd.sylabs.sif.layer.v1.sif"
HELD = ("submit", "report", "--cluster", CLUSTER, "--scheduler", "slurm", "--slurm", "hold")
"""Arguments that submit a job on hold."""


def starting(place: Place, *, pairs: int) -> Iterator[Pair]:
    """Compare ``--help`` and ``render`` with an interpreter that does nothing."""

    def nothing() -> Taken:
        return take([sys.executable, "-c", "pass"], place.environment)

    yield compare("hpcdeploy --help", "python -c pass", lambda: place.hpcdeploy("--help"), nothing, pairs=pairs)
    render = ("render", "report", "--cluster", CLUSTER)
    yield compare("hpcdeploy render", "python -c pass", lambda: place.hpcdeploy(*render), nothing, pairs=pairs)


def held_sbatch(lab: Lab) -> list[str]:
    """Write a job script into the lab, and return the ``sbatch`` command that submits it on hold."""
    script = f"{lab.scratch}/bench.sh"
    inside(lab, ["sh", "-c", f"printf '#!/bin/sh\\ntrue\\n' >{script}"], user=lab.user).check_returncode()
    return ["sbatch", "--parsable", "--hold", "--output=/dev/null", script]


def submitting(place: Place, lab: Lab, ways: Sequence[Way], *, pairs: int) -> Iterator[Pair]:
    """Compare submitting a held job with ``ssh HOST sbatch``; both open a new connection."""
    command = " ".join(held_sbatch(lab))
    for way in ways:
        place.reach(lab, way)
        bare = ["ssh", "-F", str(way.config), lab.host, command]
        names = f"hpcdeploy submit{way.words}", f"ssh HOST sbatch{way.words}"
        yield compare(*names, lambda: place.hpcdeploy(*HELD, "--", "true"), partial(take, bare), pairs=pairs)


def pushing(place: Place, lab: Lab, *, megabytes: int, pairs: int) -> Pair:
    """Compare pushing a file of random bytes with ``oras push``; each time the registry does not have the file yet."""
    path = place.project / "big.sif"
    oras = [str(lab.rootfs / "usr/bin/oras"), "push", "--plain-http", "--disable-path-validation"]
    numbers = itertools.count()
    write_sif(path, megabytes)

    def fresh() -> str:
        """Change the file, so that it has another digest, and return the name of a new repository."""
        place.rebuild(path)
        return f"{lab.registry}/bench/{next(numbers)}"

    def ours() -> Taken:
        return place.hpcdeploy("push", "--repository", fresh(), "--tag", "latest")

    def theirs() -> Taken:
        return take([*oras, f"{fresh()}:latest", f"{path}:{MEDIA}"])

    return compare(f"hpcdeploy push, {megabytes} MB", "oras push", ours, theirs, pairs=pairs)
