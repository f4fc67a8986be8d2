"""Runs of hpcdeploy 0.1.0, from its scripts and its record: this build resumes, follows, fetches and cancels them."""

import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.image import PublishedImage
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.conftest import image_file
from tests.cluster.driving import PATIENCE
from tests.shared import OWN

RECORDS = Path(__file__).parents[1] / "records"
COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
RECORDED = "older-0123456789"
"""The run id in the recorded scripts; their root is ``/ROOT``, and their image's checksum is zeros."""


@dataclass(frozen=True, kw_only=True)
class Older:
    """A run as 0.1.0 left it: its folder on the lab (after `start`), and its row in a record of that version."""

    lab: Lab
    folder: Path
    root: str
    run: str
    script: str
    scheduler: str

    def start(self, seconds: int) -> dict[str, object]:
        """Run the recorded script on the login node, as 0.1.0 did; return its result line."""
        text = self.script.replace("export WAIT=0", f"export WAIT={seconds}")
        done = inside(self.lab, ["bash", "-l", "-s"], user=self.lab.user, stdin=text.encode())
        assert done.returncode == 0, done.stderr.decode()
        result: dict[str, object] = json.loads(done.stdout.decode().rpartition("HPCDEPLOY ")[2])
        return result

    def record(self, job_id: str = "", folder: str = "") -> None:
        """Write the run into a record with the tables of 0.1.0."""
        path = self.folder / "state/hpcdeploy/runs.db"
        path.parent.mkdir(mode=0o700, parents=True)
        values = {
            "id": self.run,
            "job": "older",
            "cluster": "here",
            "scheduler": self.scheduler,
            "image": "test",
            "sha256": "0" * 64,
            "tasks": 1,
            "command": ["true"],
            "submitted": 1795000000,
            "job_id": job_id,
            "part": 0,
            "repeats": "",
            "folder": folder,
            "workdir": "",
            "outputs": [],
            "code_sha256": "",
            "code_commit": "",
            "code_dirty": None,
        }
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.executescript((RECORDS / "0.1.0.sql").read_text())
            connection.execute("DELETE FROM runs")
            connection.execute(
                "INSERT INTO runs (id, cluster, scheduler, submitted, run, script) VALUES (?, ?, ?, ?, ?, ?)",
                (self.run, "here", self.scheduler, values["submitted"], json.dumps(values), self.script.encode()),
            )
        path.chmod(0o600)

    def hpcdeploy(self, *words: str, code: int = 0) -> str:
        environment = {**os.environ, "XDG_STATE_HOME": str(self.folder / "state"), "XDG_CONFIG_HOME": str(self.folder)}
        done = subprocess.run(
            [COMMAND, *words], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout


@pytest.fixture(params=["slurm", "htcondor"])
def older(request: pytest.FixtureRequest, lab: Lab, cluster: Cluster, published: PublishedImage, tmp_path: Path) -> Older:
    root = f"{lab.scratch}/{OWN}/older"
    (tmp_path / "hpcdeploy").mkdir(mode=0o700)
    (tmp_path / "hpcdeploy/config.toml").write_text(f"""
[clusters.here]
host = {json.dumps(cluster.host)}
ssh-config = {json.dumps(cluster.ssh_config)}
schedulers = ["slurm", "htcondor"]
root = {json.dumps(root)}
""")
    image = f"{root}/images/{published.sha256}.sif"
    copied = ["sh", "-c", 'umask 077; mkdir -p "${2%/*}" && cp -f "$1" "$2"', "sh", image_file(lab), image]
    assert inside(lab, copied, user=lab.user).returncode == 0
    run = f"older-{secrets.token_hex(5)}"
    script = (RECORDS / f"submit-{request.param}-0.1.0.sh").read_text()
    script = script.replace(RECORDED, run).replace("/ROOT", root).replace("0" * 64, published.sha256)
    # The delimiter of the here-documents holds the end of the run id.
    assert RECORDED.rpartition("-")[2] not in script.replace("HPCDEPLOY_END_0123456789", "")
    return Older(lab=lab, folder=tmp_path, root=root, run=run, script=script, scheduler=request.param)


def test_an_interrupted_submission_is_resumed_and_the_run_is_followed_and_fetched(older: Older) -> None:
    older.record()
    assert json.loads(older.hpcdeploy("runs", "--json"))[0]["id"] == older.run
    assert older.hpcdeploy("submit", "--resume", older.run).strip() == older.run
    older.hpcdeploy("wait", older.run, "--interval", "1")
    assert older.hpcdeploy("logs", older.run) == "out\n"
    older.hpcdeploy("fetch", older.run, "--output", "here")
    assert (older.folder / "here/output/made.txt").read_text() == "made\n"
    assert (older.folder / "here/logs/0.err").read_text().endswith("err\n")
    shutil.rmtree(older.folder / "here")


def test_a_run_that_goes_on_is_seen_and_cancelled(older: Older) -> None:
    result = older.start(seconds=300)
    older.record(str(result["job_id"]), str(result["folder"]))
    until = time.monotonic() + PATIENCE
    while json.loads(older.hpcdeploy("status", older.run, "--json"))[0]["state"] != "RUNNING":
        assert time.monotonic() < until
        time.sleep(0.5)
    older.hpcdeploy("cancel", older.run, "--yes")
    # The exit code of a task that was cancelled while it ran: 128 + SIGTERM with Slurm, none with HTCondor.
    older.hpcdeploy("wait", older.run, "--interval", "1", code=143 if older.scheduler == "slurm" else 1)
    [after] = json.loads(older.hpcdeploy("status", older.run, "--json"))
    assert after["state"] == "CANCELLED"
