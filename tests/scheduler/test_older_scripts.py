"""Runs that an older hpcdeploy submitted: its script is in the record, and goes on in the same folder as today's scripts do.

``tests/records/submit-0.1.0.sh`` is the script of a version before scripts had a library. Slurm's commands are stand-ins.
"""

import subprocess
from pathlib import Path

import pytest

from hpcdeploy.remote.answers import read_answer
from hpcdeploy.remote.cancellation import cancel_script, find_or_prevent_script
from hpcdeploy.remote.listing import listing
from hpcdeploy.remote.submission_script import submission
from tests.scheduler.samples import CACHED, CLUSTER, PLAIN, run_of

OLDER = (Path(__file__).parent.parent / "records" / "submit-0.1.0.sh").read_text()
RUN = run_of(PLAIN)
TODAYS = submission(RUN, PLAIN, CLUSTER, CACHED)
QUEUED = f"99999999999|12|RUNNING|node1|None|hpcdeploy:{RUN.id}|{RUN.id}"


class LoginNode:
    """A folder with stand-ins for Slurm's commands, and a root with the image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run_folder = folder / "hpcdeploy" / "runs" / RUN.id
        (folder / "hpcdeploy" / "images").mkdir(parents=True)
        (folder / "hpcdeploy" / "images" / f"{CACHED.sha256}.sif").write_text("x")
        self.command(
            "sbatch", '[ "$1" = --version ] && echo slurm-wlm 24.11.5 || { echo 12; echo >>"$SCRATCH/sbatch.calls"; }'
        )
        self.command("squeue", '[ ! -e "$SCRATCH/sbatch.calls" ] || cat "$SCRATCH/queue"')
        self.command("scancel", 'echo "$@" >>"$SCRATCH/cancelled"')
        self.command("sacct", "echo is disabled >&2; exit 1")
        (folder / "queue").write_text(f"{QUEUED}\n")

    def command(self, name: str, text: str) -> None:
        (self.folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.folder / name).chmod(0o755)

    def do(self, script: str, *words: str) -> "subprocess.CompletedProcess[bytes]":
        environment = {"PATH": f"{self.folder}:/usr/bin:/bin", "SCRATCH": str(self.folder), "HOME": str(self.folder)}
        argv = ["bash", "-s", "--", *words]
        return subprocess.run(argv, input=script.encode(), env=environment, capture_output=True, check=False)

    def submit(self, script: str, *words: str) -> tuple[str, bool]:
        """Return the job's number, and whether it was submitted before."""
        done = self.do(script, *words)
        answer = read_answer(done.stdout)
        assert done.returncode == 0, done.stderr
        assert answer is not None
        return str(answer["job_id"]), bool(answer["already"])

    @property
    def submitted(self) -> int:
        calls = self.folder / "sbatch.calls"
        return len(calls.read_text().splitlines()) if calls.exists() else 0


@pytest.fixture
def node(tmp_path: Path) -> LoginNode:
    return LoginNode(tmp_path)


@pytest.mark.parametrize("again", [(), ("bring",), ("bring", "again")])
@pytest.mark.parametrize(("first", "second"), [(OLDER, TODAYS), (TODAYS, OLDER), (OLDER, OLDER), (TODAYS, TODAYS)])
def test_a_run_of_either_is_submitted_once(first: str, second: str, again: tuple[str, ...], node: LoginNode) -> None:
    assert node.submit(first) == ("12", False)
    assert node.submit(second, *again) == ("12", True)
    assert node.submitted == 1


@pytest.mark.parametrize(("first", "second"), [(OLDER, TODAYS), (TODAYS, OLDER)])
def test_a_submission_that_was_cut_off_is_found_by_the_other(first: str, second: str, node: LoginNode) -> None:
    assert node.submit(first) == ("12", False)
    (node.run_folder / "id").unlink()
    assert node.submit(second) == ("12", True)
    assert (node.submitted, (node.run_folder / "id").readlink()) == (1, Path("12"))


def test_a_run_that_an_older_script_submitted_is_listed_and_cancelled(node: LoginNode) -> None:
    node.submit(OLDER)
    (node.run_folder / "logs" / "0.out").write_text("hello\n")
    assert b"./0.out" in node.do(listing(CLUSTER, RUN, (), "fence")).stdout
    assert node.do(cancel_script(CLUSTER, [run_of(PLAIN, job_id="12")])).returncode == 0
    assert (node.folder / "cancelled").read_text() == "12\n"


def test_an_uncertain_submission_of_an_older_script_is_found_or_prevented(node: LoginNode) -> None:
    revoke = find_or_prevent_script(CLUSTER, RUN)
    assert node.submit(revoke) == ("", False)
    done = node.do(OLDER)
    assert (done.returncode, node.submitted) == (15, 0), done.stderr
    (node.run_folder / "cancelled").unlink()
    node.submit(OLDER)
    (node.run_folder / "id").unlink()
    assert node.submit(revoke) == ("12", False)


def test_the_job_is_reported_by_the_script_or_by_hpcdeploy_and_not_by_both(node: LoginNode) -> None:
    """The client adds "bring", and prints the job itself, from the script's answer."""
    assert node.do(TODAYS, "bring").stderr == b""
    assert node.do(TODAYS, "bring", "again").stderr == b""
    assert b"was submitted before" in node.do(TODAYS).stderr
