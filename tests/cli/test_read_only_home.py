"""Verbs that only read work where nothing can be written: a home on a file system such as /proc takes no files from root."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.apptainer.sifs import partition, sif, squashfs

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
SETTINGS = """\
[images.small]
definition = "small.def"
[clusters.hpc]
host = "hpc"
[jobs.train]
image = "built.sif"
command = ["true"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "hpcdeploy.toml").write_text(SETTINGS)
    (tmp_path / "small.def").write_text("Bootstrap: docker\nFrom: debian:12\n\n%post\n    true\n")
    (tmp_path / "built.sif").write_bytes(sif(partition(squashfs())))
    return tmp_path


def types(project: Path, *words: str, home: str = "/proc") -> "subprocess.CompletedProcess[str]":
    environment = {"HOME": home, "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [COMMAND, *words], cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("inspect",), "small.def"),
        (("inspect", "small", "--json"), '"type": "source"'),
        (("inspect", "small.def"), "small.def"),
        (("render", "train", "--cluster", "hpc"), "#!/bin/bash"),
        (("generate", "small"), "Bootstrap: docker"),
        (("runs",), ""),
        (("runs", "--json"), "[]"),
        (("templates",), "pixi.def"),
        (("templates", "show", "pixi.def"), "Bootstrap"),
    ],
)
def test_what_reads_works_with_a_home_that_cannot_be_written(words: tuple[str, ...], expected: str, project: Path) -> None:
    done = types(project, *words)
    assert (done.returncode, "rror" in done.stderr) == (0, False), done.stderr
    assert expected in done.stdout


def test_what_must_be_noted_is_refused_with_one_message(project: Path) -> None:
    done = types(project, "submit", "train", "--cluster", "hpc")
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = [line for line in done.stderr.splitlines() if "error" in line]
    assert "the record /proc/.local/state/hpcdeploy/runs.db cannot be used" in line
    assert "set XDG_STATE_HOME to another folder" in line
