"""The worked examples, their pages' commands run line by line as a person would type them, on the lab."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcdeploy_lab.state import Lab
from tests.cluster.condor_pool import pool
from tests.shared import OWN

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "mnist"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("mnist") / "a copy"))


@pytest.fixture(scope="module")
def environment(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The lab under its own name, with a folder there and a record of runs that are these tests' own."""
    state = tmp_path_factory.mktemp("state")
    settings = lab.ssh_config.with_name("cluster.toml").read_text()
    assert "$SCRATCH/hpcdeploy" in settings
    (state / "hpcdeploy/lab").mkdir(parents=True)
    (state / "hpcdeploy/lab/cluster.toml").write_text(settings.replace("$SCRATCH/hpcdeploy", f"$SCRATCH/{OWN}/examples"))
    return {**os.environ, "XDG_STATE_HOME": str(state), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.fixture
def pooled(lab: Lab, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """The same, its HTCondor a pool of this test's own, whose GPUs say what they can do."""
    settings = Path(environment["XDG_STATE_HOME"]) / "hpcdeploy/lab/cluster.toml"
    before = settings.read_text()
    with pool(lab, f"{lab.scratch}/{OWN}/examples-pool") as line:
        settings.write_text(before.replace("[clusters.lab]\n", f"[clusters.lab]\nsetup = [{json.dumps(line)}]\n"))
        yield environment
    settings.write_text(before)


def walk_through(page: str, project: Path, environment: dict[str, str]) -> dict[str, str]:
    """Run each line of the page's blocks that name no language; give what each wrote on standard output."""
    blocks = re.findall(r"^```\n(.*?)^```$", (project / page).read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    said = {}
    for line in "".join(blocks).splitlines():
        command = line.partition("  #")[0].strip()
        done = subprocess.run(
            ["bash", "-c", command], cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        said[command] = done.stdout
    return said


@pytest.fixture(scope="module")
def trained(project: Path, environment: dict[str, str]) -> dict[str, str]:
    """What the first page's commands wrote; they build the image that the second page uses too."""
    return walk_through("slurm.md", project, environment)


def test_one_training_on_slurm_brings_its_model_home(project: Path, trained: dict[str, str]) -> None:
    said = trained
    assert "600 images, plain Python, task 0\n" in said["hpcdeploy logs"]
    assert json.loads((project / "results/output/model.json").read_text())["accuracy"] > 0.85
    with (project / "results/output/history.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 4
    assert losses == sorted(losses, reverse=True)


@pytest.mark.usefixtures("trained")
def test_several_learning_rates_on_htcondor_each_bring_theirs(project: Path, pooled: dict[str, str]) -> None:
    said = walk_through("htcondor.md", project, pooled)
    rates = ["0.02", "0.1", "0.5"]
    for task, rate in enumerate(rates):
        with (project / f"search/output/{task}/history.csv").open() as file:
            assert {row["rate"] for row in csv.DictReader(file)} == {rate}
    table = said["hpcdeploy results"]
    assert all(rate in table for rate in rates)
