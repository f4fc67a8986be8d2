"""A whole run from a machine that imitates macOS (`imitation`), over both transports."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcdeploy.image import PublishedImage
from hpcdeploy_lab.state import Lab
from tests.cluster.conftest import publish
from tests.cluster.driving import PATIENCE
from tests.cluster.test_over_openssh import persons_file, project_file
from tests.macos.conftest import IMITATION
from tests.shared import once


@pytest.fixture(scope="session")
def published(lab: Lab) -> PublishedImage:
    return once("published", lambda: publish(lab))


@pytest.fixture
def hpcdeploy(mac: Path, short: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Give a function that runs a command in the folder ``project`` of the home folder."""
    environment = {"HOME": str(mac / "home"), "PATH": str(mac / "tools"), "PYTHONPATH": str(IMITATION), "TMPDIR": str(short)}

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "hpcdeploy.cli.main", *words],
            cwd=mac / "home" / "project", env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("transport", ["paramiko", "openssh"])
def test_a_run_is_submitted_awaited_and_fetched(
    transport: str,
    lab: Lab,
    published: PublishedImage,
    mac: Path,
    hpcdeploy: Callable[..., "subprocess.CompletedProcess[str]"],
) -> None:
    project = mac / "home" / "project"
    (project / "src").mkdir(parents=True)
    (project / "src" / "word").write_text("from afar\n")
    (project / "hpcdeploy.toml").write_text(project_file(published))
    settings = mac / "home" / ".config" / "hpcdeploy" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(persons_file(lab, lab.ssh_config) + f'transport = "{transport}"\n')
    sent = hpcdeploy("submit", "look", "--scheduler", "slurm", "--json")
    assert sent.returncode == 0, sent.stderr
    run = json.loads(sent.stdout)["id"]
    for words in (("wait", run), ("status", run), ("logs", run), ("fetch", run, "--output", "home")):
        done = hpcdeploy(*words)
        assert done.returncode == 0, done.stderr
    assert next((project / "home").rglob("made.txt")).read_text() == "from afar\n"
