"""The table of ``hpcdeploy watch``: what stands in it."""

import time

import pytest
from rich.console import Console

from hpcdeploy.cli.watch import page, table_of
from hpcdeploy.flows.follow import StatusReport
from hpcdeploy.run import RunStatus, State, TaskStatus
from tests.scheduler.samples import PLAIN, TRAIN, run_of

SOON = int(time.time()) + 3600


def status(*tasks: TaskStatus, array: bool = False) -> RunStatus:
    return RunStatus(run=run_of(TRAIN if array else PLAIN, job_id="40"), tasks=tasks, asked=1)


def test_a_run_is_a_row_and_its_tasks_are_counted_by_state_in_the_order_of_their_life() -> None:
    tasks = [TaskStatus(task=number, state=State.COMPLETED, exit_code=0) for number in range(60)]
    tasks += [TaskStatus(task=number, state=State.RUNNING) for number in range(60, 70)]
    tasks += [TaskStatus(task=number, state=State.PENDING, reason="JobArrayTaskLimit") for number in range(70, 99)]
    tasks.append(TaskStatus(task=99, state=State.OUT_OF_MEMORY))
    columns, [row] = table_of([status(*tasks, array=True)])
    assert columns == [
        "RUN", "CLUSTER", "JOB ID", "PENDING", "RUNNING", "COMPLETED", "OUT_OF_MEMORY", "EXIT", "WHY",
    ]  # fmt: skip
    assert row[3:7] == ["29", "10", "60", "1"]


def test_a_state_that_no_run_is_in_has_no_column_and_what_is_not_known_is_empty() -> None:
    columns, rows = table_of([status(), status(TaskStatus(task=0, state=State.FAILED, exit_code=3))])
    assert columns == ["RUN", "CLUSTER", "JOB ID", "PENDING", "FAILED", "EXIT", "WHY"]
    assert [row[3:] for row in rows] == [["1", "", "", ""], ["", "1", "3", ""]]


def test_a_run_that_waits_says_why_and_when_it_is_to_start() -> None:
    _, [row] = table_of([status(TaskStatus(task=0, state=State.PENDING, reason="Resources", expected=SOON))])
    assert row[-1].startswith("Resources, to start ")


def test_a_table_is_equal_to_itself_while_nothing_changes() -> None:
    one = status(TaskStatus(task=0, state=State.PENDING, reason="Resources", expected=SOON))
    later = RunStatus(run=one.run, tasks=one.tasks, asked=one.asked + 60)
    assert table_of([one]) == table_of([later])


@pytest.mark.parametrize("width", [200, 120, 80, 60, 50, 30])
def test_on_a_narrow_terminal_words_are_cut_and_no_number_and_no_run_id(width: int) -> None:
    tasks = [TaskStatus(task=number, state=State.COMPLETED, exit_code=0) for number in range(60)]
    tasks += [TaskStatus(task=number, state=State.RUNNING) for number in range(60, 70)]
    tasks += [TaskStatus(task=number, state=State.FAILED, reason="x" * 90) for number in range(70, 100)]
    console = Console(width=width, height=20, force_terminal=True, color_system=None, record=True)
    console.print(page(StatusReport(statuses=(status(*tasks, array=True),), failures=("hpc: line\nbreak",)), console))
    lines = console.export_text().splitlines()
    assert [line for line in lines if line.split()[:1] == [run_of(TRAIN).id]]
    assert [line for line in lines if line.startswith("cannot query hpc: line\\nbreak")]
    assert {"10", "60", "30"} <= set(" ".join(lines).split())
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [60, 40])
def test_only_rows_that_fit_on_the_screen_are_drawn_and_the_others_counted(width: int) -> None:
    runs = [status(TaskStatus(task=0, state=State.RUNNING))] * 40
    console = Console(width=width, height=16, force_terminal=True, color_system=None, record=True)
    console.print(page(StatusReport(statuses=tuple(runs), failures=()), console))
    lines = console.export_text().splitlines()
    shown = sum(line.split()[:1] == [run_of(PLAIN).id] for line in lines)
    assert 0 < shown < 16
    assert len(lines) <= 16
    assert f"and {40 - shown} more" in map(str.strip, lines)
