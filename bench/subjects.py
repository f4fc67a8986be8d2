"""What is measured: starting, submitting, pushing; each as whole processes, as a person would run them."""

import hashlib
import itertools
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.pairs import Pair, compare, take
from hpcdeploy.image import BuiltImage
from hpcdeploy.lab.inside import inside
from hpcdeploy.lab.state import Lab
from hpcdeploy.store import Store, default_path

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
EXAMPLE = Path(__file__).parent.parent / "examples" / "pixi-gpu"
PASS = [sys.executable, "-c", "pass"]
SIF_HEADER = b"#!/usr/bin/env run-singularity\n".ljust(32, b"\0") + b"SIF_MAGIC\0"
MEDIA = "application/vnd.sylabs.sif.layer.v1.sif"


def project(folder: Path, lab: Lab) -> dict[str, str]:
    """Copy the example there with an image on record in the lab's cache; return the environment that knows of it."""
    shutil.copytree(EXAMPLE, folder / "project")
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    settings = folder / "state" / "hpcdeploy" / "lab"
    settings.mkdir(parents=True)
    shutil.copy(lab.state / "cluster.toml", settings)
    body = b"an image that no job of the bench ever opens"
    sha256 = hashlib.sha256(body).hexdigest()
    cache = f"{lab.scratch}/hpcdeploy/images"
    inside(lab, ["bash", "-c", f"mkdir -p {cache} && cat >{cache}/{sha256}.sif"], user=lab.user, stdin=body)
    image = BuiltImage(
        name="default",
        sha256=sha256,
        size=len(body),
        inputs="",
        apptainer="",
        created="2026-01-01T00:00:00Z",
        built_on="lab",
    )
    Store(default_path(environment)).built(folder / "project", image)
    return environment


def starting(folder: Path, environment: dict[str, str], *, pairs: int) -> Iterator[Pair]:
    """Compare ``--help`` and ``render`` with an interpreter that does nothing."""
    os.chdir(folder / "project")
    for words in (["--help"], ["render", "report", "--cluster", "lab"]):
        yield compare(
            f"hpcdeploy {words[0]}",
            "python -c pass",
            lambda words=words: take([COMMAND, *words], environment),  # type: ignore[misc]
            lambda: take(PASS, environment),
            pairs=pairs,
        )


def submitting(folder: Path, environment: dict[str, str], lab: Lab, *, pairs: int) -> Iterator[Pair]:
    """Compare submitting a held job with a bare sbatch over ssh, both connecting afresh; the jobs are cancelled."""
    os.chdir(folder / "project")
    script = f"{lab.scratch}/bench.sh"
    inside(lab, ["bash", "-c", f"printf '#!/bin/sh\\ntrue\\n' >{script}"], user=lab.user)
    bare = ["ssh", "-F", str(lab.ssh_config), lab.host, f"sbatch --parsable --hold --output=/dev/null {script}"]
    ours = [COMMAND, "submit", "report", "--cluster", "lab", "--slurm", "hold", "--", "true"]
    try:
        yield compare(
            "hpcdeploy submit",
            "ssh HOST sbatch",
            lambda: take(ours, environment),
            lambda: take(bare, environment),
            pairs=pairs,
        )
    finally:
        inside(lab, ["scancel", f"--user={lab.user}", "--state=PENDING"])


def pushing(folder: Path, lab: Lab, *, megabytes: int, pairs: int) -> Iterator[Pair]:
    """Compare pushing a file of random bytes with ``oras push``, each time into a repository that does not have it."""
    path = folder / "big.sif"
    numbers = itertools.count()

    def fresh() -> tuple[str, str]:
        """Change the file's head, so that no registry has it yet, and name a repository of its own."""
        number = next(numbers)
        with path.open("r+b") as file:
            file.seek(64)
            file.write(number.to_bytes(8, "big") + os.urandom(8))
        return f"{lab.registry}/bench/{number}", _sha256(path)

    with path.open("wb") as file:
        file.write(SIF_HEADER.ljust(1024, b"\0"))
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))
    program = (
        "import sys; from pathlib import Path; from hpcdeploy.registry.asking import registry_of; "
        "registry_of(sys.argv[1]).push("
        "Path(sys.argv[2]), sha256=sys.argv[3], created='2026-01-01T00:00:00Z', tags=('latest',))"
    )

    def ours() -> list[str]:
        repository, sha256 = fresh()
        return [sys.executable, "-c", program, repository, str(path), sha256]

    def theirs() -> list[str]:
        repository, _ = fresh()
        oras = str(lab.rootfs / "usr/bin/oras")
        return [oras, "push", "--plain-http", "--disable-path-validation", f"{repository}:latest", f"{path}:{MEDIA}"]

    yield compare(f"push {megabytes} MB", "oras push", lambda: take(ours()), lambda: take(theirs()), pairs=pairs)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
