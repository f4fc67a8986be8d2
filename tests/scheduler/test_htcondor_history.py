"""What the schedd remembers of jobs of which neither the queue nor their own logs tell."""

import json

import pytest

from hpcdeploy.run import State, TaskStatus
from hpcdeploy.scheduler import htcondor
from hpcdeploy.scheduler.contract import Answer
from hpcdeploy.scheduler.htcondor.queries import read_history
from tests.scheduler.samples import PLAIN, run_of

RUN = run_of(PLAIN, "htcondor", job_id="7")
# condor_history -json of HTCondor 23.9.
AD = {
    "ClusterId": 7,
    "EnteredCurrentStatus": 1795291226,
    "ExitBySignal": False,
    "ExitCode": 0,
    "ExitSignal": 9,
    "JobCurrentStartDate": 1795291205,
    "JobStatus": 4,
    "LastRemoteHost": "slot1_2@pool",
    "NumJobStarts": 2,
    "ProcId": 0,
}
SUBMITTED = "000 (007.000.000) 2026-11-20 22:35:22 Job submitted from host: <127.0.0.1:20002>\n"
CUT = SUBMITTED + "005 (007.000.000) 2026-11-20 22:35:29 Job terminated.\n"


def told(*ads: dict[str, object], events: str = "", code: int = 0) -> TaskStatus:
    answers = {
        "condor_q": Answer(text="", exit_code=0),
        "events": Answer(text=events, exit_code=0),
        "condor_history": Answer(text=json.dumps(ads), exit_code=code),
    }
    [task] = htcondor.states(answers, [RUN])[RUN.id]
    return task


def test_no_match_is_an_empty_list_and_nothing_at_all_is_no_error() -> None:
    assert read_history("[\n]\n").found == {}
    assert read_history("").found == {}


@pytest.mark.parametrize("events", ["", SUBMITTED, CUT])
def test_an_end_that_only_the_history_tells_is_an_end(events: str) -> None:
    task = told(AD, events=events)
    assert (task.state, task.exit_code, task.node) == (State.COMPLETED, 0, "slot1_2@pool")
    assert (task.ended - task.started, task.restarts) == (21, 1)


@pytest.mark.parametrize(
    ("more", "state", "exit_code", "reason"),
    [
        ({"ExitCode": 3}, State.FAILED, 3, ""),
        ({"ExitBySignal": True, "ExitCode": None}, State.FAILED, 137, ""),
        (
            {"JobStatus": 3, "RemoveReason": "via condor_rm (by user me)"},
            State.CANCELLED,
            None,
            "via condor_rm (by user me)",
        ),
        ({"JobStatus": 3, "LastHoldReasonCode": 47}, State.TIMEOUT, None, "the time limit was reached"),
    ],
)
def test_ends_are_told_apart(more: dict[str, object], state: State, exit_code: int | None, reason: str) -> None:
    task = told({**AD, **more})
    assert (task.state, task.exit_code, task.reason) == (state, exit_code, reason)


@pytest.mark.parametrize("more", [{"ClusterId": 8}, {"ProcId": 1}, {"JobStatus": 2}, {"ExitCode": None}])
def test_what_the_history_does_not_tell_stays_unknown(more: dict[str, object]) -> None:
    task = told({**AD, **more}, events=SUBMITTED)
    assert task.state is State.UNKNOWN
    assert "its end is not recorded" in task.reason


def test_a_history_that_could_not_be_asked_ends_nothing() -> None:
    assert told(AD, code=1).state is State.UNKNOWN


def test_what_dagman_submitted_is_known_by_dagmans_number() -> None:
    assert told({**AD, "ClusterId": 8, "DAGManJobId": 7}).state is State.COMPLETED


def test_what_the_log_tells_counts() -> None:
    ended = SUBMITTED + "005 (007.000.000) 2026-11-20 22:35:29 Job terminated.\n\t(1) Normal termination (return value 5)\n"
    assert told(AD, events=ended).exit_code == 5
