"""``build --builder``: what is chosen, and what is said where a builder cannot build or is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_many import LOCK

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
SETTINGS = """
[images.own]
definition = "plain.def"
[images.file]
dockerfile = "Dockerfile"
[images.pixi]
base = "docker.io/library/debian:12"
[images.steps]
base = "docker.io/library/debian:12"
setup = ["true"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "hpcdeploy.toml").write_text(SETTINGS)
    (tmp_path / "plain.def").write_text("Bootstrap: docker\nFrom: docker.io/library/debian:12\n")
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "pixi.toml").write_text('[workspace]\nname = "x"\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n')
    (tmp_path / "pixi.lock").write_text(LOCK)
    (tmp_path / "bin").mkdir()
    return tmp_path


def build(project: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": str(project / "bin"), "HOME": str(project), "LC_ALL": os.environ.get("LC_ALL", "C.UTF-8")}
    argv = [COMMAND, "build", *words]
    return subprocess.run(argv, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("own", "a definition of your own may run %post in the image"),
        ("steps", "'setup' has 1 steps that must run in the image"),
    ],
)
def test_what_only_apptainer_can_build_is_refused_with_the_remedy(project: Path, image: str, reason: str) -> None:
    done = build(project, image, "--builder", "direct")
    assert done.returncode == 66
    assert reason in done.stderr
    assert "--builder apptainer, or on a cluster: --on CLUSTER" in " ".join(done.stderr.split())
    done = build(project, image)
    assert done.returncode == 73
    assert f"cannot be built without it: {reason}" in " ".join(done.stderr.split())


def test_a_missing_apptainer_is_named_where_it_was_chosen(project: Path) -> None:
    done = build(project, "pixi", "--builder", "apptainer")
    assert (done.returncode, "apptainer or singularity is not on this machine's PATH" in done.stderr) == (73, True)


def test_a_direct_build_on_a_cluster_is_refused(project: Path) -> None:
    (project / "hpcdeploy.toml").write_text(SETTINGS + '[clusters.x]\nhost = "x"\nscheduler = "slurm"\n')
    done = build(project, "pixi", "--builder", "direct", "--on", "x")
    assert (done.returncode, "--builder direct builds on this machine" in done.stderr) == (2, True)


def test_an_unknown_builder_is_refused_with_the_known_ones(project: Path) -> None:
    done = build(project, "pixi", "--builder", "kaniko")
    assert done.returncode == 2
    assert "apptainer" in done.stderr
    assert "direct" in done.stderr


def test_the_builder_is_passed_to_the_build_of_every_image(project: Path) -> None:
    done = build(project, "own", "steps", "--builder", "direct")
    assert done.returncode == 66
    assert (
        done.stdout.count("cannot be built without Apptainer") + done.stderr.count("cannot be built without Apptainer") >= 2
    )
