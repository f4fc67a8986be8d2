"""Prepare the measurements: a copy of the example project, with separate settings, record and image."""

import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench.pairs import Taken, take
from bench.ways import Way
from hpcdeploy.image import BuiltImage
from hpcdeploy.store import Store, default_path
from hpcdeploy.whole_file import write_whole
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
EXAMPLE = Path(__file__).parent.parent / "examples" / "pixi-gpu"
SIF_HEADER = b"#!/usr/bin/env run-singularity\n".ljust(32, b"\0") + b"SIF_MAGIC\0"
CLUSTER = "bench"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A copy of the example project, with what ``hpcdeploy`` needs to run there.

    Attributes:
        project: The folder of the copy.
        environment: The environment variables for ``hpcdeploy``.
        image: The recorded image, which only the cluster has.
        root: hpcdeploy's folder on the cluster.
    """

    project: Path
    environment: Mapping[str, str]
    image: BuiltImage
    root: str

    def note(self, image: BuiltImage) -> None:
        """Record `image` as the project's latest build."""
        self.store().built(self.project, image)

    def rebuild(self, path: Path) -> BuiltImage:
        """Change 16 bytes after the header of the image file `path`, and record it as the latest build."""
        with path.open("r+b") as file:
            file.seek(len(SIF_HEADER))
            file.write(os.urandom(16))
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        built = replace(self.image, sha256=sha256, size=path.stat().st_size, path=str(path), built_on="")
        self.note(built)
        return built

    def store(self) -> Store:
        """Open the benchmark's record of runs and images."""
        return Store(default_path(self.environment))

    def hpcdeploy(self, *words: str) -> Taken:
        """Run ``hpcdeploy`` with arguments in the project as a new process, and return its time and memory."""
        return take([COMMAND, *words], self.environment, folder=self.project)

    def reach(self, lab: Lab, way: Way) -> None:
        """Write the user's settings, so that the cluster is the lab, with the SSH configuration of `way`."""
        cluster = f'[clusters.{CLUSTER}]\nhost = "{lab.host}"\nssh-config = "{way.config}"\nroot = "{self.root}"\n'
        write_whole(Path(self.environment["XDG_CONFIG_HOME"]) / "hpcdeploy/config.toml", cluster)


def write_sif(path: Path, megabytes: int) -> None:
    """Write a file with the header of a SIF, followed by `megabytes` MB of random bytes."""
    with path.open("wb") as file:
        file.write(SIF_HEADER.ljust(1024, b"\0"))
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))


def place_for(folder: Path, lab: Lab) -> Place:
    """Copy the example project into `folder`; put an image into the lab's cache, and record it as built there."""
    body = b"an image that no job of the bench ever opens"
    sha256 = hashlib.sha256(body).hexdigest()
    root = f"{lab.scratch}/hpcdeploy"
    keep = f"mkdir -p {root}/images && cat >{root}/images/{sha256}.sif"
    inside(lab, ["sh", "-c", keep], user=lab.user, stdin=body).check_returncode()
    environment = {
        **os.environ,
        "XDG_STATE_HOME": str(folder),
        "XDG_CACHE_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    environment.pop(
        "PYTHONDONTWRITEBYTECODE", None
    )  # with it, each measurement would include the compilation of Python files, which normally happens once
    project = shutil.copytree(EXAMPLE, folder / "project")
    place = Place(
        project=project,
        environment=environment,
        image=BuiltImage(
            name="default",
            sha256=sha256,
            size=len(body),
            inputs="",
            apptainer="",
            created="2026-01-01T00:00:00Z",
            built_on=CLUSTER,
        ),
        root=root,
    )
    place.note(place.image)
    place.reach(lab, Way(config=lab.ssh_config))
    return place
