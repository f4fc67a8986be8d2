"""The script of a Slurm job, run by bash with a stand-in for Apptainer: a node's bash may start in any state (BASH_ENV)."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.remote.submission_script import submission
from tests.scheduler.samples import CACHED, CLUSTER, PLAIN, run_of

STAND_IN = """#!/bin/sh
while [ "$1" != /bin/sh ]; do shift; done
exec "$@"
"""
LEFT = {
    "nothing": "",
    "options": "set -euCfT; set -o posix; IFS=/; shopt -s failglob nocasematch",
    "traps": "trap 'echo bye' EXIT; trap '[ -n \"$NOT_SET\" ]' DEBUG",
    "functions": "date() { echo now; }; mv() { return 1; }; rm() { return 1; }; cat() { :; }; cd() { return 1; }",
    "aliases": "shopt -s expand_aliases; alias rm=false mv=false cat='cat -n' exec=false",
    "options for programs": "set -C; export SHELLOPTS",
}


def submitted(root: Path, script: str, run_id: str) -> Path:
    """Run a submission script with a stand-in for sbatch; return the run's folder."""
    (root / "images").mkdir()
    (root / "images" / f"{CACHED.sha256}.sif").write_text("x")
    (root / "sbatch").write_text('#!/bin/sh\n[ "$1" = --version ] && echo slurm-wlm 24.11.5 || echo 12\n')
    (root / "sbatch").chmod(0o755)
    environment = {"PATH": f"{root}:/usr/bin:/bin", "HOME": str(root)}
    subprocess.run(["bash", "-s"], input=script.encode(), env=environment, capture_output=True, check=True)
    return root / "runs" / run_id


@pytest.mark.parametrize("left", LEFT)
def test_a_job_notes_the_programs_exit_code_whatever_state_bash_starts_in(left: str, tmp_path: Path) -> None:
    job = replace(PLAIN, command=("sh", "-c", "echo ran; exit 7"))
    cluster = replace(CLUSTER, root=str(tmp_path), setup=("export SITE=$SITE.x",), apptainer=str(tmp_path / "apptainer"))
    run = run_of(job)
    folder = submitted(tmp_path, submission(run, job, cluster, CACHED), run.id)
    (tmp_path / "apptainer").write_text(STAND_IN)
    (tmp_path / "apptainer").chmod(0o755)
    (tmp_path / "left").write_text(f"{LEFT[left]}\n")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "BASH_ENV": str(tmp_path / "left"), "SLURM_JOB_ID": "12"}
    done = subprocess.run(
        ["bash", "job.sh"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("ran\n", "", 7)
    assert (folder / "tasks/0.end").read_text().split()[1:] == ["7"]
