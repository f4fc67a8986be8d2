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
        raise ConfigError(f"the record does not say how run {run.id} was asked for; submit its job again: {run.job}")
    return request


def choose_tasks(status: RunStatus, named: Sequence[int] = ()) -> tuple[int, ...]:
    """Return the tasks to run again: those `named`, else those that ended, and not well.

    Raises `ConfigError` for a named task that is not there, or has not ended: it would run twice at once.
    """
    if not named:
        return tuple(one.task for one in status.tasks if one.state in TERMINAL and one.state is not State.COMPLETED)
    run = status.run
    for task in named:
        if task >= run.tasks:
            raise ConfigError(f"run {run.id} has tasks 0 to {run.tasks - 1}, and no task {task}")
    alive = [one for one in status.tasks if one.task in named and one.state not in {*TERMINAL, State.UNKNOWN}]
    if alive:
        raise ConfigError(
            f"task {alive[0].task} of run {run.id} is {alive[0].state.value}; wait until it has ended, or cancel the run: "
            "it would run twice at once"
        )
    return tuple(sorted(set(named)))


def repeated(array: Array | None, tasks: Sequence[int]) -> Array | None:
    """Return the array of these `tasks` of another one: the program sees each under its number and with its values there."""
    if array is None:
        return None
    numbers = array.numbers or range(array.size)
    parameters = array.parameters
    return Array(
        size=len(tasks),
        throttle=array.throttle,
        parameters=parameters and Parameters(names=parameters.names, rows=tuple(parameters.rows[task] for task in tasks)),
        numbers=tuple(numbers[task] for task in tasks),
    )
