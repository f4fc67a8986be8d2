"""The Dockerfile for one of several platforms, built by a real podman from the lab's base image: that platform is in it."""

import subprocess
import sys
from pathlib import Path

import pytest

from hpcdeploy_lab.base_image import reference
from hpcdeploy_lab.state import Lab
from tests.here.engines import podman_in
from tests.lab_image.test_standin_platforms import RICH, rich_lock

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))


@pytest.mark.parametrize(("platform", "cuda"), [("linux-64", False), ("a100", True)])
def test_the_platform_that_was_chosen_is_in_the_image(tmp_path: Path, lab: Lab, platform: str, *, cuda: bool) -> None:
    folder, engine = tmp_path / "project", tmp_path / "podman"
    folder.mkdir()
    engine.mkdir()
    (folder / "pixi.toml").write_text(RICH)
    (folder / "pixi.lock").write_text(rich_lock())
    (folder / "inline.sh").write_text("")
    (folder / "hpcdeploy.toml").write_text(f'[image]\npixi = {{ platform = "{platform}" }}\nbase = "{reference(lab)}"\n')
    subprocess.run([COMMAND, "generate", "--format", "dockerfile", "-o", "Dockerfile"], cwd=folder, check=True)
    with podman_in(engine) as podman:
        build = (
            "podman",
            "build",
            "--isolation=chroot",
            "--tls-verify=false",
            "--layers=false",
            "--tag=localhost/rich",
            ".",
        )
        podman(*build, cwd=folder, check=True)
        script = "ls $CONDA_PREFIX/conda-meta; echo ${DEMO_PLATFORM:-plain}"
        told = podman("podman", "run", "--rm", "localhost/rich", "sh", "-c", script, cwd=folder, check=True).stdout.decode()
    assert ("hpcdeploy-demo-cuda-12.9.0" in told) is cuda
    assert told.endswith(f"{platform if cuda else 'plain'}\n")
