"""Results: the tasks of a run by their parameters, and how each ended. Pure: what is known is handed in."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

from hpcdeploy.job import Array
from hpcdeploy.plain_text import one_line
from hpcdeploy.run import TERMINAL, RunStatus, State, TaskStatus

COLUMNS = ("task", "state", "exit_code", "seconds", "node")
OF_TASK = "of_task"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One task: its number in its run, the one by which its program knows it, its parameters, and where it is.

    ``seconds`` is how long it ran, or has run so far; None before it began, or where that is not known.
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
        """Whether it ended, and not well."""
        return self.state in TERMINAL and self.state is not State.COMPLETED


def results(status: RunStatus, array: Array | None) -> tuple[Result, ...]:
    """Return a result for each task of a run, whose `array` is None where it has one task or nobody noted it."""
    known = {one.task: one for one in status.tasks}
    start = State.PENDING if status.run.job_id else State.SUBMITTING
    return tuple(
        _result(known.get(task, TaskStatus(task=task, state=start)), array, status.asked) for task in range(status.run.tasks)
    )


def as_csv(found: Sequence[Result], *, repeats: bool = False) -> str:
    """Write results as CSV (RFC 4180) with a line of names: the task, its parameters, then how it ended.

    A parameter is written as it is; a node's name, which the scheduler says, commands no terminal (`hpcdeploy.plain_text`).
    Of a run that `repeats` another one the task's number there comes second. A parameter that is called as one of our own
    columns is written ``parameter.NAME``.
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
    """Write a time as ``hours:minutes:seconds``, as sacct's Elapsed does; none is ``-``."""
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
