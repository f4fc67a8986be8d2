"""Which of Slurm's answers count as a run's job: one that could have started always does, one that was rejected never."""

import shlex
import subprocess

import pytest

from hpcdeploy.shell_script import library

RUN = "train-0123456789"
OURS = f"hpcdeploy:{RUN}|{RUN}"
NO_ACCOUNTING = "sacct() { echo 'Slurm accounting storage is disabled' >&2; return 1; }"


def look_up(squeue: str, sacct: str = NO_ACCOUNTING, *, part: str = "", since: int = 1000) -> tuple[int, list[str]]:
    """Ask what `look_up` does with these commands; return its exit status, and the numbers of the jobs that it prints."""
    asking = library(["slurm/my_jobs.sh", "slurm/lookup.sh"])
    script = f"set -euo pipefail\nsay() {{ :; }}\nrun_id={RUN} chunk={part}\n{squeue}\n{sacct}\n{asking}\nlook_up {since}\n"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.split()


def squeue(*lines: str) -> str:
    return "squeue() { printf '%s\\n' " + " ".join(map(shlex.quote, lines)) + "; }"


def sacct(*lines: str) -> str:
    return "sacct() { printf '%s\\n' " + " ".join(map(shlex.quote, lines)) + "; }"


STATES = ("PENDING", "RUNNING", "COMPLETING", "COMPLETED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE")


@pytest.mark.parametrize("nodes", ["", "node1"])
@pytest.mark.parametrize("state", STATES)
def test_a_job_that_slurm_accepted_is_found_whether_it_started_or_not(state: str, nodes: str) -> None:
    assert look_up(squeue(f"1500|12|{state}|{nodes}|BadConstraints|{OURS}")) == (0, ["12"])


@pytest.mark.parametrize("reason", ["NonZeroExitCode", "BadConstraints", "JobLaunchFailure", "None"])
def test_a_job_that_failed_on_a_node_is_found(reason: str) -> None:
    assert look_up(squeue(f"1500|12|FAILED|node1|{reason}|{OURS}")) == (0, ["12"])


def test_the_record_of_a_job_that_was_rejected_is_no_job() -> None:
    rejected = squeue(f"1500|12|FAILED||BadConstraints|{OURS}")
    assert look_up(rejected) == (0, [])
    assert look_up(rejected, sacct(f"1500|12|FAILED|None assigned|{OURS}")) == (0, [])
    assert look_up(squeue(f"1500|12|FAILED||BadConstraints|{OURS}", f"1600|13|PENDING||Priority|{OURS}")) == (0, ["13"])


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"1500|12|FAILED|node1|{OURS}", ["12"]),
        (f"1500|12|CANCELLED by 1000|None assigned|{OURS}", ["12"]),
        (f"1500|12_3|COMPLETED|node1|{OURS}", ["12"]),
        (f"1500|12_[0-9%2]|PENDING|None assigned|{OURS}", ["12"]),
        (f"1500|12|COMPLETED|node1||{RUN}", ["12"]),
        (f"1500|12|COMPLETED|node1|hpcdeploy:{RUN}|better", ["12"]),
        (f"1500|12|COMPLETED|node1||{RUN}-not", []),
        (f"900|12|COMPLETED|node1|{OURS}", []),
    ],
)
def test_what_only_accounting_remembers_is_found(line: str, found: list[str]) -> None:
    assert look_up(squeue(), sacct(line)) == (0, found)


@pytest.mark.parametrize(
    "texts", [OURS, f"hpcdeploy:{RUN}|better", f"hpcdeploy:{RUN}|a|b", f"theirs|{RUN}", f"(null)|{RUN}", f"a|b|{RUN}"]
)
def test_a_job_that_was_renamed_or_commented_is_found(texts: str) -> None:
    assert look_up(squeue(f"1500|12|PENDING||None|{texts}")) == (0, ["12"])


@pytest.mark.parametrize("texts", ["theirs|better", f"hpcdeploy:{RUN}0|{RUN}0", f"x{RUN}|x{RUN}", "|"])
def test_a_job_of_others_is_not_found(texts: str) -> None:
    assert look_up(squeue(f"1500|12|PENDING||None|{texts}")) == (0, [])


@pytest.mark.parametrize(
    ("part", "texts", "found"),
    [
        ("", f"hpcdeploy:{RUN}|{RUN}.1000", []),  # as version 1 commented its later arrays
        (".1000", f"hpcdeploy:{RUN}|{RUN}.1000", ["12"]),
        (".1000", f"hpcdeploy:{RUN}.1000|better", ["12"]),
        (".1000", f"hpcdeploy:{RUN}.10000|{RUN}.10000", []),
        (".1000", OURS, []),
        ("", f"hpcdeploy:{RUN}.1000|{RUN}.1000", []),
    ],
)
def test_the_arrays_of_a_large_run_are_told_apart(part: str, texts: str, found: list[str]) -> None:
    assert look_up(squeue(f"1500|12|PENDING||None|{texts}"), part=part) == (0, found)


def test_a_scheduler_that_does_not_answer_is_not_taken_for_no_job() -> None:
    assert look_up("squeue() { return 1; }")[0] == 1
    down = "sacct() { echo 'sacct: error: Sending PersistInit msg: Connection refused' >&2; return 1; }"
    assert look_up(squeue(), down)[0] == 1
    assert look_up(squeue())[0] == 0


def test_accounting_is_searched_back_to_the_first_attempt_and_at_most_30_days() -> None:
    prints = 'sacct() { case " $* " in *" --starttime=now-$wanted "*) echo "$line" ;; esac; }'
    line = f"line='99999999999|12|COMPLETED|node1|{OURS}'"
    assert look_up(squeue(), f"wanted=2592000; {line}; {prints}", since=-600) == (0, ["12"])
    recent = "date() { echo 100000; }"
    assert look_up(squeue(), f"wanted=3600; {line}; {prints}; {recent}", since=99000) == (0, ["12"])
    assert look_up(squeue(), f"wanted=50000; {line}; {prints}; {recent}", since=50000) == (0, ["12"])
