"""Rerun: some tasks of a run again, as a run of its own that knows which they are."""

from collections.abc import Sequence

from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Array, Request
from hpcdeploy.parameters import Parameters
from hpcdeploy.run import TERMINAL, Run, RunStatus, State
from hpcdeploy.store import Store


def request_of(run: Run, store: Store) -> Request:
    """Return how `run` was asked for; raises `ConfigError` where the record does not say."""
    request = store.request(run)
    if request is None:
        raise ConfigError(f"the record does not contain the request of run {run.id}; submit its job again: {run.job}")
    return request


def choose_tasks(status: RunStatus, named: Sequence[int] = ()) -> tuple[int, ...]:
    """Return the tasks to run again: those `named`, else those that ended, and not well.

    Raises `ConfigError` for a named task that is not there, or may not have ended: it would run twice at once.
    """
    if not named:
        return tuple(one.task for one in status.tasks if one.state in TERMINAL and one.state is not State.COMPLETED)
    run, chosen = status.run, frozenset(named)
    if max(chosen) >= run.tasks:
        raise ConfigError(f"run {run.id} has tasks 0 to {run.tasks - 1}, and no task {max(chosen)}")
    alive = [one for one in status.tasks if one.task in chosen and one.state not in TERMINAL and not one.lost]
    if alive:
        why = f" ({alive[0].reason or alive[0].word})" if alive[0].state is State.UNKNOWN else ""
        raise ConfigError(
            f"task {alive[0].task} of run {run.id} is {alive[0].state.value}{why}; wait until it has ended, or cancel the "
            "run: it would run twice at once"
        )
    return tuple(sorted(chosen))


def relatives(run: Run, store: Store) -> list[RunStatus]:
    """Find the other runs of the same first one that are not known to have ended: some tasks may be `run`'s too."""
    first = _first(run, store)
    return [one for one in store.latest(alive=True) if one.run.id != run.id and _first(one.run, store) == first]


def check_alone(run: Run, tasks: Sequence[int], others: Sequence[RunStatus], store: Store) -> None:
    """Raise `ConfigError` where one of `tasks` is in one of `others` too, and has not ended there: it would run twice."""
    array = request_of(run, store).array
    wanted = {_number(array, task): task for task in tasks}
    for other in others:
        request = store.request(other.run)
        over = other.over | {one.task for one in other.tasks if one.lost}
        for task in range(other.run.tasks):
            number = _number(request.array if request else None, task)
            if task not in over and number in wanted:
                what = f"task {wanted[number]} of run {run.id} is task {task} of run {other.run.id} too"
                if not other.run.job_id:
                    raise ConfigError(
                        f"{what}, and it is not known whether that run was submitted; "
                        f"run 'hpcdeploy submit --resume {other.run.id}' first, or cancel it"
                    )
                raise ConfigError(
                    f"{what}, which has not ended; wait for that, or cancel it: hpcdeploy cancel {other.run.id}"
                )


def repeated(array: Array | None, tasks: Sequence[int]) -> Array | None:
    """Return the array of these `tasks` of another one: the program sees each under its number and with its values there."""
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
    """Return the number by which the program knows a task: that in the first run."""
    return array.numbers[task] if array and array.numbers else task


def _first(run: Run, store: Store) -> str:
    """Return the id of the run that was not a repetition itself."""
    while run.repeats and store.knows(run.repeats):
        run = store.find([run.repeats])[0].run
    return run.repeats or run.id
