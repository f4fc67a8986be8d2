"""``watch``, ``wait`` and ``status`` as whole commands, with a terminal and without."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.job import Job
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import Run, RunStatus
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store, default_path
from hpcdeploy_lab.state import Lab
from tests.cluster.conftest import ROOT
from tests.cluster.driving import PATIENCE, submit_job

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
SLEEPER = Job(name="sleeper", image="test", command=("sleep", "600"))


class Home:
    """A person's own folders, with the lab as their cluster, whose root is these tests' own."""

    def __init__(self, folder: Path, lab: Lab) -> None:
        self.folder = folder
        self.environment = {**os.environ, "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state"), "TERM": "xterm"}
        state = folder / "state" / "hpcdeploy" / "lab"
        state.mkdir(parents=True)
        text = (lab.state / "cluster.toml").read_text()
        (state / "cluster.toml").write_text(text.replace('"$SCRATCH/hpcdeploy"', f'"$SCRATCH/{ROOT}"'))
        self.store = Store(default_path(self.environment))

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [COMMAND, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )


@pytest.fixture
def home(lab: Lab, tmp_path: Path) -> Home:
    return Home(tmp_path, lab)


@pytest.fixture
def ends(home: Home, cluster: Cluster, delivery: Delivery, connections: Connections) -> Run:
    job = Job(name="ends", image="test", command=("sh", "-c", "sleep 2; exit 3"))
    return submit_job(job, "slurm", cluster, delivery, connections, home.store).run


def test_without_a_terminal_watch_prints_a_line_a_change_and_ends_with_the_runs(home: Home, ends: Run) -> None:
    done = home.command("watch", ends.id)
    assert done.returncode == 0, done.stderr
    words = [line.split(": ", 1)[1] for line in done.stdout.splitlines() if ends.id in line]
    assert words[-1].startswith("FAILED")
    assert len(words) == len(set(words))


def test_with_nothing_going_on_watch_says_so(home: Home) -> None:
    done = home.command("watch")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "all runs have ended\n")


def test_on_a_terminal_watch_draws_a_table_and_ctrl_c_leaves_it_as_it_was(
    home: Home, cluster: Cluster, delivery: Delivery, connections: Connections
) -> None:
    job = replace(SLEEPER, slurm=(("hold", True),))
    run = submit_job(job, "slurm", cluster, delivery, connections, home.store).run
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "watch", "--interval", "1"],
        cwd=home.folder,
        env={**home.environment, "COLUMNS": "140", "LINES": "40"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = bytearray()

    def read_until(wanted: bytes, seconds: float) -> None:
        until = time.monotonic() + seconds
        while wanted not in shown and time.monotonic() < until:
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    shown.extend(os.read(ours, 65536))
                except OSError:  # the far side is closed
                    return

    try:
        read_until(b"JobHeldUser: its owner holds it", PATIENCE)
        assert run.id.encode() in shown
        assert b"HELD" in shown
        drawn = len(shown)
        read_until(b"never", 4)
        assert len(shown) == drawn, "what does not change is not drawn again"
        process.send_signal(signal.SIGINT)
        read_until(b"\x1b[?25h", 10)
        assert process.wait(timeout=30) == 130
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l"), "the cursor is there again"
    assert b"Traceback" not in shown
    cancel([RunStatus(run=run, tasks=(), asked=0)], lambda _: connections.to(cluster), home.store)


def test_wait_passes_the_programs_exit_code_on_and_status_says_why(home: Home, ends: Run) -> None:
    done = home.command("wait", ends.id)
    assert done.returncode == 3, done.stderr
    assert "FAILED" in done.stdout


def test_status_explains_what_waits(home: Home, cluster: Cluster, delivery: Delivery, connections: Connections) -> None:
    job = replace(SLEEPER, slurm=(("begin", "now+1hour"),))
    run = submit_job(job, "slurm", cluster, delivery, connections, home.store).run
    done = home.command("status", run.id)
    assert done.returncode == 0, done.stderr
    assert "PENDING (BeginTime)" in done.stdout
    assert f"note: {run.id}: expected to start " in done.stderr
    assert "note: BeginTime: its earliest start time has not come" in done.stderr
    cancel([RunStatus(run=run, tasks=(), asked=0)], lambda _: connections.to(cluster), home.store)
