"""The verbs that follow runs: ``runs``, ``status``, ``wait``, ``logs``, ``fetch``, ``cancel``."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import show

if TYPE_CHECKING:
    from hpcdeploy.run import RunStatus

Runs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN]...", help="Runs, by id or the beginning of one; none means the newest.", show_default=False
    ),
]
OneRun = Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run; none means the newest.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def list_runs(
    most: Annotated[int, typer.Option("-n", "--last", help="How many, the newest first; 0: all.", min=0)] = 20,
    json: AsJson = False,
) -> None:
    """List the runs on record, as they were last known; nothing is asked of any cluster."""
    from hpcdeploy.cli.place import here

    _print_statuses(here().store.latest(most=most), json=json)


def status(
    run: Runs = None,
    everything: Annotated[bool, typer.Option("--all", help="Every run that has not ended.")] = False,
    json: AsJson = False,
) -> None:
    """Ask the clusters where runs are: one round trip a cluster, whatever the number of runs."""
    from hpcdeploy.cli.place import connections, here
    from hpcdeploy.errors import TransportError
    from hpcdeploy.flows import follow

    place = here()
    known = place.store.latest(alive=True) if everything else place.store.find(run or [])
    with connections() as open_connections:
        asked = follow.status(known, place.cluster, open_connections, place.store, overrides=place.project.root)
    _print_statuses(asked.statuses, json=json, tasks=not everything and len(known) == 1)
    if asked.failures:
        raise TransportError("not every cluster could be asked: " + "; ".join(asked.failures))


def wait(
    run: Runs = None,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Give up after so many seconds (0: never); the runs go on.", min=0)
    ] = 0,
    interval: Annotated[
        float, typer.Option("--interval", help="The longest pause between two questions, in seconds.", min=1)
    ] = 60,
    json: AsJson = False,
) -> None:
    """Wait until runs have ended; the exit code is the first one's that is not 0."""
    from hpcdeploy.cli.place import connections, here
    from hpcdeploy.flows import follow

    place = here()
    known = place.store.find(run or [])
    told: dict[str, str] = {}
    with connections() as open_connections:
        rounds = follow.wait(
            known,
            place.cluster,
            open_connections,
            place.store,
            slowest=interval,
            patience=timeout or float("inf"),
            overrides=place.project.root,
        )
        final: Sequence[RunStatus] = ()
        for asked in rounds:
            final = asked.statuses
            for failure in asked.failures:
                show.say(f"cannot ask {failure}; trying again")
            for one in final:
                line = _in_words(one)
                if told.get(one.run.id) != line:
                    show.say(f"{one.run.id}: {line}")
                    told[one.run.id] = line
    _print_statuses(final, json=json)
    sys.exit(next((code for code in (one.exit_code for one in final) if code), 0))


def logs(
    run: OneRun = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the task ends.")] = False,
    task: Annotated[int, typer.Option("-t", "--task", help="Which task of an array.", min=0)] = 0,
    json: AsJson = False,
) -> None:
    """Print what a run's task wrote: its output on standard output, its errors on standard error."""
    from hpcdeploy.cli.place import connections, here
    from hpcdeploy.flows import logs as flow

    place = here()
    [known] = place.store.find([run] if run else [])
    cluster = place.cluster(known.run.cluster)
    with connections() as open_connections:
        if follow:
            pieces = flow.follow(known, task, cluster, open_connections, place.store, overrides=place.project.root)
        else:
            pieces = iter([flow.read(known, task, cluster, open_connections, overrides=place.project.root)])
        for piece in pieces:
            if json:
                print_piece = {"run": known.run.id, "task": task, "out": piece.out, "err": piece.err}
                show.as_json({key: _text(value) for key, value in print_piece.items()})
                continue
            sys.stdout.buffer.write(piece.out)
            sys.stdout.buffer.flush()
            show.pass_on(piece.err)


def fetch(
    run: OneRun = None,
    pattern: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATTERN]...", help="Only these of its output: 'plots/*.png'.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The folder to bring it to; the run's id without this.", show_default=False),
    ] = None,
    json: AsJson = False,
) -> None:
    """Bring home what a run wrote, its output and its logs; again: only what is not here yet, or has changed."""
    from hpcdeploy.cli.place import connections, here
    from hpcdeploy.config.bringing import output_pattern
    from hpcdeploy.flows import fetch as flow

    patterns = [output_pattern(words) for words in pattern or []]
    place = here()
    [known] = place.store.find([run] if run else [])
    destination = output or Path(known.run.id)
    with connections() as open_connections, show.transfer("fetching") as progress:
        done = flow.fetch(
            known.run,
            destination,
            place.cluster(known.run.cluster),
            open_connections,
            patterns=patterns,
            progress=progress,
            overrides=place.project.root,
        )
    show.notes(done.notes)
    if json:
        files, brought = ([os.fspath(file) for file in several] for several in (done.files, done.brought))
        show.as_json({"run": known.run.id, "folder": str(destination), "files": files, "brought": brought})
        return
    for file in done.files:
        sys.stdout.buffer.write(os.fsencode(file) + b"\n")
    show.say(f"{len(done.brought)} of {len(done.files)} files were brought; the others were here already")


def cancel(
    run: Runs = None,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    json: AsJson = False,
) -> None:
    """Cancel runs that have not ended."""
    from hpcdeploy.cli.place import connections, here
    from hpcdeploy.flows import cancel as flow

    place = here()
    known = [one for one in place.store.find(run or []) if not one.ended]
    if known and not yes:
        typer.confirm(f"Cancel {', '.join(one.run.id for one in known)}?", abort=True, err=True)
    with connections() as open_connections:
        cancelled = flow.cancel(known, place.cluster, open_connections, overrides=place.project.root)
    if json:
        show.as_json([one.id for one in cancelled])
    else:
        for one in cancelled:
            print(f"cancelled {one.id} (job {one.job_id})")
        if not cancelled:
            show.say("nothing to cancel: no such run is still going on")


def _text(value: object) -> object:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _print_statuses(statuses: "Sequence[RunStatus]", *, json: bool, tasks: bool = False) -> None:
    if json:
        show.as_json([_as_values(one) for one in statuses])
        return
    if not statuses:
        show.say("no runs")
        return
    show.table(
        ("RUN", "CLUSTER", "SCHEDULER", "JOB ID", "STATE", "EXIT", "SUBMITTED"),
        [
            (
                one.run.id,
                one.run.cluster,
                one.run.scheduler,
                one.run.job_id or "-",
                _in_words(one),
                "-" if one.exit_code is None else str(one.exit_code),
                show.age(one.run.submitted),
            )
            for one in statuses
        ],
    )
    if tasks and statuses[0].run.tasks > 1:
        print()
        show.table(
            ("TASK", "STATE", "EXIT", "NODE", "REASON"),
            [
                (
                    str(task.task),
                    task.state.value,
                    "-" if task.exit_code is None else str(task.exit_code),
                    task.node or "-",
                    task.reason or "-",
                )
                for task in statuses[0].tasks
            ],
        )


def _in_words(one: "RunStatus") -> str:
    """Say where a run is: one word, how many tasks are where if they differ, and the reason if there is one."""
    if not one.tasks:
        return "SUBMITTING" if not one.run.job_id else "PENDING"
    counts: dict[str, int] = {}
    for task in one.tasks:
        counts[task.state.value] = counts.get(task.state.value, 0) + 1
    word = one.state.value if len(counts) == 1 else ", ".join(f"{count} {state}" for state, count in counts.items())
    first = next((task for task in one.tasks if task.state is one.state), one.tasks[0])
    unfamiliar = f" [{first.word}]" if first.state.value == "UNKNOWN" and first.word else ""
    return f"{word}{unfamiliar}" + (f" ({first.reason})" if first.reason else "")


def _as_values(one: "RunStatus") -> dict[str, object]:
    from dataclasses import asdict

    return {
        **asdict(one.run),
        "state": one.state.value if one.tasks else ("PENDING" if one.run.job_id else "SUBMITTING"),
        "exit_code": one.exit_code,
        "asked": one.asked,
        "tasks": [{**asdict(task), "state": task.state.value} for task in one.tasks],
    }
