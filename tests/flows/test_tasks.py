"""What is repeated of a run, and how its results are written."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cli.job_options import joined
from hpcdeploy.config.sweeps import parse_tasks
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.run_tasks import as_csv, check_alone, choose_tasks, clock, relatives, repeated, results
from hpcdeploy.job import Array, Request
from hpcdeploy.parameters import Parameters
from hpcdeploy.run import LOST, Run, RunStatus, State, TaskStatus
from hpcdeploy.store import Store

STATES = [State.COMPLETED, State.FAILED, State.RUNNING, State.UNKNOWN, State.CANCELLED, State.TIMEOUT]
PARAMETERS = Parameters(names=("lr", "state"), rows=tuple((f"0.{task}", 'it\'s, "so"\n☃') for task in range(6)))
ARRAY = Array(size=6, throttle=2, parameters=PARAMETERS)
RUN = Run(
    id="r", job="j", cluster="c", scheduler="slurm", image="i", sha256="", tasks=6, command=(), submitted=0, job_id="7"
)
STATUS = RunStatus(
    run=RUN,
    asked=1000,
    tasks=tuple(
        TaskStatus(
            task=task,
            state=state,
            reason=LOST if state is State.UNKNOWN else "",
            exit_code=task,
            node="n",
            started=900 if task else 0,
            ended=960 * (task == 1),
        )
        for task, state in enumerate(STATES)
    ),
)


def test_those_that_ended_badly_are_repeated_and_none_that_is_alive_or_unknown() -> None:
    assert choose_tasks(STATUS) == (1, 4, 5)


def test_tasks_that_are_named_are_repeated_whether_they_failed_or_not() -> None:
    assert choose_tasks(STATUS, (5, 0, 3, 0)) == (0, 3, 5)


@pytest.mark.parametrize("reason", ["squeue could not be queried", ""])
def test_a_task_of_which_the_scheduler_said_nothing_may_be_alive_and_is_not_repeated(reason: str) -> None:
    unsure = TaskStatus(task=3, state=State.UNKNOWN, reason=reason, word="BRAND_NEW")
    status = replace(STATUS, tasks=(*STATUS.tasks[:3], unsure, *STATUS.tasks[4:]))
    with pytest.raises(ConfigError, match=f"task 3 of run r is UNKNOWN \\({reason or 'BRAND_NEW'}\\)"):
        choose_tasks(status, (3,))


@pytest.mark.parametrize(("task", "said"), [(6, "tasks 0 to 5; there is no task 6"), (2, "task 2 of run r is RUNNING")])
def test_a_task_that_is_not_there_or_alive_is_not_repeated(task: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        choose_tasks(STATUS, (0, task))


def test_a_task_keeps_its_values_and_its_number_however_often_it_is_repeated() -> None:
    once = repeated(ARRAY, (1, 4, 5))
    assert once
    assert (once.size, once.throttle, once.numbers) == (3, 2, (1, 4, 5))
    twice = repeated(once, (0, 2))
    assert twice
    assert (twice.numbers, twice.parameters and twice.parameters.rows) == ((1, 5), (PARAMETERS.rows[1], PARAMETERS.rows[5]))
    assert repeated(Array(size=9), (3,)) == Array(size=1, numbers=(3,))
    assert repeated(None, (0,)) is None


@pytest.mark.parametrize(("words", "tasks"), [("3", (3,)), ("3,5-7", (3, 5, 6, 7)), (" 1 , 0 ", (1, 0))])
def test_tasks_are_named_as_sbatch_names_them(words: str, tasks: tuple[int, ...]) -> None:
    assert parse_tasks(words) == tasks


@pytest.mark.parametrize("words", ["", "a", "7-5", "1,,2", "-1", "1-2-3", "99999999"])
def test_what_names_no_task_is_refused(words: str) -> None:
    with pytest.raises(ConfigError, match="expected task numbers"):
        parse_tasks(words)


def test_results_have_a_line_for_every_task_with_its_parameters_and_the_time_that_it_took() -> None:
    found = results(STATUS, ARRAY)
    assert [one.seconds for one in found] == [None, 60, 100, 100, None, None]
    assert [one.failed for one in found] == [False, True, False, False, True, True]
    assert found[1].parameters == {"lr": "0.1", "state": 'it\'s, "so"\n☃'}
    assert [one.number for one in results(STATUS, repeated(ARRAY, (5, 4, 3, 2, 1, 0)))] == [5, 4, 3, 2, 1, 0]


def test_results_as_csv_read_back_as_they_were_and_no_column_is_there_twice() -> None:
    rows = list(csv.reader(io.StringIO(as_csv(results(STATUS, ARRAY)), newline="")))
    assert rows[0] == ["task", "lr", "parameter.state", "state", "exit_code", "seconds", "node"]
    assert rows[2] == ["1", "0.1", 'it\'s, "so"\n☃', "FAILED", "1", "60", "n"]
    assert as_csv(()) == "task,state,exit_code,seconds,node\r\n"


def test_results_as_csv_of_a_run_that_repeats_tell_both_numbers() -> None:
    named = Parameters(names=("of_task",), rows=(("x",),) * 6)
    again = repeated(Array(size=6, parameters=named), (5, 4, 3, 2, 1, 0))
    rows = list(csv.reader(io.StringIO(as_csv(results(STATUS, again), repeats=True), newline="")))
    assert rows[0] == ["task", "of_task", "parameter.of_task", "state", "exit_code", "seconds", "node"]
    assert [row[:2] for row in rows[1:3]] == [["0", "5"], ["1", "4"]]


def test_what_another_repetition_has_not_ended_yet_is_not_repeated_too(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs.db")

    def note(run: Run, array: Array | None) -> None:
        store.add(run, "", request=Request(project="/p", array=array))
        store.submitted(run)

    again = replace(RUN, id="again", tasks=2, repeats="r")
    other = replace(RUN, id="other", tasks=2, repeats="again")
    unsure = replace(RUN, id="unsure", tasks=1, repeats="r", job_id="")
    alone = replace(RUN, id="alone", tasks=6)
    note(RUN, ARRAY)
    note(again, repeated(ARRAY, (1, 5)))
    note(alone, ARRAY)
    assert [one.run.id for one in relatives(RUN, store)] == ["again"]
    check_alone(RUN, (4,), relatives(RUN, store), store)
    with pytest.raises(ConfigError, match="task 5 of run r is task 1 of run again too, which has not ended; wait"):
        check_alone(RUN, (5,), relatives(RUN, store), store)

    ended = tuple(TaskStatus(task=task, state=State.FAILED) for task in range(2))
    store.learned(RunStatus(run=again, tasks=ended, asked=1))
    check_alone(RUN, (1, 5), relatives(RUN, store), store)
    note(other, repeated(repeated(ARRAY, (1, 5)), (1,)))
    with pytest.raises(ConfigError, match="task 5 of run r is task 0 of run other too"):
        check_alone(RUN, (1, 5), relatives(RUN, store), store)
    with pytest.raises(ConfigError, match="task 1 of run again is task 0 of run other too"):
        check_alone(again, (0, 1), relatives(again, store), store)

    note(unsure, repeated(ARRAY, (4,)))
    with pytest.raises(ConfigError, match=r"task 4 of run r is task 0 of run unsure too.*submit --resume unsure"):
        check_alone(RUN, (4,), relatives(RUN, store), store)


def test_a_run_that_nobody_asked_about_yet_has_results_too() -> None:
    waiting = results(RunStatus(run=RUN, tasks=(), asked=0), None)
    assert {(one.state, one.seconds, one.exit_code) for one in waiting} == {(State.PENDING, None, None)}


def test_a_time_is_written_as_sacct_writes_it() -> None:
    assert [clock(seconds) for seconds in (None, 0, 3_661, 100 * 3600)] == ["-", "0:00:00", "1:01:01", "100:00:00"]


def test_later_options_win_and_tables_are_joined() -> None:
    before = {"memory": "1 GB", "environment": {"A": "1", "B": "1"}, "binds": ["/a"], "command": ["x", "y"]}
    later = {"memory": "2 GB", "environment": {"B": "2"}, "binds": ["/b"], "command": [], "time": None}
    assert joined(before, later) == {
        "memory": "2 GB",
        "environment": {"A": "1", "B": "2"},
        "binds": ["/a", "/b"],
        "command": ["x", "y"],
    }


def test_the_record_keeps_how_a_run_was_asked_for(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs.db")
    odd = Parameters(names=("v",), rows=(("caf\udce9",), ("\u2028 ☃",)))
    request = Request(
        project="/p", job=None, options={"command": ["a", "\udce9"]}, array=Array(size=2, parameters=odd, numbers=(4, 7))
    )
    store.add(RUN, "", request=request)
    assert store.request(RUN) == request
    store.forget(RUN)
    assert store.request(RUN) is None


def test_a_run_of_ten_thousand_tasks_counts_those_that_are_over_once() -> None:
    tasks = tuple(TaskStatus(task=task, state=State.COMPLETED) for task in range(10_000))
    status = RunStatus(run=replace(RUN, tasks=10_000), tasks=tasks, asked=1)
    assert status.over is status.over
    assert len(status.over) == 10_000


@pytest.mark.parametrize("reason", [LOST, "gone from the queue, and no end was recorded"], ids=["now", "in an older record"])
def test_a_task_that_its_scheduler_forgot_is_lost(reason: str) -> None:
    assert TaskStatus(task=0, state=State.UNKNOWN, reason=reason).lost
    assert not TaskStatus(task=0, state=State.UNKNOWN, reason="squeue could not be queried").lost
