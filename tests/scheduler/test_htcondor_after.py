"""A run that waits for others: its number is that of its DAGMan, what it is made of is another job."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from hpcdeploy.run import Run, State, TaskStatus
from hpcdeploy.scheduler import htcondor
from hpcdeploy.scheduler.contract import Answer
from hpcdeploy.scheduler.htcondor.reasons import explain
from tests.scheduler.samples import PLAIN, run_of

ONE = run_of(PLAIN, "htcondor", job_id="7")
DAGMAN = {
    "ClusterId": 7,
    "ProcId": 0,
    "JobUniverse": 7,
    "JobStatus": 2,
    "NumJobStarts": 1,
    "HpcdeployAfter": "a-1, b-2",
    "HpcdeployRun": ONE.id,
}
TASK = {"ClusterId": 8, "ProcId": 0, "JobUniverse": 5, "DAGManJobId": 7, "HpcdeployRun": ONE.id}
BEGUN = "001 (7.-1.000) 2026-11-20 22:35:23 Job executing on host: <127.0.0.1:20002>\n"
ENDED = "005 (7.{}.000) 2026-11-20 22:35:29 Job terminated.\n\t(1) Normal termination (return value {})\n"
REMOVED = "009 (7.-1.000) 2026-11-20 22:36:00 Job was aborted.\n\tit was to start once run a-1 had ended well (by user me)\n"
SUBMITTED = "000 (7.000.000) 2026-11-20 22:35:22 Job submitted from host: <127.0.0.1:20002>\n"
MADE_LATER = "035 (7.-01.000) 2026-11-20 22:35:22 Cluster submitted from host: <127.0.0.1:20002>\n"


def told(*queue: Mapping[str, object], events: str = "", run: Run = ONE) -> list[TaskStatus]:
    answers = {
        "condor_q": Answer(text=json.dumps(queue) if queue else "", exit_code=0),
        "events": Answer(text=events, exit_code=0),
    }
    return list(htcondor.states(answers, [run])[run.id])


@pytest.mark.parametrize("status", [1, 2, 7])
def test_a_run_whose_dagman_is_all_there_is_waits_and_says_for_what(status: int) -> None:
    [task] = told({**DAGMAN, "JobStatus": status}, events=BEGUN)
    assert (task.task, task.state, task.reason, task.restarts) == (0, State.PENDING, "waits for a-1, b-2", 0)
    assert "no action needed" in explain(task)


def test_a_dagman_that_is_being_removed_has_not_ended_until_its_log_says_why() -> None:
    [task] = told({**DAGMAN, "JobStatus": 3}, events=BEGUN)
    assert task.state is State.PENDING


def test_a_dagman_that_is_held_is_a_run_that_is_held() -> None:
    [task] = told({**DAGMAN, "JobStatus": 5, "HoldReason": "via condor_hold", "HoldReasonCode": 1}, events=BEGUN)
    assert (task.state, task.reason, task.code) == (State.HELD, "via condor_hold", "1.0")


def test_what_dagman_submitted_is_told_as_the_runs_own() -> None:
    [task] = told(DAGMAN, {**TASK, "JobStatus": 2, "RemoteHost": "slot1@node"}, events=BEGUN + SUBMITTED)
    assert (task.task, task.state, task.node) == (0, State.RUNNING, "slot1@node")
    [task] = told(DAGMAN, {**TASK, "JobStatus": 5, "HoldReason": "no room"}, events=BEGUN + SUBMITTED)
    assert (task.state, task.reason) == (State.HELD, "no room")


def test_a_task_that_was_submitted_between_the_two_questions_is_not_lost() -> None:
    [task] = told(DAGMAN, events=BEGUN + SUBMITTED)
    assert (task.state, task.word) == (State.PENDING, "IDLE")


def test_the_end_of_the_task_is_the_runs_whatever_dagman_does_then() -> None:
    for queue in ([DAGMAN], []):
        [task] = told(*queue, events=BEGUN + SUBMITTED + ENDED.format("000", 3))
        assert (task.state, task.exit_code) == (State.FAILED, 3)


def test_a_run_that_may_never_start_is_cancelled_and_says_why() -> None:
    [task] = told(events=BEGUN + REMOVED)
    assert (task.state, task.reason) == (State.CANCELLED, "it was to start once run a-1 had ended well")
    assert "or use afterany" in explain(task)


@pytest.mark.parametrize("code", [0, 1])
def test_a_dagman_that_ended_without_a_job_is_no_success_of_the_run(code: int) -> None:
    [task] = told(events=BEGUN + ENDED.format(-1, code))
    assert (task.state, task.exit_code) == (State.CANCELLED, None)
    assert "job.dag.dagman.out" in task.reason


def test_a_dagman_that_left_no_end_is_unknown() -> None:
    [task] = told(events=BEGUN)
    assert task.state is State.UNKNOWN


def test_tasks_that_are_made_later_wait_for_room_and_no_longer_for_the_other_run() -> None:
    run = replace(ONE, tasks=2)
    live = {**TASK, "JobStatus": 2}
    states = [(task.state, task.word) for task in told(DAGMAN, live, events=BEGUN + MADE_LATER + SUBMITTED, run=run)]
    assert states == [(State.RUNNING, "RUNNING"), (State.PENDING, "UNMATERIALIZED")]
    assert [task.state for task in told(DAGMAN, events=BEGUN, run=run)] == [State.PENDING] * 2
