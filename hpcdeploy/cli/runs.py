"""Implement ``runs``, ``status``, ``wait``, ``fetch`` and ``cancel``."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import show
from hpcdeploy.cli.options import AsJson, Interval, OneRun, Runs, Yes
from hpcdeploy.cli.paths import path
from hpcdeploy.plain_text import one_line

if TYPE_CHECKING:
    from hpcdeploy.flows.fetch import Fetched
    from hpcdeploy.run import Run, RunStatus


def list_runs(
    most: Annotated[int, typer.Option("-n", "--last", help="Number of runs to list, newest first; 0: all.", min=0)] = 20,
    json: AsJson = False,
) -> None:
    """List recorded runs with their last known state (offline)."""
    from hpcdeploy.cli.place import here
    from hpcdeploy.cli.status_text import print_statuses

    print_statuses(here().store.latest(most=most, damaged=show.warn), json=json, explained=False)


def status(
    run: Runs = None,
    everything: Annotated[bool, typer.Option("--all", help="Query every run that has not finished.")] = False,
    json: AsJson = False,
) -> None:
    """Query the clusters for the state of runs.

    Each cluster is queried once, whatever the number of runs.
    """
    from hpcdeploy.cli.place import here
    from hpcdeploy.cli.status_text import print_statuses
    from hpcdeploy.errors import TransportError
    from hpcdeploy.flows import follow

    place = here()
    known = place.store.latest(alive=True, damaged=show.warn) if everything else place.store.find(run or [])
    with show.terminal_as_it_was(), place.connections() as open_connections:
        result = follow.status(known, place.session_of(open_connections), place.store)
    print_statuses(result.statuses, json=json, tasks=not everything and len(known) == 1)
    if result.failures:
        raise TransportError("not every cluster could be queried: " + "; ".join(result.failures))


def wait(
    run: Runs = None,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Stop waiting after this many seconds; 0: never. Runs continue.", min=0)
    ] = 0,
    interval: Interval = 60,
    json: AsJson = False,
) -> None:
    """Wait for runs to finish and exit with their exit code.

    The exit code is that of the first run whose exit code is not 0.
    """
    from hpcdeploy.cli.place import here
    from hpcdeploy.cli.status_text import in_words, print_statuses
    from hpcdeploy.flows import follow

    place = here()
    known = place.store.find(run or [])
    printed: dict[str, str] = {}
    with show.terminal_as_it_was(), place.connections() as open_connections:
        rounds = follow.wait(
            known,
            place.session_of(open_connections),
            place.store,
            slowest=interval,
            patience=timeout or float("inf"),
        )
        final: Sequence[RunStatus] = ()
        reported: set[str] = set()
        for result in rounds:
            final = result.statuses
            for failure in set(result.failures) - reported:
                show.say(f"cannot query {failure}; trying again")
            reported = set(result.failures)
            for one in final:
                line = in_words(one)
                if printed.get(one.run.id) != line:
                    show.say(f"{one.run.id}: {line}")
                    printed[one.run.id] = line
    print_statuses(final, json=json)
    sys.exit(next((code for code in (one.exit_code for one in final) if code), 0))


def fetch(
    run: OneRun = None,
    pattern: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATTERN]...", help="Patterns of output files, such as 'plots/*.png'; default: all.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Target folder; default: the run's id.", parser=path, metavar="PATH", show_default=False
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Download the output and logs of a run.

    Files that are here already and have not changed are skipped.
    """
    from hpcdeploy.cli.place import here
    from hpcdeploy.config.job_files import output_pattern
    from hpcdeploy.flows import fetch as flow

    patterns = [output_pattern(words) for words in pattern or []]
    place = here()
    [known] = place.store.find([run] if run else [])
    destination = output or Path(known.run.id)
    cluster = place.cluster(known.run.cluster)
    with place.connections() as open_connections, show.transfer("downloading") as progress:
        done = flow.fetch(
            known.run,
            destination,
            open_connections.to(cluster),
            patterns=patterns,
            progress=progress,
        )
    show.notes(map(one_line, done.notes))
    if json:
        lists = {name: list(map(os.fspath, getattr(done, name))) for name in ("files", "brought", "changed", "missing")}
        show.as_json({"run": known.run.id, "folder": str(destination), **lists})
        return
    for file in done.files:
        show.exact(os.fsencode(file) + b"\n")
    show.say(counted(done))


def counted(done: "Fetched") -> str:
    """Return a summary of a download in one line."""
    downloaded, changed, missing = map(len, (done.brought, done.changed, done.missing))
    summary = f"{downloaded} of {len(done.files) + missing} files were downloaded"
    already = len(done.files) - downloaded - changed
    if not changed and not missing:
        return f"{summary}; the others were already here" if already else summary
    others = ((already, "already here"), (changed, "changed meanwhile"), (missing, "not downloaded"))
    return "; ".join((summary, *(f"{number} {what}" for number, what in others if number)))


def cancel(
    run: Runs = None,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Cancel runs that have not finished."""
    from hpcdeploy.cli.place import here
    from hpcdeploy.flows import cancel as flow

    place = here()
    known = [one for one in place.store.find(run or []) if not one.ended]
    if known and not yes:
        show.confirm(f"Cancel {', '.join(one.run.id for one in known)}?", abort=True)
    cancelled: list[Run] = []
    try:
        with place.connections() as open_connections:
            flow.cancel(known, place.session_of(open_connections), place.store, report=cancelled.append)
    finally:  # a failing cluster does not stop the others
        if json:
            show.as_json([one.id for one in cancelled])
        else:
            for one in cancelled:
                job = f"job {one.job_id}" if one.job_id else "it has no job, and will get none"
                show.put(f"cancelled {one.id} ({job})")
    if not (cancelled or json):
        show.say("nothing to cancel: all these runs have ended")
