"""List the tasks of a run with their parameters and results, from values only."""

import csv
import io
from collections.abc import Sequence
from dataclasses import field

from hpcdeploy.frozen import frozen
from hpcdeploy.job import Array
from hpcdeploy.plain_text import one_line
from hpcdeploy.run import TERMINAL, RunStatus, State, TaskStatus

COLUMNS = ("task", "state", "exit_code", "seconds", "node")
OF_TASK = "of_task"


@frozen
class Result:
    """One task.

    Attributes:
        task: Its number in the run.
        number: Its number for the program.
        state: Its state.
        parameters: Its parameters.
        exit_code: Its exit code; None if there is none.
        seconds: Its run time so far, in seconds; None before its start, or if unknown.
        node: Its node.
    """

    task: int
    number: int
    state: State
    parameters: dict[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    seconds: int | None = None
    node: str = ""

    @property
    def failed(self) -> bool:
        """Tell whether the task ended without success."""
        return self.state in TERMINAL and self.state is not State.COMPLETED


def results(status: RunStatus, array: Array | None) -> tuple[Result, ...]:
    """Return a result for each task of a run; `array` is None for a single task, or if it was not recorded."""
    known = {one.task: one for one in status.tasks}
    start = State.PENDING if status.run.job_id else State.SUBMITTING
    return tuple(
        _result(known.get(task, TaskStatus(task=task, state=start)), array, status.asked) for task in range(status.run.tasks)
    )


def as_csv(found: Sequence[Result], *, repeats: bool = False) -> str:
    """Format results as CSV (RFC 4180) with a header: the task, its parameters, then its result.

    Parameters are not changed; the node's name comes from the scheduler, so it is cleaned for terminals
    (`hpcdeploy.plain_text`). For a run that `repeats` another one, the second column is the task's original number. A
    parameter with the name of another column becomes ``parameter.NAME``.
    """
    first = (COLUMNS[0], OF_TASK) if repeats else COLUMNS[:1]
    ours = {*first, *COLUMNS}
    names = tuple(found[0].parameters) if found else ()
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow((*first, *(f"parameter.{name}" if name in ours else name for name in names), *COLUMNS[1:]))
    for one in found:
        numbers = ("" if value is None else value for value in (one.exit_code, one.seconds))
        tasks = (one.task, one.number)[: len(first)]
        writer.writerow((*tasks, *one.parameters.values(), one.state.value, *numbers, one_line(one.node)))
    return text.getvalue()


def clock(seconds: int | None) -> str:
    """Format a time as ``hours:minutes:seconds``, as sacct's Elapsed does; ``-`` for None."""
    if seconds is None:
        return "-"
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _result(one: TaskStatus, array: Array | None, asked: int) -> Result:
    until = one.ended or (asked if one.state not in TERMINAL else 0)
    return Result(
        task=one.task,
        number=array.numbers[one.task] if array and array.numbers else one.task,
        parameters=array.parameters.of(one.task) if array and array.parameters else {},
        state=one.state,
        exit_code=one.exit_code,
        seconds=max(0, until - one.started) if one.started and until else None,
        node=one.node,
    )
