"""Several images as a whole process: what each is handed, and what comes of mistakes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
SETTINGS = """
[images.asking]
definition = "plain.def"
secrets = { TOKEN = { env = "TOKEN" } }
[images.pixi]
setup = [{ run = "true", secrets = ["TOKEN"] }]
secrets = { TOKEN = { env = "TOKEN" } }
[images.plain]
definition = "plain.def"
"""
LOCK = """version: 6
environments:
  default:
    channels:
    - url: https://conda.anaconda.org/conda-forge/
    packages:
      linux-64: []
packages: []
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "hpcdeploy.toml").write_text(SETTINGS)
    (tmp_path / "plain.def").write_text("Bootstrap: docker\nFrom: docker.io/library/debian:12\n")
    (tmp_path / "pixi.toml").write_text('[workspace]\nname = "x"\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n')
    (tmp_path / "pixi.lock").write_text(LOCK)
    return tmp_path


def hpcdeploy(project: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    # No program is on this path: a build gets as far as looking for Apptainer.
    environment = {"PATH": str(project / "bin"), "HOME": str(project), "LC_ALL": os.environ.get("LC_ALL", "C.UTF-8")}
    return subprocess.run([COMMAND, *words], cwd=project, env=environment, capture_output=True, text=True, check=False)


def test_each_image_is_handed_the_secrets_that_its_settings_describe(project: Path) -> None:
    done = hpcdeploy(project, "build", "pixi", "plain", "--secret", "id=TOKEN,env=NOT_SET")
    assert done.returncode == 2, done.stderr
    pixi, plain = done.stdout.splitlines()[1:]
    assert "the variable NOT_SET, which is not set" in pixi
    assert "is not on this machine's PATH" in plain
    named = hpcdeploy(project, "build", "plain", "pixi", "--secret", "id=TOKEN,src=nowhere")
    assert named.returncode == 73, named.stderr
    assert "nowhere, which cannot be read" in named.stdout


def test_a_secret_that_no_image_describes_is_refused_before_anything_is_built(project: Path) -> None:
    done = hpcdeploy(project, "build", "--all", "--secret", "id=TOKNE")
    assert done.returncode == 2
    assert "TOKEN" in done.stderr
    assert done.stdout == ""


def test_what_a_person_should_know_comes_on_standard_error(project: Path) -> None:
    (project / "plain.def").write_text("Bootstrap: docker\nFrom: docker.io/library/debian:12\n\n%post\n#!/bin/bash\ntrue\n")
    for words in (("generate", "plain"), ("build", "plain", "--dry-run")):
        done = hpcdeploy(project, *words)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("Bootstrap: docker\n")
        assert done.stderr.startswith("note: %post begins with '#!'")


def test_a_module_of_the_project_is_not_taken_for_pythons(project: Path) -> None:
    (project / "json.py").write_text("raise SystemExit('mine')\n")
    done = hpcdeploy(project, "build", "plain", "asking")
    assert done.returncode == 73, done.stderr
    assert "mine" not in done.stderr


def test_an_image_that_cannot_be_written_stops_no_other(project: Path) -> None:
    (project / "hpcdeploy.toml").write_text(SETTINGS.replace('definition = "plain.def"', 'definition = "missing.def"', 1))
    done = hpcdeploy(project, "generate", "--all", "-o", "definitions")
    assert done.returncode == 66, done.stderr
    assert sorted(path.name for path in (project / "definitions").iterdir()) == ["pixi.def", "plain.def"]
    header, asking, pixi, plain = done.stdout.splitlines()
    assert header.split() == ["IMAGE", "RESULT", "ERROR"]
    assert asking.split()[:2] == ["asking", "failed"]
    assert "missing.def" in asking
    assert [pixi.split(), plain.split()] == [["pixi", "written"], ["plain", "written"]]
    refused = hpcdeploy(project, "generate", "--all", "--format", "dockerfile")
    assert refused.returncode == 2
    assert "3 images cannot be printed as one text; use -o FOLDER to write each to FOLDER/NAME.Dockerfile" in refused.stderr
