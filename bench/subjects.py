"""What is measured: starting, submitting, pushing; each as whole processes, as a person would run them."""

import hashlib
import itertools
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bench.pairs import Pair, Taken, compare, take
from hpcdeploy.image import BuiltImage
from hpcdeploy.lab.inside import inside
from hpcdeploy.lab.state import Lab
from hpcdeploy.store import Store, default_path

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
EXAMPLE = Path(__file__).parent.parent / "examples" / "pixi-gpu"
SIF_HEADER = b"#!/usr/bin/env run-singularity\n".ljust(32, b"\0") + b"SIF_MAGIC\0"
MEDIA = "application/vnd.sylabs.sif.layer.v1.sif"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A copy of the example, the environment in which ``hpcdeploy`` knows its image and its lab, and that image."""

    project: Path
    environment: dict[str, str]
    image: BuiltImage

    def note(self, image: BuiltImage) -> None:
        """Put `image` on record as the project's latest build."""
        Store(default_path(self.environment)).built(self.project, image)

    def hpcdeploy(self, *words: str) -> Taken:
        """Run ``hpcdeploy`` in the project as a whole process."""
        return take([COMMAND, *words], self.environment, folder=self.project)


def project(folder: Path, lab: Lab) -> Place:
    """Copy the example into the bench's folder, with an image on record as built in the lab's cache."""
    body = b"an image that no job of the bench ever opens"
    sha256 = hashlib.sha256(body).hexdigest()
    cache = f"{lab.scratch}/hpcdeploy/images"
    inside(lab, ["sh", "-c", f"mkdir -p {cache} && cat >{cache}/{sha256}.sif"], user=lab.user, stdin=body).check_returncode()
    environment = {**os.environ, "XDG_STATE_HOME": str(folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # or we would be timed compiling, which nobody does twice
    place = Place(
        project=shutil.copytree(EXAMPLE, folder / "project"),
        environment=environment,
        image=BuiltImage(
            name="default",
            sha256=sha256,
            size=len(body),
            inputs="",
            apptainer="",
            created="2026-01-01T00:00:00Z",
            built_on="lab",
        ),
    )
    place.note(place.image)
    return place


def starting(place: Place, *, pairs: int) -> Iterator[Pair]:
    """Compare ``--help`` and ``render`` with an interpreter that does nothing."""

    def nothing() -> Taken:
        return take([sys.executable, "-c", "pass"], place.environment)

    yield compare("hpcdeploy --help", "python -c pass", lambda: place.hpcdeploy("--help"), nothing, pairs=pairs)
    render = ("render", "report", "--cluster", "lab")
    yield compare("hpcdeploy render", "python -c pass", lambda: place.hpcdeploy(*render), nothing, pairs=pairs)


def submitting(place: Place, lab: Lab, *, pairs: int) -> Pair:
    """Compare submitting a held job with a bare sbatch over ssh, both connecting afresh."""
    script = f"{lab.scratch}/bench.sh"
    inside(lab, ["sh", "-c", f"printf '#!/bin/sh\\ntrue\\n' >{script}"], user=lab.user).check_returncode()
    bare = ["ssh", "-F", str(lab.ssh_config), lab.host, f"sbatch --parsable --hold --output=/dev/null {script}"]
    words = ("submit", "report", "--cluster", "lab", "--scheduler", "slurm", "--slurm", "hold", "--", "true")
    return compare("hpcdeploy submit", "ssh HOST sbatch", lambda: place.hpcdeploy(*words), lambda: take(bare), pairs=pairs)


def pushing(place: Place, lab: Lab, *, megabytes: int, pairs: int) -> Pair:
    """Compare pushing a file of random bytes with ``oras push``, its digest new to the registry each time."""
    path = place.project / "big.sif"
    oras = [str(lab.rootfs / "usr/bin/oras"), "push", "--plain-http", "--disable-path-validation"]
    numbers = itertools.count()
    with path.open("wb") as file:
        file.write(SIF_HEADER.ljust(1024, b"\0"))
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))

    def fresh() -> str:
        """Change the file's head and put the file on record; return a repository of its own."""
        with path.open("r+b") as file:
            file.seek(64)
            file.write(os.urandom(16))
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.seek(0, os.SEEK_END)
        place.note(replace(place.image, sha256=sha256, size=size, path=str(path), built_on=""))
        return f"{lab.registry}/bench/{next(numbers)}"

    def ours() -> Taken:
        return place.hpcdeploy("push", "--repository", fresh(), "--tag", "latest")

    def theirs() -> Taken:
        return take([*oras, f"{fresh()}:latest", f"{path}:{MEDIA}"])

    return compare(f"hpcdeploy push, {megabytes} MB", "oras push", ours, theirs, pairs=pairs)
