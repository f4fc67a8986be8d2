"""As a person does it: a sweep, its results, and again what failed."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.image import PublishedImage

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
PROGRAM = """
if [ ! -e "$MARK" ] && [ "$HPCDEPLOY_PARAM_x" != good ]; then exit 3; fi
echo "$HPCDEPLOY_TASK: $1"
"""


class Project:
    def __init__(self, folder: Path, cluster: Cluster, image: str) -> None:
        self.folder = folder
        mirrors = ", ".join(f"{json.dumps(name)} = {json.dumps(other)}" for name, other in cluster.mirrors)
        (folder / "sweep.csv").write_text("x,note\ngood,1\n\"a b\",2\n'$c',3\ngood,4\n")
        (folder / "hpcdeploy").mkdir()
        (folder / "hpcdeploy/config.toml").write_text(f"""
[clusters.here]
host = {json.dumps(cluster.host)}
ssh-config = {json.dumps(cluster.ssh_config)}
schedulers = ["slurm", "htcondor"]
root = {json.dumps(cluster.root)}
mirrors = {{ {mirrors} }}
""")
        (folder / "hpcdeploy.toml").write_text(f"""
[jobs.try]
image = {json.dumps(image)}
command = ["sh", "-c", {json.dumps(PROGRAM)}, "sh", "<{{x}}>"]
environment = {{ MARK = "/none" }}
sweep = {{ file = "sweep.csv" }}
""")
        self.environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "XDG_CONFIG_HOME": str(folder)}

    def run(self, *words: str, code: int = 0, folder: Path | None = None, error: bool = False) -> str:
        place = folder or self.folder
        done = subprocess.run(
            [COMMAND, *words], cwd=place, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stderr if error else done.stdout


@pytest.fixture
def project(tmp_path: Path, cluster: Cluster, published: PublishedImage) -> Project:
    return Project(tmp_path, cluster, published.reference)


@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
def test_what_failed_is_run_again_with_its_own_values_and_its_own_number(
    project: Project, scheduler: str, tmp_path: Path
) -> None:
    run = project.run("submit", "try", "--scheduler", scheduler, "--env", "KEPT=1").strip()
    project.run("wait", run, "--interval", "1", code=3)
    table = list(csv.DictReader(io.StringIO(project.run("results", run, "--csv"))))
    assert [(row["task"], row["x"], row["note"], row["state"], row["exit_code"]) for row in table] == [
        ("0", "good", "1", "COMPLETED", "0"),
        ("1", "a b", "2", "FAILED", "3"),
        ("2", "'$c'", "3", "FAILED", "3"),
        ("3", "good", "4", "COMPLETED", "0"),
    ]
    assert all(row["node"] and row["seconds"].isdigit() for row in table)
    failed = json.loads(project.run("results", run, "--failed", "--json"))
    assert [one["parameters"]["x"] for one in failed] == ["a b", "'$c'"]
    assert "OF TASK" not in project.run("results", run)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(project.folder / "hpcdeploy.toml", elsewhere)
    (project.folder / "sweep.csv").unlink()
    again = project.run("rerun", run, "--env", "MARK=/etc/passwd", folder=elsewhere).strip()
    project.run("wait", again, "--interval", "1")
    assert [project.run("logs", again, "--task", str(task)) for task in range(2)] == ["1: <a b>\n", "2: <'$c'>\n"]
    [told] = json.loads(project.run("status", again, "--json"))
    assert (told["repeats"], told["tasks"][1]["state"]) == (run, "COMPLETED")
    lines = project.run("results", again).splitlines()
    assert lines[0].split()[:4] == ["TASK", "OF", "TASK", "x"]
    assert lines[2].split()[:2] == ["1", "2"]
    assert project.run("rerun", again) == ""
    dry = project.run("rerun", again, "--task", "1", "--dry-run")
    assert "\n2 x=\\0047\\0044c\\0047 note=3\n" in dry
    assert "export KEPT=1\n" in dry
    project.run("rerun", again, "--task", "7", code=2)
    project.run("rerun", again, "--task", "1", "--sweep", "x=1", code=2)


def test_what_is_being_repeated_is_not_repeated_once_more(project: Project) -> None:
    run = project.run("submit", "try").strip()
    project.run("wait", run, "--interval", "1", code=3)
    held = project.run("rerun", run, "--slurm", "hold").strip()
    said = project.run("rerun", run, "--dry-run", code=2, error=True)
    assert f"task 1 of run {run} is task 0 of run {held} too, which has not ended" in said
    project.run("cancel", held, "--yes")
    assert "job-name" in project.run("rerun", run, "--dry-run")
