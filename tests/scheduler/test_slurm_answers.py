import pytest

from hpcdeploy.run import NEVER_BEGAN, TERMINAL, State
from hpcdeploy.scheduler import slurm
from hpcdeploy.scheduler.contract import Answer, Answers
from hpcdeploy.scheduler.slurm.queries import indices, read_accounting, read_queue, state_of
from tests.scheduler.samples import PLAIN, TRAIN, run_of

RUN = run_of(PLAIN, job_id="12")


def answers(squeue: str = "", sacct: str | None = None, records: str = "", *, squeue_code: int = 0) -> Answers:
    told = {"squeue": Answer(text=squeue, exit_code=squeue_code), "records": Answer(text=records, exit_code=0)}
    if sacct is not None:
        told["sacct"] = Answer(text=sacct, exit_code=0)
    return told


def state(told: Answers) -> tuple[State, int | None]:
    [task] = slurm.states(told, [RUN])[RUN.id]
    return task.state, task.exit_code


def test_every_base_state_of_the_manual_is_known() -> None:
    words = """BOOT_FAIL CANCELLED COMPLETED CONFIGURING COMPLETING DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PENDING PREEMPTED
    RUNNING RESV_DEL_HOLD REQUEUE_FED REQUEUE_HOLD REQUEUED RESIZING REVOKED SIGNALING SPECIAL_EXIT STAGE_OUT STOPPED
    SUSPENDED TIMEOUT"""
    assert all(state_of(word) is not State.UNKNOWN for word in words.split())


@pytest.mark.parametrize("word", ["CANCELLED by 1000", "CANCELLED+", "cancelled"])
def test_the_ways_in_which_sacct_writes_cancelled(word: str) -> None:
    assert state_of(word) is State.CANCELLED


def test_a_word_from_the_future_is_unknown_and_no_end_and_stays_visible() -> None:
    [task] = slurm.states(answers("12|N/A|TRANSCENDING|node1|1790000000|0|None|\n"), [RUN])[RUN.id]
    assert (task.state, task.word) == (State.UNKNOWN, "TRANSCENDING")
    assert task.state not in TERMINAL


@pytest.mark.parametrize("word", ["COMPLETING", "SUSPENDED", "RESIZING", "CONFIGURING", "STAGE_OUT", "SIGNALING"])
def test_what_still_goes_on_is_no_end(word: str) -> None:
    assert state_of(word) not in TERMINAL


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7", [7]), ("[5-7]", [5, 6, 7]), ("[3,5-9%2]", [3, 5, 6, 7, 8, 9]), ("[0-6:3%1]", [0, 3, 6]), ("N/A", [0]), ("", [0])],
)
def test_array_indices_are_read_as_squeue_writes_them(text: str, expected: list[int]) -> None:
    assert indices(text) == expected


def test_one_line_of_pending_tasks_is_many_tasks() -> None:
    found = read_queue("40|3|RUNNING|node1|1790000000|0|None|\n40|4-99%10|PENDING||N/A|0|JobArrayTaskLimit|\n")
    assert len(found["40"]) == 97
    assert found["40"][0].started == 1_790_000_000
    assert found["40"][1].reason == "JobArrayTaskLimit"


def test_a_held_job_is_told_from_one_that_waits_its_turn() -> None:
    assert read_queue("1|N/A|PENDING||N/A|0|JobHeldUser|")["1"][0].state is State.HELD
    assert read_queue("1|N/A|PENDING||N/A|0|Priority|")["1"][0].state is State.PENDING


def test_a_job_that_waits_has_a_start_that_is_expected_and_none_that_was() -> None:
    [task] = read_queue("1|N/A|PENDING||1790000000|2|Resources|")["1"]
    assert (task.expected, task.started, task.restarts) == (1_790_000_000, 0, 2)


def test_another_job_that_once_had_the_same_number_is_not_ours() -> None:
    told = answers("", "12|COMPLETED|0:0|node1|1|2||somebody-elses\n")
    assert state(told)[0] is State.UNKNOWN


def test_a_reason_may_hold_the_separator() -> None:
    assert read_queue("1|N/A|PENDING||N/A|0|(a|b)|")["1"][0].reason == "(a|b)"


def test_an_exit_by_signal_counts_from_128() -> None:
    assert read_accounting("12|FAILED|0:9|node1|1790000000|1790000009||n", {"12": ["n"]})["12"][0].exit_code == 137
    assert read_accounting("12_3|FAILED|7:0|node1|1790000000|1790000009||n", {"12": ["n"]})["12"][0].exit_code == 7
    # Since 25.11 Slurm takes no 128 away from what a shell says of a program that a signal ended (its CHANGELOG).
    assert read_accounting("12|FAILED|137:0|node1|1790000000|1790000009||n", {"12": ["n"]})["12"][0].exit_code == 137


def test_an_end_by_another_job_is_none_where_it_is_requeued() -> None:
    preempted = f"12|PREEMPTED|0:15|node1|1|2||{RUN.id}"
    assert state(answers("", preempted)) == (State.PREEMPTED, 143)
    assert state(answers("12|N/A|PENDING||N/A|1|BeginTime|", preempted))[0] is State.PENDING
    assert state(answers("12|N/A|REQUEUED|node1|N/A|1|None|", preempted))[0] is State.PENDING
    assert state(answers("12|N/A|COMPLETING|node1|1790000000|0|None|", preempted))[0] is State.COMPLETING
    # The end of the attempt that gave way, as the task noted it itself before it was begun anew.
    note = f"{RUN.id} 0 start 1790000000 12 node1\n{RUN.id} 0 end 1790000060 143\n"
    assert state(answers("12|N/A|RUNNING|node2|1790000100|1|None|", preempted, note))[0] is State.RUNNING


@pytest.mark.parametrize(
    ("line", "place"),
    [("12_4|", 4), ("12_[0-9%4]|", 0), ("12|", 0)],
)
def test_a_line_of_accounting_is_a_task_an_array_that_waits_or_a_job(line: str, place: int) -> None:
    found = read_accounting(f"{line}PENDING|0:0|None assigned|Unknown|Unknown||a|b", {"12": ["a|b"]})["12"]
    assert found[0].task == place
    assert len(found) == (10 if "%" in line else 1)
    assert (found[0].node, found[0].started, found[0].ended, found[0].exit_code) == ("", 0, 0, None)


def test_who_is_in_the_queue_and_alive_is_alive_whatever_else_is_said() -> None:
    told = answers(
        "12|N/A|RUNNING|node1|1790000000|0|None|", f"12|COMPLETED|0:0|node1|1|2||{RUN.id}", f"{RUN.id} 0 end 1790000000 1"
    )
    assert state(told) == (State.RUNNING, None)


def test_accounting_knows_why_a_task_ended_and_the_tasks_own_note_its_exit_code() -> None:
    told = answers("", f"12|OUT_OF_MEMORY|0:125|node1|1|2||{RUN.id}", f"{RUN.id} 0 end 1790000000 137")
    assert state(told) == (State.OUT_OF_MEMORY, 137)


def test_why_slurm_cancelled_what_waited_for_another_run_is_known_to_squeue_alone() -> None:
    queued = "12|N/A|CANCELLED||1790000000|0|DependencyNeverSatisfied|\n"
    accounted = f"12|CANCELLED|0:0|None assigned|Unknown|1790000000||{RUN.id}\n"
    [task] = slurm.states(answers(queued, accounted), [RUN])[RUN.id]
    assert (task.state, task.reason) == (State.CANCELLED, "DependencyNeverSatisfied")
    assert "or use afterany" in slurm.explain(task)
    [task] = slurm.states(answers("", accounted), [RUN])[RUN.id]
    assert "or a failed dependency (after)" in slurm.explain(task)


def test_without_accounting_and_after_the_scheduler_forgot_the_tasks_own_note_is_enough() -> None:
    note = f"{RUN.id} 0 start 1790000000 12 node2\n{RUN.id} 0 end 1790000060 3\n"
    [task] = slurm.states(answers("", None, note), [RUN])[RUN.id]
    assert (task.state, task.exit_code, task.node, task.started, task.ended) == (
        State.FAILED,
        3,
        "node2",
        1_790_000_000,
        1_790_000_060,
    )
    assert state(answers("", None, f"{RUN.id} 0 end 1790000060 0")) == (State.COMPLETED, 0)


def test_a_job_that_is_gone_without_a_trace_is_unknown_and_not_finished() -> None:
    [task] = slurm.states(answers(""), [RUN])[RUN.id]
    assert task.state is State.UNKNOWN
    assert "no longer in the queue" in task.reason


def test_a_scheduler_that_could_not_be_asked_makes_no_job_finished() -> None:
    [task] = slurm.states(answers("", squeue_code=1), [RUN])[RUN.id]
    assert (task.state, task.reason) == (State.UNKNOWN, "squeue could not be queried")


def test_a_pending_job_that_we_cancelled_is_cancelled_though_it_left_no_trace() -> None:
    assert state(answers("", None, f"{RUN.id} - cancelled 0"))[0] is State.CANCELLED


def test_every_task_of_an_array_has_its_place() -> None:
    run = run_of(TRAIN, job_id="40")
    told = slurm.states(answers("40|4-99%10|PENDING||N/A|0|Priority|", None, f"{run.id} 0 end 1790000000 0"), [run])[run.id]
    assert [task.task for task in told] == list(range(100))
    assert told[0].state is State.COMPLETED
    assert told[1].state is State.UNKNOWN
    assert told[99].state is State.PENDING


def test_an_end_that_a_task_noted_before_it_was_requeued_is_no_end() -> None:
    note = f"{RUN.id} 0 start 1790000100 12 node2\n{RUN.id} 0 end 1790000060 143\n"
    assert state(answers("", None, note))[0] is State.UNKNOWN
    assert state(answers("", f"12|NODE_FAIL|0:0|node2|1|2||{RUN.id}", note)) == (State.NODE_FAIL, None)


def test_a_record_that_was_cut_off_by_a_full_disk_tells_nothing() -> None:
    assert state(answers("", None, f"{RUN.id} 0 end\n{RUN.id} 0 end  \n"))[0] is State.UNKNOWN


@pytest.mark.parametrize(
    "reason",
    [
        "job requeued in held state",
        "job_requeued_in_held_state",
        "launch failed requeued held",
        "launch failure limit exceeded requeued held",
        "user env retrieval failed requeued held",
        "JobHoldMaxRequeue",
    ],
)
def test_a_job_that_is_held_after_a_requeue_has_no_expected_start_and_a_remedy(reason: str) -> None:
    [task] = read_queue(f"1|N/A|PENDING||1790000000|1|{reason}|")["1"]
    assert (task.state, task.expected) == (State.HELD, 0)
    assert "scontrol release" in slurm.explain(task)


def test_a_hold_of_a_later_release_has_a_remedy_too() -> None:
    [task] = read_queue("1|N/A|PENDING||1790000000|1|prolog failed requeued held|")["1"]
    assert (task.state, "scontrol release" in slurm.explain(task)) == (State.HELD, True)


def test_a_requeue_that_is_expedited_waits() -> None:
    assert state_of("EXPEDITING") is State.PENDING


@pytest.mark.parametrize("texts", [f"hpcdeploy:{RUN.id}|better", f"|{RUN.id}", f"hpcdeploy:{RUN.id}|a|b"])
def test_accounting_knows_a_job_by_its_comment_or_its_name(texts: str) -> None:
    assert state(answers("", f"12|COMPLETED|0:0|node1|1|2|{texts}")) == (State.COMPLETED, 0)


def test_a_job_that_was_rejected_has_no_exit_code_and_the_reason_is_told() -> None:
    accounted = f"12|FAILED|0:1|None assigned|1|1||{RUN.id}"
    [task] = slurm.states(answers("", accounted), [RUN])[RUN.id]
    assert (task.state, task.exit_code, task.reason) == (State.FAILED, None, "None assigned")
    assert "failed before it started" in slurm.explain(task)
    [task] = slurm.states(answers("12|N/A|FAILED||1|0|BadConstraints|", accounted), [RUN])[RUN.id]
    assert (task.reason, task.exit_code) == ("BadConstraints", None)
    assert slurm.explain(task).startswith("no set of nodes can ever satisfy its request: request less")


JSON_OF_NUMBERS = """{"jobs": [
  {"job_id": 41, "array": {"job_id": 40, "task_id": 0}, "exit_code": {"status": "ERROR", "return_code": 9}},
  {"job_id": 42, "array": {"job_id": 40, "task_id": 1}, "exit_code": {"status": "ERROR", "return_code": 137}},
  {"job_id": 40, "array": {"job_id": 40, "task_id": 2}, "exit_code": {"status": "ERROR", "return_code": 128}},
  {"job_id": 12, "array": {"job_id": 0, "task_id": null}, "exit_code": {"status": "ERROR", "return_code": 255}}]}"""
JSON_24_11 = """{"jobs": [
  {"job_id": 41, "array": {"job_id": 40, "task_id": {"set": true, "infinite": false, "number": 0}},
   "exit_code": {"status": ["ERROR"], "return_code": {"set": true, "infinite": false, "number": 9}}},
  {"job_id": 42, "array": {"job_id": 40, "task_id": {"set": true, "infinite": false, "number": 1}},
   "exit_code": {"status": ["ERROR"], "return_code": {"set": true, "infinite": false, "number": 137}}},
  {"job_id": 40, "array": {"job_id": 40, "task_id": {"set": true, "infinite": false, "number": 2}},
   "exit_code": {"status": ["ERROR"], "return_code": {"set": true, "infinite": false, "number": 128}}},
  {"job_id": 43, "array": {"job_id": 40, "task_id": {"set": true, "infinite": false, "number": 3}},
   "exit_code": {"status": ["SIGNALED"], "return_code": {"set": false, "infinite": false, "number": 0}}},
  {"job_id": 12, "array": {"job_id": 0, "task_id": {"set": false, "infinite": false, "number": 0}},
   "exit_code": {"status": ["ERROR"], "return_code": {"set": true, "infinite": false, "number": 255}}}]}"""


@pytest.mark.parametrize("json", [JSON_OF_NUMBERS, JSON_24_11], ids=["numbers", "24.11"])
def test_an_exit_code_that_sacct_took_128_from_is_that_of_its_json(json: str) -> None:
    run = run_of(TRAIN, job_id="40")
    lines = "40_0|FAILED|9:0\n40_1|FAILED|9:0\n40_2|FAILED|0:0\n40_3|FAILED|0:9\n40_4|COMPLETED|0:0\n40_5|FAILED|7:0"
    text = "".join(f"{line}|node1|1|2||{run.id}\n" for line in lines.split("\n"))
    told = answers("", text) | {"sacct_json": Answer(text=json, exit_code=0)}
    # What the JSON lacks may be either, 7 or 135.
    assert [task.exit_code for task in slurm.states(told, [run])[run.id]][:6] == [9, 137, 128, 137, 0, None]
    single = answers("", f"12|FAILED|127:0|node1|1|2||{RUN.id}") | {"sacct_json": Answer(text=json, exit_code=0)}
    assert state(single) == (State.FAILED, 255)


@pytest.mark.parametrize("json", ["", "sacct: error: no plugin", "[]", '{"jobs": null}', '{"jobs": [7, {}]}'])
def test_without_that_json_such_an_exit_code_is_unknown_and_never_wrong(json: str) -> None:
    for line, code in (("FAILED|9:0", None), ("FAILED|0:0", None), ("FAILED|0:9", 137), ("COMPLETED|0:0", 0)):
        told = answers("", f"12|{line}|node1|1|2||{RUN.id}") | {"sacct_json": Answer(text=json, exit_code=1)}
        assert state(told)[1] == code
    assert state(answers("", f"12|FAILED|137:0|node1|1|2||{RUN.id}"))[1] == 137


def test_the_json_of_22_05_which_has_0_for_every_exit_code_is_not_believed() -> None:
    job = '{"job_id": 12, "array": {"job_id": 0, "task_id": null}, "exit_code": {"status": "SUCCESS", "return_code": 0}}'
    for line in ("FAILED|9:0", "FAILED|0:0"):
        told = answers("", f"12|{line}|node1|1|2||{RUN.id}") | {
            "sacct_json": Answer(text=f'{{"jobs": [{job}]}}', exit_code=0)
        }
        assert state(told) == (State.FAILED, None)


def test_a_program_that_never_began_has_that_as_its_reason_whoever_tells_the_end() -> None:
    run = run_of(PLAIN, job_id="12")
    note = f"{run.id} 0 start 1 12 node1\n{run.id} 0 end 2 125 never-began\n"
    queued = "12|N/A|FAILED|node1|1|0|NonZeroExitCode|\n"
    accounted = f"12|FAILED|125:0|node1|1|2||{run.id}\n"
    for told in (answers(queued, records=note), answers("", accounted, note), answers(records=note)):
        [task] = slurm.states(told, [run])[run.id]
        assert (task.state, task.exit_code, task.reason) == (State.FAILED, 125, NEVER_BEGAN)
    again = note + f"{run.id} 0 start 3 12 node1\n"
    [task] = slurm.states(answers(queued.replace("FAILED", "RUNNING"), records=again), [run])[run.id]
    assert (task.state, task.reason) == (State.RUNNING, "NonZeroExitCode")
