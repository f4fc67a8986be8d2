"""List the tasks of a run with their results, and choose the tasks that a new run repeats."""

import csv
import io
from collections.abc import Sequence
from dataclasses import field

from hpcdeploy.errors import ConfigError
from hpcdeploy.frozen import frozen
from hpcdeploy.job import Array, Request
from hpcdeploy.parameters import Parameters
from hpcdeploy.plain_text import one_line
from hpcdeploy.run import TERMINAL, Run, RunStatus, State, TaskStatus
from hpcdeploy.store import Store

COLUMNS = ("task", "state", "exit_code", "seconds", "node")
OF_TASK = "of_task"


@frozen
class Result:
    """One task of a run with its result.

    Attributes:
        task: The task's number in this run, starting at 0.
        number: The number that the program sees as HPCDEPLOY_TASK. If the run repeats tasks of another run, this is the
            task's number in the original run.
        state: The task's last known state.
        parameters: The values of the sweep's parameters for this task, by name.
        exit_code: The exit code; None if the task has not ended, or if its exit code is unknown.
        seconds: The run time in seconds, until the last query if the task has not ended; None if unknown.
        node: The name of the node that ran the task; empty if unknown.
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
    """Return a result for each task of a run; `array` is None if the run is no array, or if its array was not recorded."""
    known = {one.task: one for one in status.tasks}
    start = State.PENDING if status.run.job_id else State.SUBMITTING
    return tuple(
        _result(known.get(task, TaskStatus(task=task, state=start)), array, status.asked) for task in range(status.run.tasks)
    )


def as_csv(found: Sequence[Result], *, repeats: bool = False) -> str:
    """Format results as CSV (RFC 4180) with a header. The columns are the task, its parameters, and its result.

    If the run `repeats` tasks of another run, the second column is the task's number in the original run. A parameter whose
    name is also the name of another column becomes ``parameter.NAME``.

    Values of parameters are not changed. The node's name comes from the scheduler, so control characters are removed from it
    (`hpcdeploy.plain_text`).
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


def request_of(run: Run, store: Store) -> Request:
    """Return the original request of `run`.

    Raises:
        ConfigError: The record does not have it.
    """
    request = store.request(run)
    if request is None:
        raise ConfigError(f"the record does not contain the request of run {run.id}; submit its job again: {run.job}")
    return request


def choose_tasks(status: RunStatus, named: Sequence[int] = ()) -> tuple[int, ...]:
    """Return the tasks to repeat: the tasks in `named`, or else all tasks that ended without success.

    Raises:
        ConfigError: A named task does not exist; or the task may still run, so that it would run twice at once.
    """
    if not named:
        return tuple(one.task for one in status.tasks if one.state in TERMINAL and one.state is not State.COMPLETED)
    run, chosen = status.run, frozenset(named)
    if max(chosen) >= run.tasks:
        raise ConfigError(f"run {run.id} has tasks 0 to {run.tasks - 1}; there is no task {max(chosen)}")
    alive = [one for one in status.tasks if one.task in chosen and one.state not in TERMINAL and not one.lost]
    if alive:
        why = f" ({alive[0].reason or alive[0].word})" if alive[0].state is State.UNKNOWN else ""
        raise ConfigError(
            f"task {alive[0].task} of run {run.id} is {alive[0].state.value}{why}; wait until it has ended, or cancel the "
            "run, because the task would run twice at once"
        )
    return tuple(sorted(chosen))


def relatives(run: Run, store: Store) -> list[RunStatus]:
    """Return the other unfinished runs with the same original run as `run`, because they may have the same tasks."""
    first = _first(run, store)
    return [one for one in store.latest(alive=True) if one.run.id != run.id and _first(one.run, store) == first]


def check_alone(run: Run, tasks: Sequence[int], others: Sequence[RunStatus], store: Store) -> None:
    """Raise `ConfigError` if one of `tasks` is also an unfinished task of one of `others`, so that it would run twice."""
    array = request_of(run, store).array
    repeated_tasks = {_number(array, task): task for task in tasks}
    for other in others:
        request = store.request(other.run)
        over = other.over | {one.task for one in other.tasks if one.lost}
        for task in range(other.run.tasks):
            number = _number(request.array if request else None, task)
            if task not in over and number in repeated_tasks:
                what = f"task {repeated_tasks[number]} of run {run.id} is task {task} of run {other.run.id} too"
                if not other.run.job_id:
                    raise ConfigError(
                        f"{what}, and it is not known whether run {other.run.id} was submitted; "
                        f"run 'hpcdeploy submit --resume {other.run.id}' first, or 'hpcdeploy cancel {other.run.id}'"
                    )
                raise ConfigError(f"{what}, which has not ended; wait for it, or cancel it: hpcdeploy cancel {other.run.id}")


def repeated(array: Array | None, tasks: Sequence[int]) -> Array | None:
    """Return an array of some `tasks` of `array`. Each task keeps its number for the program, and its parameters."""
    if array is None:
        return None
    parameters = array.parameters
    return Array(
        size=len(tasks),
        throttle=array.throttle,
        parameters=parameters and Parameters(names=parameters.names, rows=tuple(parameters.rows[task] for task in tasks)),
        numbers=tuple(_number(array, task) for task in tasks),
    )


def _number(array: Array | None, task: int) -> int:
    """Return the task number that the program sees: the number in the original run."""
    return array.numbers[task] if array and array.numbers else task


def _first(run: Run, store: Store) -> str:
    """Return the id of the original run, which is not a repetition."""
    while run.repeats and store.knows(run.repeats):
        run = store.find([run.repeats])[0].run
    return run.repeats or run.id
