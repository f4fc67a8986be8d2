"""Implement ``runs``, ``status``, ``wait`` and ``fetch``."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import completion, show
from hpcdeploy.cli.options import AsJson, Interval, OnCluster, OneRun, Runs
from hpcdeploy.cli.paths import path
from hpcdeploy.plain_text import one_line

if TYPE_CHECKING:
    from hpcdeploy.flows.fetch import Fetched
    from hpcdeploy.run import RunStatus


def list_runs(
    most: Annotated[int, typer.Option("-n", "--last", help="Number of runs to list, newest first; 0: all.", min=0)] = 20,
    every: Annotated[bool, typer.Option("-a", "--all", help="List the runs of all projects.")] = False,
    project: Annotated[
        str | None,
        typer.Option(
            "--project",
            metavar="FOLDER",
            help="List the runs of the project in FOLDER, a path or its last part.",
            show_default=False,
            autocompletion=completion.projects,
        ),
    ] = None,
    cluster: OnCluster = None,
    moved_from: Annotated[
        str | None,
        typer.Option(
            "--moved-from",
            metavar="OLD",
            help="First assign the runs and images of the folder OLD to this project.",
            show_default=False,
            autocompletion=completion.lost_projects,
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """List recorded runs with their last known state (offline).

    In the folder of a project, the runs of this project are listed. Elsewhere, or with --all, the runs of all projects are
    listed.
    """
    from hpcdeploy.cli.place import here
    from hpcdeploy.cli.status_text import print_recorded
    from hpcdeploy.errors import ConfigError
    from hpcdeploy.flows import projects as flow

    place = here()
    if every and project is not None:
        raise ConfigError("on the command line: found --all and --project; expected one")
    if moved_from is not None:
        number = flow.follow_move(moved_from, place.root, place.folder, place.store)
        show.say(f"{number} run{'s' * (number != 1)} of {moved_from} now recorded as runs of {place.root}")
    chosen = None if every else place.root if project is None else flow.find_project(project, place.folder, place.store)
    known = place.store.latest(most=most, project=chosen, cluster=cluster, damaged=show.warn)
    print_recorded(known, place.root, json=json)
    if not known and not json and chosen is not None and chosen == place.root:
        from hpcdeploy.flows.choose_runs import no_runs

        show.notes([no_runs(place.scope(cluster))])


def status(
    run: Runs = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Query every run of all projects that has not finished.")
    ] = False,
    cluster: OnCluster = None,
    json: AsJson = False,
) -> None:
    """Query the clusters for the state of runs.

    Each cluster is queried once for all its runs.
    """
    from hpcdeploy.cli.place import here
    from hpcdeploy.cli.status_text import print_statuses
    from hpcdeploy.errors import TransportError
    from hpcdeploy.flows import follow
    from hpcdeploy.flows.choose_runs import find_all

    place = here()
    if everything:
        known = place.store.latest(alive=True, cluster=cluster, damaged=show.warn)
        if not known and not json:
            show.say("no unfinished runs")
            return
    else:
        known = find_all(run or [], place.scope(cluster), "status", ", use --all")
    with show.terminal_as_it_was(), place.connections() as open_connections:
        result = follow.status(known, place.session_of(open_connections), place.store)
    print_statuses(result.statuses, json=json, tasks=not everything and len(known) == 1)
    if result.failures:
        raise TransportError("not every cluster could be queried: " + "; ".join(result.failures))


def wait(
    run: Runs = None,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Stop waiting after this many seconds (0: never); runs continue.", min=0)
    ] = 0,
    interval: Interval = 60,
    cluster: OnCluster = None,
    json: AsJson = False,
) -> None:
    """Wait for runs to finish and exit with their exit code.

    The exit code is that of the first run with an exit code other than 0, or 0 if all runs succeeded.
    """
    from hpcdeploy.cli.place import here
    from hpcdeploy.cli.status_text import in_words, print_statuses
    from hpcdeploy.flows import follow
    from hpcdeploy.flows.choose_runs import find_all

    place = here()
    known = find_all(run or [], place.scope(cluster), "wait")
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
    cluster: OnCluster = None,
    json: AsJson = False,
) -> None:
    """Download the output and logs of a run.

    Files that are already on this machine and have not changed are skipped.
    """
    from hpcdeploy.cli.place import here
    from hpcdeploy.config.job_files import output_pattern
    from hpcdeploy.flows import fetch as flow
    from hpcdeploy.flows.choose_runs import find_all
    from hpcdeploy.flows.clean import check_not_cleaned

    patterns = [output_pattern(words) for words in pattern or []]
    place = here()
    [known] = find_all([run] if run else [], place.scope(cluster), "fetch")
    check_not_cleaned(place.store, known.run)
    destination = output or Path(known.run.id)
    settings = place.cluster(known.run.cluster)
    with place.connections() as open_connections, show.transfer("downloading") as progress:
        done = flow.fetch(
            known.run,
            destination,
            open_connections.to(settings),
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
    """Return a summary of a download in one line: how many files were downloaded, skipped, changed, or are missing."""
    downloaded, changed, missing = map(len, (done.brought, done.changed, done.missing))
    summary = f"{downloaded} of {len(done.files) + missing} files were downloaded"
    already = len(done.files) - downloaded - changed
    if not changed and not missing:
        return f"{summary}; the others were already here" if already else summary
    others = ((already, "already here"), (changed, "changed during the download"), (missing, "not downloaded"))
    return "; ".join((summary, *(f"{number} {what}" for number, what in others if number)))
