"""Answers of schedulers that no honest one gives: each row that cannot be read is its own task's trouble only."""

import json
from dataclasses import replace
from typing import Any

import pytest

from hpcdeploy.checked_values import LARGEST, LATEST, moment, whole_number
from hpcdeploy.errors import SchedulerError
from hpcdeploy.job import Array, Job
from hpcdeploy.run import UNREAD, State, TaskStatus
from hpcdeploy.scheduler import htcondor, slurm
from hpcdeploy.scheduler.contract import Answer, Answers, read_answers
from hpcdeploy.scheduler.htcondor.queries import read_queue as read_condor_q
from hpcdeploy.scheduler.slurm.queries import indices, read_accounting, read_queue, read_records
from tests.scheduler.samples import PLAIN, run_of

MANY = Job(name="many", image="train", array=Array(size=4))
RUN = run_of(MANY, job_id="40")
ALONE = run_of(PLAIN, "htcondor", job_id="7")
AD = {"ClusterId": 7, "ProcId": 0, "JobStatus": 2, "HpcdeployRun": ALONE.id}


def answers(**texts: str) -> Answers:
    return {name: Answer(text=text, exit_code=0) for name, text in texts.items()}


def condor(text: str, events: str = "") -> TaskStatus:
    [task] = htcondor.states(answers(condor_q=text, events=events), [ALONE])[ALONE.id]
    return task


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "7",
        '{"ClusterId": 7}',
        '"a"',
        "[" * 150 + "]" * 150,
        "[" * 100_000,
        '[{"ClusterId": ' + "9" * 5000 + "}]",
        "[{}",
        "Failed to fetch ads\n",
    ],
)
def test_an_answer_of_condor_q_that_is_no_list_is_one_error(text: str) -> None:
    with pytest.raises(SchedulerError, match=r"condor_q printed .*; try again"):
        condor(text)


@pytest.mark.parametrize(
    "bad",
    [
        *(None, 7, "7", [], ["ClusterId"], {}),
        *({**AD, "ClusterId": None}, {**AD, "ClusterId": []}, {**AD, "ClusterId": 7.5}, {**AD, "ClusterId": float("nan")}),
        *({**AD, "ProcId": "x"}, {**AD, "ProcId": float("inf")}, {**AD, "ProcId": 10**30}, {**AD, "ProcId": -5}),
        *({**AD, "ProcId": True}, {**AD, "ProcId": {"a": 1}}, {**AD, "DAGManJobId": "seven"}),
    ],
)
def test_an_ad_that_cannot_be_read_makes_its_own_job_unknown_and_no_other(bad: Any) -> None:
    task = condor(json.dumps([bad]))
    assert task.state is State.UNKNOWN
    assert task.unread
    assert not task.lost
    assert condor(json.dumps([bad, AD, bad])).state is State.RUNNING


@pytest.mark.parametrize(
    "strange",
    [
        *({"JobStatus": "2"}, {"JobStatus": 2.0}, {"NumJobStarts": "many"}, {"NumJobStarts": float("nan")}),
        *({"JobCurrentStartDate": float("inf")}, {"JobCurrentStartDate": 10**40}, {"JobCurrentStartDate": [1]}),
        *({"RemoteHost": {"a": [1]}}, {"JobUniverse": [7]}, {"TransferringInput": "yes"}),
    ],
)
def test_a_value_that_tells_nothing_needed_is_as_good_as_none(strange: dict[str, Any]) -> None:
    task = condor(json.dumps([{**AD, **strange}]))
    assert (task.state, task.restarts, task.started) == (State.RUNNING, 0, 0)


@pytest.mark.parametrize("status", [[], {"a": 1}, None, float("nan"), 10**30, "running", True])
def test_a_status_that_no_job_can_have_is_unknown_and_shown_as_it_came(status: Any) -> None:
    task = condor(json.dumps([{**AD, "JobStatus": status}]))
    assert task.state is State.UNKNOWN
    assert task.word == str(status)


def test_hold_codes_are_numbers_or_0() -> None:
    held = {**AD, "JobStatus": 5, "HoldReasonCode": [34], "HoldReasonSubCode": "²"}
    assert condor(json.dumps([held])).code == "0.0"
    assert condor(json.dumps([{**held, "HoldReasonCode": 12, "HoldReasonSubCode": -2}])).code == "12.-2"
    assert htcondor.explain(condor(json.dumps([{**held, "HoldReasonCode": 10**18}]))) == ""


def test_a_history_that_cannot_be_read_leaves_the_task_unknown_and_a_bad_exit_code_too() -> None:
    ended = {**AD, "JobStatus": 4, "ExitBySignal": False}
    codes: list[Any] = [float("nan"), 10**20, "x", -1, 256, []]
    for code in codes:
        told = answers(condor_q="", events="", condor_history=json.dumps([{**ended, "ExitCode": code}]))
        [task] = htcondor.states(told, [ALONE])[ALONE.id]
        assert task.unread, code
    told = answers(condor_q="", events="", condor_history=json.dumps([None, {**ended, "ExitCode": 3}]))
    assert htcondor.states(told, [ALONE])[ALONE.id][0].exit_code == 3


def test_numbers_of_a_log_that_no_log_has_tell_nothing() -> None:
    huge = "9" * 5000
    assert condor("", f"000 ({huge}.000.000) 2026-11-20 22:36:00 Job submitted\n").state is State.UNKNOWN
    ended = "005 (7.0.0) 2026-11-20 22:36:09 Job terminated.\n\t(1) Normal termination (return value {})\n"
    begun = "000 (7.0.0) 2026-11-20 22:36:00 Job submitted\n001 (7.0.0) 1900-01-01 00:00:00 Job executing on host: <a>\n"
    for code in ("300", "99999", "-1"):
        task = condor("", begun + ended.format(code))
        assert (task.state, task.exit_code, task.started) == (State.FAILED, None, 0)
    assert condor("", begun + ended.format(huge)).state is State.UNKNOWN


@pytest.mark.parametrize(
    "row",
    [
        *("40", "40|", "40|1|RUNNING|n|1|0", "40|x|RUNNING|n|1|0|r|", "40|²|RUNNING|n|1|0|r|", "40|0-3:0|RUNNING|n|1|0|r|"),
        *("40|-1|RUNNING|n|1|0|r|", "40|1_0|RUNNING|n|1|0|r|", "40|[0-3|RUNNING|n|1|0", "40|" + "0-3," * 9 + "|R|n|1|0|r|"),
        *("40|99999999999999|RUNNING|n|1|0|r|", "slurm_load_jobs error: Socket timed out", "|||||||"),
    ],
)
def test_a_row_of_squeue_that_cannot_be_read_makes_only_tasks_unknown_that_nothing_else_tells_of(row: str) -> None:
    good = "40|2|PENDING||N/A|0|Priority|\n"
    told = slurm.states(answers(squeue=f"{good}{row}\n", sacct=f"40_3|COMPLETED|0:0|n|1|2||{RUN.id}\n"), [RUN])[RUN.id]
    assert [task.state for task in told] == [State.UNKNOWN, State.UNKNOWN, State.PENDING, State.COMPLETED]
    assert all(task.unread and not task.lost for task in told[:2])
    assert told[0].reason.startswith(UNREAD)
    assert len(told[0].reason) < 300


def test_a_row_of_another_job_that_cannot_be_read_is_nobodys_business() -> None:
    other = run_of(replace(MANY, name="other"), job_id="41", run_id="other-0000000000")
    told = slurm.states(answers(squeue="41|bad\n"), [RUN, other])
    assert all(task.lost for task in told[RUN.id])
    assert all(task.unread for task in told[other.id])


def test_an_end_that_a_task_noted_is_no_end_while_its_row_cannot_be_read_and_accounting_tells_otherwise() -> None:
    note = f"{RUN.id} 0 end 1790000000 1\n"
    accounting = f"40_0|RUNNING|0:0|n|1|Unknown||{RUN.id}\n"
    first = slurm.states(answers(squeue="40|bad\n", sacct=accounting, records=note), [RUN])[RUN.id][0]
    assert first.state is State.RUNNING
    first = slurm.states(answers(squeue="", sacct=accounting, records=note), [RUN])[RUN.id][0]
    assert (first.state, first.exit_code) == (State.FAILED, 1)


def test_indices_outside_of_the_array_are_left_out_before_they_are_listed() -> None:
    assert indices("0-9999999999", 4) == [0, 1, 2, 3]
    assert indices("[2,9999999999%7]", 4) == [2]
    for text in ("0-3,0-3", "a", "1-", "-3", "1:", ",", "1-2-3", "0-9999999999:0"):
        with pytest.raises(ValueError, match=r"."):
            indices(text, 4)
    many = "40|0-9999|PENDING||N/A|0|r|\n" * 20_000
    assert sum(map(len, read_queue(many, {"40": 10_000}).found.values())) <= 100_000


def test_times_restarts_and_exit_codes_that_cannot_be_are_not_known() -> None:
    row = "40|0|RUNNING|n|{}|{}|r|"
    for number in ("²", "9" * 30, "-5", "1e9", str(LATEST + 1)):
        [task] = read_queue(row.format(number, number))["40"]
        assert (task.started, task.state) == (0, State.RUNNING)
        assert task.restarts in {0, LATEST + 1}
    for code in ("x:0", "300:0", "0:200", "", ":", "-1:0", "9" * 5000 + ":0"):
        found = read_accounting(f"40_0|FAILED|{code}|n|1|2||n\n40_1|FAILED|7:0|n|1|2||n\n", {"40": ["n"]})
        assert [task.exit_code for task in found["40"]] == [7]
        assert "FAILED" in found.unread_of("40")
    assert read_records(f"r 0 end 1 300\nr 1 end {LATEST + 1} 0\nr ² end 1 0\nr 99999999 end 1 0\n") == {}


def test_an_exit_status_of_a_section_is_a_number_of_three_digits_or_it_is_no_section() -> None:
    text = "HPCDEPLOY f begin a\n1\nHPCDEPLOY f end a {}\n"
    assert read_answers(text.format(7).encode(), "f", "a")["a"].exit_code == 7
    for code in ("9" * 5000, "", "x"):
        with pytest.raises(SchedulerError, match="no complete section a"):
            read_answers(text.format(code).encode(), "f", "a")


def test_a_number_is_the_same_in_whatever_way_a_program_writes_it() -> None:
    assert [whole_number(value) for value in (7, 7.0, "7", "007", LARGEST)] == [7, 7, 7, 7, LARGEST]
    for value in (
        True,
        None,
        -1,
        7.5,
        float("nan"),
        float("inf"),
        "",
        "-1",
        "7.0",
        "²",
        "٣",
        " 7",
        "1_0",
        LARGEST + 1,
        "9" * 19,
    ):
        assert whole_number(value) is None, value
    assert (moment("1790000000"), moment(LATEST + 1), moment(None)) == (1790000000, 0, 0)
    assert read_condor_q(json.dumps([{**AD, "ProcId": "3"}]), {"7": ALONE.id})["7"][0].task == 3
