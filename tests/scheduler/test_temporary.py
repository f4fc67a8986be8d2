"""Folders for temporary files: what a job's script mounts of its node, and which variables it takes away. Run by bash."""

import csv
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import SchedulerName
from hpcdeploy.job import Bind, Job
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.shell_script import library
from tests.scheduler.samples import CACHED, CLUSTER, PLAIN, run_of

SCHEDULERS: tuple[SchedulerName, ...] = ("slurm", "htcondor")
TELL = """
for name in TMPDIR TMP TEMP; do printf '%s=%s\\0' "$name" "${!name-unset}"; done
printf 'mount\\0'
printf '%s\\0' "${mounts[@]}"
"""


def told(scheduler: SchedulerName, folder: Path, job: Job = PLAIN, **environment: str) -> tuple[dict[str, str], list[str]]:
    """Run what a job does with its node up to the container: its variables, and what is mounted, by destination."""
    cluster = replace(CLUSTER, htcondor_container="apptainer")
    text = submission(run_of(job, scheduler), job, cluster, CACHED)
    begin = text.index("image=$(cat" if scheduler == "slurm" else "image=")
    if scheduler == "htcondor":
        begin = text.index("# --- login/job/clean.sh")
    end = text.index("contain() {", begin)
    (folder / "functions.sh").write_text(library(["owners.sh", "trust.sh"]))
    (folder / "image").write_text("x.sif")
    if scheduler == "htcondor":
        (folder / "x.sif").write_bytes(b"")
    (folder / "binds").write_text("".join(_line(bind) for bind in job.binds))
    head = 'set -u\nfinish() { exit "$1"; }\nrun=$HOME image=$HOME/x.sif sha256=0 task=0\ncd "$HOME"\n'
    script = head + text[begin:end] + TELL
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "_CONDOR_SCRATCH_DIR": str(folder), "SLURM_JOB_ID": "1"}
    done = subprocess.run(
        ["bash", "-c", script, "job.sh", "0", "1"],
        env={**variables, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    said, _, mounts = done.stdout.partition("mount\0")
    found = [next(csv.reader([one])) for one in mounts.split("\0") if one.startswith("type=bind")]
    names = dict(one.split("=", 1) for one in said.split("\0") if one)
    return names, [
        f"{source.removeprefix('source=')}>{place.removeprefix('destination=')}" for _, source, place, *_ in found
    ]


def _line(bind: Bind) -> str:
    return f'type=bind,"source={bind.source}","destination={bind.destination}"\n'


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_nodes_folder_for_temporary_files_is_mounted_where_it_is(scheduler: SchedulerName, tmp_path: Path) -> None:
    home, odd = tmp_path / "home", tmp_path / 'it\'s, "odd" $x'
    home.mkdir()
    odd.mkdir()
    names, mounts = told(scheduler, home, TMPDIR=f"{odd}/", TMP=str(odd), TEMP=str(home))
    assert names == {"TMPDIR": f"{odd}/", "TMP": str(odd), "TEMP": str(home)}
    assert mounts[0] == f"{odd}>{odd}"
    assert mounts.count(f"{odd}>{odd}") == 1


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_variable_whose_folder_is_not_on_the_node_is_taken_away(scheduler: SchedulerName, tmp_path: Path) -> None:
    names, mounts = told(scheduler, tmp_path, TMPDIR="/not/on/this/node", TMP="", TEMP="/tmp")
    assert names == {"TMPDIR": "unset", "TMP": "unset", "TEMP": "/tmp"}
    assert "/tmp>/tmp" in mounts
    assert not [mount for mount in mounts if "/not/on" in mount]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_what_a_job_mounts_there_itself_wins_and_is_not_hidden(scheduler: SchedulerName, tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    (folder / "mine").mkdir(parents=True)
    over = Bind(source="/usr", destination=str(folder))
    _, mounts = told(scheduler, tmp_path, replace(PLAIN, binds=(over,)), TMPDIR=str(folder))
    assert [mount for mount in mounts if mount.endswith(f">{folder}")] == [f"/usr>{folder}"]
    below = Bind(source="/usr", destination=f"{folder}/mine")
    _, mounts = told(scheduler, tmp_path, replace(PLAIN, binds=(below,)), TMPDIR=str(folder))
    assert mounts.index(f"{folder}>{folder}") < mounts.index(f"/usr>{folder}/mine")


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_folder_above_the_runs_that_is_mounted_for_reading_does_not_hide_the_runs(
    scheduler: SchedulerName, tmp_path: Path
) -> None:
    above = Bind(source=str(tmp_path.parent), destination=str(tmp_path.parent), read_only=True)
    _, mounts = told(scheduler, tmp_path, replace(PLAIN, binds=(above,)))
    assert f"{above.source}>{above.source}" in mounts
    assert mounts[-1] == f"{tmp_path}>{tmp_path}"
