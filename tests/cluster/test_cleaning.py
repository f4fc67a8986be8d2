"""Cleaning on the real schedulers: an ended run goes, a running one and its code stay, and the record says so."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.image import PublishedImage
from hpcdeploy.store import Store

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))


class Project:
    def __init__(self, folder: Path, cluster: Cluster, image: str) -> None:
        self.folder = folder
        mirrors = ", ".join(f"{json.dumps(name)} = {json.dumps(other)}" for name, other in cluster.mirrors)
        (folder / "hpcdeploy").mkdir()
        (folder / "hpcdeploy/config.toml").write_text(f"""
[clusters.here]
host = {json.dumps(cluster.host)}
ssh-config = {json.dumps(cluster.ssh_config)}
schedulers = ["slurm", "htcondor"]
root = {json.dumps(cluster.root + "/clean-" + folder.name)}
mirrors = {{ {mirrors} }}
""")
        (folder / "src").mkdir()
        (folder / "src" / "wait.sh").write_text('echo begun\nwhile [ ! -e "$1" ]; do sleep 1; done\n')
        (folder / "hpcdeploy.toml").write_text(f"""
[jobs.brief]
image = {json.dumps(image)}
command = ["true"]
[jobs.long]
image = {json.dumps(image)}
command = ["sleep", "600"]
code = {{ source = "src", destination = "code" }}
""")
        self.environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "XDG_CONFIG_HOME": str(folder)}

    def run(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [COMMAND, *words], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout + done.stderr


@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
def test_an_ended_run_goes_and_a_running_one_stays_with_its_code(
    scheduler: str, tmp_path: Path, cluster: Cluster, published: PublishedImage
) -> None:
    project = Project(tmp_path, cluster, published.reference)
    project.run("submit", "brief", "--run-id", "brief-1", "-s", scheduler)
    project.run("submit", "long", "--run-id", "long-1", "-s", scheduler)
    project.run("wait", "brief-1", "--interval", "2")
    time.sleep(2)
    listed = json.loads(project.run("clean", "--older-than", "1s", "--dry-run", "--json"))
    assert [(one["run"], one["verdict"]) for one in listed["runs"]] == [("brief-1", "free")]
    assert (listed["staged"], listed["not_ended"]) == ([], ["long-1"])
    project.run("fetch", "brief-1")
    removed = json.loads(project.run("clean", "--older-than", "1s", "-y", "--json"))
    assert [(one["run"], one["verdict"]) for one in removed["runs"]] == [("brief-1", "removed")]
    assert "was removed by 'hpcdeploy clean'" in project.run("logs", "brief-1", code=70)
    assert "was removed by 'hpcdeploy clean'" in project.run("fetch", "brief-1", code=70)
    assert "was removed by 'hpcdeploy clean'" in project.run("submit", "--resume", "brief-1", code=70)
    assert "brief-1" in project.run("runs")
    project.run("cancel", "-y", "long-1")
    for _ in range(60):
        project.run("status", "long-1")
        [known] = Store(tmp_path / "state" / "hpcdeploy" / "runs.db").find(["long-1"])
        if known.ended:
            break
        time.sleep(2)
    time.sleep(2)
    last = removed
    for _ in range(30):  # Slurm shows an ended job for a while (MinJobAge), HTCondor one that is being removed
        last = json.loads(project.run("clean", "--older-than", "1s", "-y", "--json"))
        if [one["verdict"] for one in last["runs"]] != ["queued"]:
            break
        time.sleep(2)
    assert [(one["run"], one["verdict"]) for one in last["runs"]] == [("long-1", "removed")]
    assert all(one["verdict"] == "removed" for one in last["staged"])
