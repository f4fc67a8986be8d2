"""What the script that DAGMan asks reads out of other runs' event logs; it needs bash and awk, and here no HTCondor."""

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.job import After, AfterKind, Predecessor
from hpcdeploy.remote.submission_script import submission
from tests.scheduler.samples import CACHED, CLUSTER, PLAIN, run_of
from tests.shellcheck import findings

SUBMITTED = "000 (12.{}.000) 2026-11-20 22:35:22 Job submitted from host: <127.0.0.1:20002>\n...\n"
BEGUN = "001 (12.{}.000) 2026-11-20 22:35:23 Job executing on host: <127.0.0.1:20002>\n...\n"
ENDED = "005 (12.{}.000) 2026-11-20 22:35:29 Job terminated.\n\t(1) Normal termination (return value {})\n...\n"
KILLED = "005 (12.{}.000) 2026-11-20 22:35:29 Job terminated.\n\t(0) Abnormal termination (signal 9)\n...\n"
RETRIED = (
    "004 (12.{}.000) 2026-11-20 22:35:29 Job was evicted.\n"
    "\t(0) Job terminated and was requeued\n\t(1) Normal termination (return value 75)\n...\n"
)
REMOVED = "009 (12.{}.000) 2026-11-20 22:36:00 Job was aborted.\n\tvia condor_rm (by user me)\n...\n"
MADE_LATER = "035 (12.-01.000) 2026-11-20 22:35:22 Cluster submitted from host: <127.0.0.1:20002>\n...\n"
NO_MORE = "036 (12.-01.000) 2026-11-20 22:36:00 Cluster removed\n...\n"
DAGMAN_ENDED = "005 (11.000.000) 2026-11-20 22:35:29 Job terminated.\n\t(1) Normal termination (return value 1)\n...\n"


def called(name: str, *kinds: AfterKind, tasks: int = 1) -> str:
    """Render a script that DAGMan calls, of a run that waits for one other, in one way or several."""
    kinds = kinds or ("afterok",)
    waits = replace(PLAIN, after=tuple(After(what="other-1", kind=kind) for kind in kinds))
    after = tuple(Predecessor(run_id="other-1", kind=kind, tasks=tasks) for kind in kinds)
    script = submission(run_of(waits, "htcondor"), waits, CLUSTER, CACHED, after=after)
    return script.partition(f"""write "$run/{name}" <<'HPCDEPLOY_END_0123456789'\n""")[2].partition("HPCDEPLOY_END_")[0]


def asked(
    folder: Path,
    log: str,
    *kinds: AfterKind,
    tasks: int = 2,
    job: str = "12",
    dagman: str = "",
    begun: Sequence[int] | None = None,
) -> tuple[int, str]:
    """Write the folder of a run with this log, and ask whether a run that waits for it may start."""
    wait = called("wait.sh", *kinds, tasks=tasks)
    other, own = folder / "other-1", folder / "own"
    for run in (other, own):
        run.mkdir()
    (other / "id").symlink_to(job)
    (other / "events.log").write_text(log)
    if begun is not None:
        (other / "notes-begin").touch()
        (other / "tasks").mkdir()
        for task in begun:
            (other / f"tasks/{task}.begun").touch()
    if dagman:
        (other / "job.dag").touch()
        (other / "job.dag.dagman.log").write_text(dagman)
    (own / "wait.sh").write_text(wait)
    done = subprocess.run(["bash", own / "wait.sh", "now"], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_a_run_whose_programs_did_not_all_begin_has_not_ended_well(tmp_path: Path) -> None:
    well = ENDED.format("000", 0) + ENDED.format("001", 0)
    for name in ("all", "one"):
        (tmp_path / name).mkdir()
    assert asked(tmp_path / "all", well, begun=(0, 1))[0] == 0
    code, said = asked(tmp_path / "one", well, begun=(0,))
    assert (code, "the program of task 1 never began" in said) == (1, True)


@pytest.mark.parametrize(
    ("log", "ok", "said"),
    [
        ("", 75, ""),
        (SUBMITTED.format("000") + BEGUN.format("000") + ENDED.format("000", 0) + SUBMITTED.format("001"), 75, ""),
        (ENDED.format("000", 0) + ENDED.format("001", 0), 0, ""),
        (ENDED.format("000", 0) + ENDED.format("001", 3), 1, "task 1 ended with 3"),
        (ENDED.format("000", 0) + KILLED.format("001"), 1, "task 1 ended with 137"),
        (ENDED.format("000", 0) + REMOVED.format("001"), 1, "task 1 was removed"),
        (ENDED.format("000", 0) + RETRIED.format("001"), 75, ""),
        (ENDED.format("000", 0) + RETRIED.format("001") + BEGUN.format("001") + ENDED.format("001", 0), 0, ""),
        (MADE_LATER + ENDED.format("000", 0), 75, ""),
        (MADE_LATER + ENDED.format("000", 0) + NO_MORE, 1, "task 1 never began"),
        (MADE_LATER + ENDED.format("000", 0) + ENDED.format("001", 0) + NO_MORE, 0, ""),
    ],
)
def test_a_run_has_ended_when_each_task_has_and_well_when_each_did(log: str, ok: int, said: str, tmp_path: Path) -> None:
    kinds: tuple[AfterKind, ...] = ("afterok", "afterany", "afternotok")
    told = {}
    for kind in kinds:
        (tmp_path / kind).mkdir()
        told[kind] = asked(tmp_path / kind, log, kind)
    assert told["afterok"][0] == ok
    assert said in told["afterok"][1]
    assert told["afterany"][0] == (75 if ok == 75 else 0)
    assert told["afternotok"][0] == {75: 75, 0: 1, 1: 0}[ok]


def test_one_run_with_a_large_log_may_be_waited_for_in_two_ways(tmp_path: Path) -> None:
    log = "".join(SUBMITTED.format(f"{task:03}") + ENDED.format(f"{task:03}", 0) for task in range(6000))
    assert len(log) > 1_030_000
    assert asked(tmp_path, log, "afterok", "afterany", tasks=6000) == (0, "")


def test_events_of_a_job_that_was_taken_back_do_not_count(tmp_path: Path) -> None:
    assert asked(tmp_path, ENDED.format("000", 0), tasks=1, job="13")[0] == 75


def test_a_run_that_waited_itself_is_judged_by_the_job_that_its_dagman_submitted(tmp_path: Path) -> None:
    log = SUBMITTED.format("000") + ENDED.format("000", 0)
    assert asked(tmp_path, log, tasks=1, job="11", dagman=DAGMAN_ENDED)[0] == 0


def test_a_dagman_that_ended_and_submitted_nothing_is_a_run_that_never_began(tmp_path: Path) -> None:
    code, said = asked(tmp_path, "", tasks=1, job="11", dagman=DAGMAN_ENDED)
    assert (code, "once run other-1 had ended well, but task 0 never began" in said) == (1, True)


def test_a_dagman_that_ended_before_its_job_leaves_the_word_to_that(tmp_path: Path) -> None:
    assert asked(tmp_path, SUBMITTED.format("000"), tasks=1, job="11", dagman=DAGMAN_ENDED)[0] == 75


@pytest.mark.parametrize("name", ["wait.sh", "node.sh", "remove.sh"])
def test_shellcheck_has_nothing_to_say_of_what_dagman_calls(name: str) -> None:
    script = called(name)
    assert script.startswith("#!/bin/bash\n")
    assert findings(script) == ""
