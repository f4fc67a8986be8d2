"""What the scripts of a login node make of Slurm's answers; here Slurm's commands are functions that print recorded ones.

The lab shows the same with the real commands (tests/cluster/test_rejected.py); these answers are of several releases.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy import limits
from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import SchedulerError
from hpcdeploy.remote.cancellation import cancel_script
from hpcdeploy.remote.query import following, query_scheduler
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.run import Run, RunStatus, State, TaskStatus
from hpcdeploy.scheduler import slurm
from hpcdeploy.scheduler.contract import read_answers
from hpcdeploy.shell_script import library
from hpcdeploy.transport.local import LocalTransport
from tests.scheduler.samples import CACHED, CLUSTER, PLAIN, TRAIN, run_of
from tests.sessions import session

RUN = run_of(PLAIN, job_id="12")
LARGE = replace(run_of(TRAIN, job_id="40,41"), part=50)
NO_ACCOUNTING = "sacct() { echo 'Slurm accounting storage is disabled' >&2; return 1; }"


def printing(command: str, *lines: str) -> str:
    return f"{command}() {{ cat <<'END'\n" + "".join(f"{line}\n" for line in lines) + "END\n}"


def at(root: Path, *setup: str) -> Cluster:
    return replace(CLUSTER, root=str(root), setup=setup)


def followed(root: Path, runs: Sequence[Run], *setup: str) -> dict[str, tuple[TaskStatus, ...]]:
    script = following(at(root, *setup), "slurm", runs, "fence")
    done = subprocess.run(["bash"], input=script.encode(), capture_output=True, check=True)
    return dict(slurm.states(read_answers(done.stdout, "fence"), runs))


ID = RUN.id
QUEUED = "12|N/A|RUNNING|node1|1790000000|0|None|"


@pytest.mark.parametrize(
    ("texts", "state"),
    [
        (f"hpcdeploy:{ID}|{ID}|", State.RUNNING),
        (f"hpcdeploy:{ID}|better|", State.RUNNING),
        (f"hpcdeploy:{ID}|a|b|", State.RUNNING),
        (f"theirs|{ID}|", State.RUNNING),
        (f"|{ID}|", State.RUNNING),
        ("theirs|better|", State.UNKNOWN),
        (f"hpcdeploy:{ID}0|{ID}0|", State.UNKNOWN),
    ],
)
def test_a_job_is_followed_by_its_number_and_its_comment_or_name(texts: str, state: State, tmp_path: Path) -> None:
    [task] = followed(tmp_path, [RUN], printing("squeue", QUEUED + texts), NO_ACCOUNTING)[ID]
    assert (task.state, task.lost) == (state, state is State.UNKNOWN)


def test_a_reason_that_holds_the_separator_is_whole_in_front_of_the_comment(tmp_path: Path) -> None:
    line = f"12|N/A|PENDING||N/A|0|held|by (a|b)|hpcdeploy:{ID}|better|"
    [task] = followed(tmp_path, [RUN], printing("squeue", line), NO_ACCOUNTING)[ID]
    assert (task.state, task.reason) == (State.PENDING, "held|by (a|b)")


@pytest.mark.parametrize("comment", [f"hpcdeploy:{LARGE.id}", f"hpcdeploy:{LARGE.id}.50"])
def test_a_later_array_of_a_large_run_is_known_by_the_comment_of_this_version_and_of_earlier_ones(
    comment: str, tmp_path: Path
) -> None:
    line = f"41|0-49|PENDING||N/A|0|Priority|{comment}|better|"
    tasks = followed(tmp_path, [LARGE], printing("squeue", line), NO_ACCOUNTING)[LARGE.id]
    assert [task.state for task in tasks] == [State.UNKNOWN] * 50 + [State.PENDING] * 50


@pytest.mark.parametrize("cut", ["12|N/A|RUNNING", f"{QUEUED}hpcdeploy:{ID}"[:-3], "12", "12|"])
def test_a_row_that_was_cut_off_leaves_its_job_unknown_and_never_lost(cut: str, tmp_path: Path) -> None:
    [task] = followed(tmp_path, [RUN], printing("squeue", cut), NO_ACCOUNTING)[ID]
    assert (task.state, task.unread, task.lost) == (State.UNKNOWN, True, False)
    assert cut in task.reason


@pytest.mark.parametrize("indices", ["[0-99999999999]", "0-99999999999:0", "3,0-4:0,99999999999-99999999999999"])
def test_a_row_of_absurd_task_numbers_costs_no_time(indices: str, tmp_path: Path) -> None:
    line = f"40|{indices}|PENDING||N/A|0|Priority|hpcdeploy:{TRAINED.id}|better|"
    script = following(at(tmp_path, printing("squeue", line), NO_ACCOUNTING), "slurm", [TRAINED], "fence")
    limited = ["bash", "-c", "ulimit -t 20 -v 2000000; exec bash"]
    done = subprocess.run(limited, input=script.encode(), capture_output=True, check=True)
    tasks = slurm.states(read_answers(done.stdout, "fence"), [TRAINED])[TRAINED.id]
    assert {task.state for task in tasks} <= {State.PENDING, State.UNKNOWN}
    assert not any(task.lost for task in tasks)


def accounting(release: str) -> str:
    """Be sacct of that release about an array whose tasks ended with 9, 137, 128, 0 and by signal 9."""
    codes = {0: 9, 1: 137, 2: 128, 3: 0}
    shown = {task: code if release >= "25.11" or code < 128 else code - 128 for task, code in codes.items()}
    lines = [f"40_{task}|{'FAILED' if codes[task] else 'COMPLETED'}|{code}:0" for task, code in shown.items()] + [
        "40_4|FAILED|0:9"
    ]
    texts = "".join(f"{line}|node1|1|2||{TRAINED.id}\n" for line in lines)
    jobs = ", ".join(
        f'{{"job_id": 5{task}, "array": {{"job_id": 40, "task_id": {task}}}, "exit_code": {{"return_code": {code}}}}}'
        for task, code in codes.items()
    )
    return f"""sacct() {{
        case " $* " in
          *" --version "*) echo "slurm-wlm {release}.5" ;;
          *" --json "*" --jobs=40_0,40_1,40_2 "*) cat <<'END'
{{"jobs": [{jobs}]}}
END
          ;;
          *" --json "*) return 1 ;;
          *) cat <<'END'
{texts}END
          ;;
        esac
    }}"""


TRAINED = replace(run_of(TRAIN, job_id="40"), tasks=5)


@pytest.mark.parametrize("release", ["23.11", "24.11", "25.05", "25.11", "26.05"])
def test_exit_codes_that_only_accounting_knows_are_right_in_every_release(release: str, tmp_path: Path) -> None:
    tasks = followed(tmp_path, [TRAINED], "squeue() { :; }", accounting(release))[TRAINED.id]
    assert [task.exit_code for task in tasks] == [9, 137, 128, 0, 137]


def cancelled(root: Path, runs: Sequence[Run], *lines: str) -> tuple[int, str, list[str], list[str]]:
    """Cancel runs with this queue; return the exit status, the message, what was cancelled and which runs have the mark."""
    for run in runs:
        (root / "runs" / run.id).mkdir(parents=True)
    site = at(root, printing("squeue", *lines), f'scancel() {{ printf "%s\\n" "$@" >"{root}/scancelled"; }}')
    done = subprocess.run(["bash"], input=cancel_script(site, runs).encode(), capture_output=True, check=False)
    log = root / "scancelled"
    marks = [run.id for run in runs if (root / "runs" / run.id / "cancelled").exists()]
    return done.returncode, done.stderr.decode(), log.read_text().split() if log.exists() else [], marks


@pytest.mark.parametrize("texts", [f"hpcdeploy:{ID}|{ID}", f"hpcdeploy:{ID}|better", f"theirs|{ID}"])
def test_a_job_is_cancelled_by_its_number_and_its_comment_or_name(texts: str, tmp_path: Path) -> None:
    assert cancelled(tmp_path, [RUN], f"1500|12|RUNNING|node1|None|{texts}") == (0, "", ["12"], [ID])


def test_a_run_whose_number_is_in_the_queue_without_its_id_is_not_reported_as_cancelled(tmp_path: Path) -> None:
    other = run_of(PLAIN, job_id="13", run_id="other-0123456789")
    queue = ("1500|12|RUNNING|node1|None|theirs|better", f"1500|13|RUNNING|node1|None|hpcdeploy:{other.id}|{other.id}")
    code, said, jobs, marks = cancelled(tmp_path, [RUN, other], *queue)
    assert (code, jobs, marks) == (1, ["13"], [other.id])
    assert "job 12, the job id of run" in said
    assert "theirs|better" in said
    assert "'scancel 12'" in said


def test_an_array_is_cancelled_once_however_many_of_its_tasks_run(tmp_path: Path) -> None:
    task = f"1500|12|RUNNING|node1|None|hpcdeploy:{ID}|{ID}"
    assert cancelled(tmp_path, [RUN], task, task, "1500|12|RUNNING|node2|None|theirs|better", task) == (0, "", ["12"], [ID])


def test_a_job_of_another_run_is_reported_once(tmp_path: Path) -> None:
    code, said, jobs, _ = cancelled(tmp_path, [RUN], *["1500|12|RUNNING|node1|None|theirs|better"] * 3)
    assert (code, jobs, said.count("job 12, the job id of run")) == (1, [], 1)


def test_a_run_that_left_the_queue_is_cancelled_without_a_word(tmp_path: Path) -> None:
    assert cancelled(tmp_path, [RUN], "1500|99|RUNNING|node1|None|theirs|better") == (0, "", [], [ID])


UNAVAILABLE = "sbatch: error: allocation failure: Requested node configuration is not available"
LIST = "MPI plugin types are...\n\tnone\n\tpmi2\n\tpmix\nspecific pmix plugin versions available: pmix_v4,pmix_v5"


def checked(
    folder: Path, *, release: str = "24.11", reports: str = "", nodes: str = "node1 idle", mpi: str = "", plugins: str = LIST
) -> str:
    """Check a job as the submission script does; return what is said, of a refusal behind "refused: "."""
    (folder / "job.sh").write_text("#!/bin/bash\n#SBATCH --partition=gpu\n")
    functions = library(["slurm/release.sh", "slurm/mpi.sh", "slurm/check_job.sh"])
    script = f"""set -euo pipefail
    run={folder} mpi={mpi} is_array=no
    say() {{ printf '%s\\n' "$*"; }}
    stop() {{ printf 'refused: %s\\n' "$2"; exit "$1"; }}
    sbatch() {{
      case " $* " in
        *" --version "*) echo "slurm-wlm {release}.1" ;;
        *" --test-only "*) [ -z "$reports" ] || {{ printf '%s\\n' "$reports" >&2; return 1; }} ;;
      esac
    }}
    sinfo() {{ case " $* " in *" --partition=gpu "*) printf '%s\\n' "$nodes" ;; esac; }}
    srun() {{ printf '%s\\n' "$given_plugins" >&2; }}
    {functions}
    [ -z "$mpi" ] || check_mpi
    check_job"""
    environment = {"PATH": "/usr/bin:/bin", "reports": reports, "nodes": nodes, "given_plugins": plugins}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert (done.stderr, done.returncode) == ("", 12 if done.stdout.startswith("refused: ") else 0)
    return done.stdout


@pytest.mark.parametrize(
    "nodes", ["node1 idle\nnode2 mixed-", "node1 allocated+\nnode2 idle~", "node1 completing\nnode2 planned"]
)
def test_what_no_node_can_run_is_refused_where_sbatch_would_accept_it(nodes: str, tmp_path: Path) -> None:
    assert (
        checked(tmp_path, release="26.05", reports=UNAVAILABLE, nodes=nodes)
        == f"refused: Slurm rejects the job: {UNAVAILABLE}\n"
    )
    for release, refused in (("22.05", True), ("24.05", True), ("24.11", False), ("25.11", False), ("26.11", True)):
        assert checked(tmp_path, release=release, reports=UNAVAILABLE, nodes=nodes).startswith("refused: ") == refused


@pytest.mark.parametrize("state", ["down*", "drained", "drng", "maint", "reserved", "idle$", "unknown", "inval"])
def test_a_job_that_may_start_once_nodes_are_back_is_submitted_with_a_note(state: str, tmp_path: Path) -> None:
    said = checked(tmp_path, release="26.05", reports=UNAVAILABLE, nodes=f"node1 {state}\nnode2 idle\nnode1 {state}")
    assert "1 nodes are down, drained or reserved" in said
    assert said.startswith("note: ")


@pytest.mark.parametrize("reports", ["", "sbatch: error: allocation failure: Job violates accounting/QOS policy"])
def test_what_may_change_while_the_job_waits_is_no_refusal(reports: str, tmp_path: Path) -> None:
    assert checked(tmp_path, release="26.05", reports=reports) == ""


@pytest.mark.parametrize("mpi", ["pmix", "pmix_v5", "pmi2", "none", "openmpi"])
def test_an_mpi_plugin_that_slurm_has_is_accepted(mpi: str, tmp_path: Path) -> None:
    assert checked(tmp_path, mpi=mpi) == ""


def test_an_mpi_plugin_that_slurm_lacks_is_refused_with_the_list(tmp_path: Path) -> None:
    debian = "MPI plugin types are...\n\tnone\n\tcray_shasta\n\tpmi2"
    said = checked(tmp_path, mpi="pmix", plugins=debian)
    assert "no MPI plugin pmix; set the key mpi" in said
    assert "none cray_shasta pmi2" in said
    assert checked(tmp_path, mpi="pmix", plugins="srun: error: something else") == ""


def test_a_job_without_mpi_asks_nothing_of_srun(tmp_path: Path) -> None:
    assert "--mpi=list" not in submission(RUN, PLAIN, CLUSTER, CACHED)
    assert checked(tmp_path, plugins="") == ""


OWN_ROW = f"{QUEUED}hpcdeploy:{ID}|{ID}|"
OTHERS = [OWN_ROW.replace("12|", f"{job}|", 1).replace(ID, "other-0123456789") for job in range(1000, 1100)]
"""Jobs of the same person, of which nothing is held."""

ENDED_ROW = f"12|COMPLETED|0:0|node1|1790000000|1790000001|{ID}|hpcdeploy:{ID}"


def limited_to(monkeypatch: pytest.MonkeyPatch, about_runs: int, in_all: int) -> None:
    monkeypatch.setattr(limits, "following", lambda _tasks: limits.OutputLimit(stdout=about_runs))
    monkeypatch.setattr(limits, "ALL_JOBS", in_all)


def test_a_scheduler_may_print_any_number_of_other_jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    size = sum(len(row) + 1 for row in [*OTHERS, OWN_ROW])
    limited_to(monkeypatch, 300, size)
    [task] = followed(tmp_path, [RUN], printing("squeue", *OTHERS, OWN_ROW), NO_ACCOUNTING)[ID]
    assert task.state is State.RUNNING


@pytest.mark.parametrize(
    ("scheduler", "commands", "named"),
    [
        ("slurm", (printing("squeue", *[OWN_ROW] * 20), NO_ACCOUNTING), "squeue"),
        ("slurm", (printing("squeue", *OTHERS, OWN_ROW), NO_ACCOUNTING), "squeue"),
        ("slurm", ("squeue() { yes | tr -d '\\n'; }", NO_ACCOUNTING), "squeue"),
        ("slurm", ("squeue() { :; }", printing("sacct", *[ENDED_ROW] * 10)), "sacct"),
        ("slurm", ("squeue() { :; }", "sacct() { yes; }"), "sacct"),
        ("htcondor", (printing("condor_q", *["{}"] * 200),), "condor_q"),
        ("htcondor", ("condor_q() { yes; }",), "condor_q"),
    ],
)
def test_of_an_answer_beyond_the_limit_nothing_is_used(
    scheduler: SchedulerName, commands: tuple[str, ...], named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limited_to(monkeypatch, 500, 5000)
    site = replace(at(tmp_path, *commands), schedulers=(scheduler,))
    known = RunStatus(run=run_of(PLAIN, scheduler, job_id="12"), tasks=(), asked=0)
    with pytest.raises(
        SchedulerError, match=f"{named}: more than 500 bytes about these runs, or more than 5000 bytes in total"
    ):
        list(query_scheduler(session(site, LocalTransport()), scheduler, [known]))


def test_an_event_log_beyond_the_limit_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limited_to(monkeypatch, 500, 5000)
    run = run_of(PLAIN, "htcondor", job_id="12")
    log = tmp_path / "runs" / run.id / "events.log"
    log.parent.mkdir(parents=True)
    log.write_text("012 (012.000.000) 2026-11-20 22:35:29 Job was held.\n\tCode 1 Subcode 0\n" * 20)
    site = replace(at(tmp_path, "condor_q() { :; }"), schedulers=("htcondor",))
    with pytest.raises(SchedulerError, match="the event log: more than 500 bytes"):
        list(query_scheduler(session(site, LocalTransport()), "htcondor", [RunStatus(run=run, tasks=(), asked=0)]))


def test_an_answer_as_long_as_the_limit_is_used_and_its_exit_status_kept() -> None:
    text = library(["limited.sh"])
    tell = 'limited 4 printf "%s\\n" abc; echo "$?"; limited 3 printf "%s\\n" abc; echo "$?"; limited 9 false; echo "$?"'
    done = subprocess.run(["bash"], input=f"{text}\n{tell}".encode(), capture_output=True, check=True)
    assert done.stdout == b"abc\n0\nabc111\n1\n"
