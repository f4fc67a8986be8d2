"""Built on one cluster, then on another, and changed: what submit and render say of the image, with real builds."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.shared import OWN

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
DEFINITION = "Bootstrap: docker\nFrom: {registry}/prefix-dev/pixi:noble\n\n%files\n    data.txt /opt/data.txt\n"
CLUSTER = """
[clusters.{name}]
host = '{host}'
ssh-config = '{config}'
scheduler = 'slurm'
root = '$SCRATCH/{own}/stale/{name}'
"""


@pytest.fixture
def project(lab: Lab, tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "one.def").write_text(DEFINITION.format(registry=lab.registry))
    (tmp_path / "data.txt").write_text("data\n")
    clusters = "".join(
        CLUSTER.format(name=name, host=lab.host, config=lab.ssh_config, own=OWN) for name in ("first", "second")
    )
    (tmp_path / ".config/hpcdeploy").mkdir(parents=True)
    (tmp_path / ".config/hpcdeploy/config.toml").write_text(clusters)
    (tmp_path / "hpcdeploy.toml").write_text(
        "[images.one]\ndefinition = 'one.def'\n[jobs.show]\nimage = 'one'\ncommand = ['cat', '/opt/data.txt']\n"
    )
    yield tmp_path
    inside(lab, ["rm", "-rf", f"{lab.scratch}/{OWN}/stale"])


def hpcdeploy(project: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "HOME": str(project)}
    return subprocess.run([COMMAND, *words], cwd=project, env=environment, capture_output=True, text=True, check=False)


def well(project: Path, *words: str) -> str:
    done = hpcdeploy(project, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def result(project: Path, run: str) -> str:
    well(project, "wait", run)
    return well(project, "logs", run)


def test_an_image_of_two_clusters_runs_on_both_and_an_older_one_only_where_that_is_allowed(project: Path) -> None:
    for name in ("first", "second"):
        well(project, "build", "--on", name)
    for name in ("first", "second"):
        assert "data\n" in result(project, well(project, "submit", "--cluster", name).strip())

    (project / "data.txt").write_text("changed\n")
    refused = hpcdeploy(project, "submit", "--cluster", "second")
    assert refused.returncode == 2
    assert "the image 'one' is older than the project: data.txt changed; run 'hpcdeploy build one'" in refused.stderr
    assert len(json.loads(well(project, "runs", "--json"))) == 2
    assert "note: the image 'one' is older" in hpcdeploy(project, "render", "--cluster", "second").stderr
    assert "data\n" in result(project, well(project, "submit", "--cluster", "second", "--allow-stale").strip())

    well(project, "build", "--on", "first")
    assert "changed\n" in result(project, well(project, "submit", "--cluster", "first").strip())
    other = hpcdeploy(project, "submit", "--cluster", "second")
    assert other.returncode == 2
    assert "is stored only on first" in other.stderr
