"""Implement ``results`` and ``rerun``, which list the tasks of a run and submit tasks again."""

import json as json_text
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpcdeploy.cli import show
from hpcdeploy.cli.columns import Column
from hpcdeploy.cli.command_line import META
from hpcdeploy.cli.job import Selection, print_script, print_submitted, say_notes, submit_plan
from hpcdeploy.cli.job_options import as_settings, joined, takes_job_options
from hpcdeploy.cli.options import AllowStale, AsJson, OnCluster, OneRun, PrintScript, RunId, spread
from hpcdeploy.frozen import frozen

if TYPE_CHECKING:
    from hpcdeploy.cli.place import Place
    from hpcdeploy.flows.plan import Plan
    from hpcdeploy.flows.run_tasks import Result
    from hpcdeploy.remote.connections import Connections
    from hpcdeploy.run import Run, RunStatus

_WIDEST = 40


def results(
    run: OneRun = None,
    failed: Annotated[bool, typer.Option("--failed", help="Show failed tasks only.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    cluster: OnCluster = None,
    json: AsJson = False,
) -> None:
    """Show each task's parameters, state, exit code and elapsed time."""
    from hpcdeploy.cli.place import here
    from hpcdeploy.errors import ConfigError
    from hpcdeploy.flows import run_tasks as flow
    from hpcdeploy.flows.choose_runs import find_all

    if csv and json:
        raise ConfigError("on the command line: found --csv and --json; expected one")
    place = here()
    with place.connections() as open_connections:
        [status] = _ask(place, find_all([run] if run else [], place.scope(cluster), "results"), open_connections)
    request = place.store.request(status.run)
    found = [one for one in flow.results(status, request.array if request else None) if one.failed or not failed]
    if json:
        show.as_json([_as_values(one) for one in found])
    elif csv:
        show.exact(flow.as_csv(found, repeats=bool(status.run.repeats)))
    elif found:
        _print_table(found, repeats=bool(status.run.repeats))
    else:
        show.say(f"no task of run {status.run.id} has failed")


@frozen
class Sending:
    """The options that set how the new run is submitted."""

    run_id: RunId = None
    dry_run: PrintScript = False
    allow_stale: AllowStale = False


@takes_job_options
@spread
def rerun(
    ctx: typer.Context,
    sending: Sending,
    run: OneRun = None,
    task: Annotated[
        list[str] | None,
        typer.Option("--task", help='Tasks, such as "3,5-7"; may be repeated; default: failed tasks.', show_default=False),
    ] = None,
    cluster: OnCluster = None,
    json: AsJson = False,
    **options: Any,  # noqa: ANN401 - the decorator sets the types
) -> None:
    """Submit the failed tasks of a run again, as a new run.

    The current files and settings of the project are used. Options replace those of the old run.
    """
    from hpcdeploy.cli.place import here
    from hpcdeploy.config.sweeps import parse_tasks
    from hpcdeploy.flows.choose_runs import Chosen, find, newest
    from hpcdeploy.flows.projects import check_there
    from hpcdeploy.flows.run_tasks import check_alone, choose_tasks, relatives

    place = here()
    named = [number for words in task or [] for number in parse_tasks(words)]
    words = as_settings(options, ctx.meta.get(META, ()))
    with place.connections() as open_connections:
        scope = place.scope(cluster)
        chosen = find(run, scope) if run else Chosen(status=newest(scope, "rerun"))
        known = chosen.status
        check_there(known.run.id, _origin(place, known.run))
        status, *others = _ask(place, [known, *relatives(known.run, place.store)], open_connections)
        tasks = choose_tasks(status, named or ([] if chosen.task is None else [chosen.task]))
        if not tasks:
            lost = sum(one.lost for one in status.tasks)
            unknown = f"; the result of {lost} tasks is unknown, select these with --task to run them again" if lost else ""
            show.say(f"nothing to run again: no task of run {status.run.id} has failed{unknown}")
            if json:
                show.as_json(None)
            return
        check_alone(status.run, tasks, others, place.store)
        sends = None if sending.dry_run else open_connections
        origin, plan = _plan(place, status, tasks, words, sending, sends)
        say_notes(plan)
        if sending.dry_run:
            print_script(plan)
            return
        show.say(f"running again {len(tasks)} of {status.run.tasks} tasks of run {status.run.id}")
        print_submitted(submit_plan(origin, plan, open_connections.for_project(origin.project.root)), json=json)


def _ask(place: "Place", known: "Sequence[RunStatus]", connections: "Connections") -> "Sequence[RunStatus]":
    """Query the states of runs.

    Raises:
        HpcdeployError: It is unknown whether the first run was submitted, or a cluster could not be queried.
    """
    from hpcdeploy.errors import TransportError
    from hpcdeploy.flows import follow

    follow.check_submitted(known[:1])
    with show.terminal_as_it_was():
        result = follow.status(known, place.session_of(connections), place.store)
    if result.failures:
        raise TransportError("cannot query the cluster: " + "; ".join(result.failures))
    return result.statuses


def _plan(
    place: "Place",
    status: "RunStatus",
    tasks: Sequence[int],
    words: dict[str, object],
    sending: Sending,
    sends: "Connections | None",
) -> tuple["Place", "Plan"]:
    """Plan a new run from the recorded request of the old run.

    Args:
        place: The environment of the command.
        status: The old run.
        tasks: The numbers of the tasks to run again.
        words: Values of options, by the key of ``[jobs.NAME]``. They replace the values of the old run.
        sending: The options that set how the new run is submitted.
        sends: The connections to clusters if the run will be submitted; None to only plan.

    Returns:
        The environment in the project of the old run, and the plan.
    """
    from dataclasses import replace

    from hpcdeploy.cli.job import plan_job
    from hpcdeploy.cli.place import Place
    from hpcdeploy.errors import ConfigError
    from hpcdeploy.flows.run_tasks import repeated, request_of

    request = request_of(status.run, place.store)
    if words["sweep"] or words["array"]:
        raise ConfigError(
            f"on the command line: found an array or a sweep, but rerun repeats tasks of run {status.run.id}; use submit"
        )
    origin = Place(_origin(place, status.run))
    array = repeated(request.array, tasks)
    before = {key: value for key, value in request.options.items() if key not in {"array", "sweep"}}
    both = joined(before, words)
    plan = plan_job(
        origin,
        Selection(job=request.job, cluster=status.run.cluster, scheduler=status.run.scheduler, run_id=sending.run_id),
        both,
        array=array,
        sends=sends,
        allow_stale=sending.allow_stale,
    )
    if array is None and plan.job.array:
        raise ConfigError(f"job {plan.job.name} is now an array, but run {status.run.id} was not; use submit")
    return origin, replace(plan, run=replace(plan.run, repeats=status.run.id))


def _origin(place: "Place", run: "Run") -> Path:
    """Return the folder of the project that a run belongs to; if the project was moved, the recorded new folder."""
    from hpcdeploy.flows.run_tasks import request_of

    return Path(run.project or request_of(run, place.store).project)


def _print_table(found: "Sequence[Result]", *, repeats: bool) -> None:
    from hpcdeploy.flows.run_tasks import clock

    names = tuple(found[0].parameters)
    show.table(
        (
            "TASK",
            *(("OF TASK",) if repeats else ()),
            *map(_cell, names),
            "STATE",
            "EXIT",
            Column("TIME", drop=2),
            Column("NODE", drop=1),
        ),
        [
            (
                str(one.task),
                *((str(one.number),) if repeats else ()),
                *map(_cell, one.parameters.values()),
                one.state.value,
                "-" if one.exit_code is None else str(one.exit_code),
                clock(one.seconds),
                one.node or "-",
            )
            for one in found
        ],
    )


def _cell(value: str) -> str:
    """Format a value for a table: on one line and shortened. JSON and CSV have the full value."""
    if not value.isprintable() or not value:
        value = json_text.dumps(value)
    return value if len(value) <= _WIDEST else value[: _WIDEST - 1] + "…"


def _as_values(one: "Result") -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(one), "state": one.state.value}
