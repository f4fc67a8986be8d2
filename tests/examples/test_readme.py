"""The README's example job, as it stands there, on the lab and on both of its schedulers."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.test_pages import readme_job
from tests.examples.test_walkthroughs import EXAMPLE, environment

__all__ = ["environment"]
TRAIN = "import os, sys\nprint('trained', *sys.argv[1:], sorted(os.listdir('code')))\n"


@pytest.fixture(scope="module")
def built(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the README's job and the example's environment, whose image is built on the lab."""
    project = tmp_path_factory.mktemp("readme") / "project"
    project.mkdir()
    for name in ("pixi.toml", "pixi.lock"):
        shutil.copy(EXAMPLE / name, project)
    (project / "hpcdeploy.toml").write_text(f'[image]\npixi = {{ environment = "gpu" }}\n\n{readme_job()}')
    (project / "train.py").write_text(TRAIN)
    hpcdeploy(project, environment, "build", "--on", "lab")
    return project


def hpcdeploy(project: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["hpcdeploy", *words], cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
def test_the_example_job_runs(built: Path, environment: dict[str, str], scheduler: str) -> None:
    run = hpcdeploy(built, environment, "submit", "train", "--cluster", "lab", "--scheduler", scheduler).stdout.strip()
    hpcdeploy(built, environment, "wait", run, "--interval", "2")
    logs = hpcdeploy(built, environment, "logs", run)
    assert logs.stdout.startswith("trained --epochs 14 [")
    assert "train.py" in logs.stdout
    assert "INFO:" not in logs.stderr, "Apptainer's messages at each start are not in a task's log"
    last = hpcdeploy(built, environment, "logs", run, "--tail", "1").stdout
    assert last == logs.stdout.splitlines(keepends=True)[-1]


def test_a_second_build_says_that_nothing_changed(built: Path, environment: dict[str, str]) -> None:
    assert "unchanged: " in hpcdeploy(built, environment, "build", "--on", "lab").stderr
