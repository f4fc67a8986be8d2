"""The commands on one's own machine where it has nothing of Linux: no Mac is here, so one is imitated (`imitation`)."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.apptainer.sifs import partition, sif, squashfs
from tests.macos.conftest import IMITATION

ROOT = Path(__file__).parents[2]
SETTINGS = """\
[images.small]
definition = "small.def"
[clusters.hpc]
host = "hpc"
[jobs.train]
image = "built.sif"
command = ["true"]
code = "."
"""


def types(mac: Path, project: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {
        "HOME": str(mac / "home"),
        "PATH": str(mac / "tools"),
        "PYTHONPATH": str(IMITATION),
        "PWD": str(project),
        "TMPDIR": str(mac),
    }
    return subprocess.run(
        [sys.executable, "-m", "hpcdeploy.cli.main", *words],
        cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.fixture
def project(mac: Path) -> Path:
    folder = mac / "home" / "project"
    folder.mkdir()
    (folder / "hpcdeploy.toml").write_text(SETTINGS)
    (folder / "small.def").write_text("Bootstrap: docker\nFrom: debian:12\n\n%post\n    true\n")
    (folder / "built.sif").write_bytes(sif(partition(squashfs())))
    return folder


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("inspect",), "small.def"),
        (("inspect", "small", "--json"), '"type": "source"'),
        (("generate", "small"), "Bootstrap: docker"),
        (("render", "train", "--cluster", "hpc"), "#!/bin/bash"),
        (("submit", "train", "--cluster", "hpc", "--dry-run"), ""),
        (("runs", "--json"), "[]"),
        (("templates", "show", "pixi.def"), "Bootstrap"),
    ],
)
def test_what_needs_no_cluster_works(words: tuple[str, ...], expected: str, mac: Path, project: Path) -> None:
    done = types(mac, project, *words)
    assert (done.returncode, "rror" in done.stderr) == (0, False), done.stderr
    assert expected in done.stdout


def test_a_project_is_begun_and_its_definition_is_the_one_of_linux(mac: Path, tmp_path: Path) -> None:
    folder = mac / "home" / "pixi-gpu"
    shutil.copytree(ROOT / "examples" / "pixi-gpu", folder, ignore=shutil.ignore_patterns("hpcdeploy.toml", ".pixi"))
    done = types(mac, folder, "init")
    assert done.returncode == 0, done.stderr
    assert (folder / "hpcdeploy.toml").exists()
    done = types(mac, folder, "generate", "-o", "mac.def")
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "-m", "hpcdeploy.cli.main", "generate", "-o", "linux.def"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    assert (folder / "mac.def").read_text() == (folder / "linux.def").read_text()


def test_without_apples_developer_tools_no_git_is_started_where_there_is_no_repository(mac: Path, project: Path) -> None:
    """macOS has a program git that only opens a dialog, until these tools are installed."""
    (mac / "tools" / "git").unlink()
    (mac / "tools" / "git").write_text(f"#!/bin/sh\necho started >> {mac}/log\necho 'no developer tools' >&2\nexit 1\n")
    (mac / "tools" / "git").chmod(0o755)
    for words in (("render", "train", "--cluster", "hpc"), ("inspect",), ("generate", "small", "-o", "new.def"), ("runs",)):
        done = types(mac, project, *words)
        assert done.returncode == 0, done.stderr
    assert not (mac / "log").exists()
    (project / ".git").mkdir()
    assert types(mac, project, "render", "train", "--cluster", "hpc").returncode == 0
    assert (mac / "log").exists()


def test_a_submission_to_a_host_that_cannot_be_reached_leaves_no_run(mac: Path, project: Path) -> None:
    (mac / "home" / ".ssh").mkdir(mode=0o700)
    done = types(mac, project, "submit", "train", "--cluster", "hpc")
    assert done.returncode != 0
    assert "resolve" in done.stderr or "reach" in done.stderr
    assert json.loads(types(mac, project, "runs", "--json").stdout) == []
    record = mac / "home" / ".local" / "state" / "hpcdeploy" / "runs.db"
    assert record.stat().st_mode & 0o777 == 0o600
