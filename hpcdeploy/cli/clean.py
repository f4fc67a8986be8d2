"""Implement ``clean``: remove old runs and staged files from a cluster."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import show
from hpcdeploy.cli.columns import Column
from hpcdeploy.cli.options import AsJson, ClusterName, Yes
from hpcdeploy.plain_text import written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hpcdeploy.flows.clean import Plan
    from hpcdeploy.remote.cleaning import Cleaned

_REASONS = {
    "queued": "one of its jobs is in the queue",
    "named": "another run waits for this run or uses its files",
    "foreign": "the folder does not belong to one of your runs",
    "failed": "the folder could not be removed completely",
}


def clean(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="TIME", help='Minimum age since the end of a run, such as "30d".')
    ],
    cluster: ClusterName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be removed; remove nothing.")] = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Remove old runs' folders and staged files from a cluster.

    These are removed: folders of ended runs that are recorded on this machine, and staged files that no run uses.
    Files that a queued, held or running job may use are kept. Images and the record of runs are kept too.
    """
    from hpcdeploy.cli.place import here
    from hpcdeploy.config.resolution import choose_cluster
    from hpcdeploy.config.units import parse_time
    from hpcdeploy.errors import SchedulerError
    from hpcdeploy.flows import clean as flow

    seconds = parse_time(older_than)
    place = here()
    chosen = place.cluster(cluster or choose_cluster(place.project, None).name)
    with show.terminal_as_it_was(), place.connections() as open_connections:
        session = open_connections.to(chosen)
        planned = flow.plan(session, place.store, older_than=seconds)
        free = [one for one in (*planned.found.runs, *planned.found.staged) if one.verdict == "free"]
        if dry_run:
            _print(planned, planned.found, json=json, dry_run=True)
            return
        if free and not yes:
            if not json:
                _print(planned, planned.found, json=False, dry_run=True)
            total = written(sum(one.size for one in free))
            show.confirm(f"Remove {len(free)} folders and files ({total}) from {chosen.name}?", abort=True)
        # Also without anything to remove, because this finishes what an interrupted call left.
        done = flow.carry_out(planned, session, place.store, older_than=seconds)
    kept_or_removed = {one.name: one for one in (*planned.found.runs, *done.runs)}
    _print(planned, replace(done, runs=tuple(kept_or_removed.values())), json=json, dry_run=False)
    failed = [one.name for one in (*done.runs, *done.staged) if one.verdict == "failed"]
    if failed:
        raise SchedulerError(f"could not remove all of {', '.join(failed)} on {chosen.name}: {done.errors[-500:]}")


def _print(planned: "Plan", found: "Cleaned", *, json: bool, dry_run: bool) -> None:
    """Print what can be removed (with `dry_run`) or what was removed, and why other old runs were kept."""
    if json:
        show.as_json(
            {
                "dry_run": dry_run,
                "runs": [{"run": one.name, "verdict": one.verdict, "size": one.size} for one in found.runs],
                "staged": [{"path": one.name, "verdict": one.verdict, "size": one.size} for one in found.staged],
                "not_ended": [one.run.id for one in planned.kept],
            }
        )
        return
    wanted = "free" if dry_run else "removed"
    rows = [("run", one.name, written(one.size)) for one in found.runs if one.verdict == wanted]
    rows += [("staged file", one.name, written(one.size)) for one in found.staged if one.verdict == wanted]
    if rows:
        print_items(rows, "REMOVABLE" if dry_run else "REMOVED")
    else:
        show.say("nothing to remove")
    show.notes(f"{one.name} was kept: {_REASONS[one.verdict]}" for one in found.runs if one.verdict in _REASONS)
    show.notes(f"{one.run.id} was kept: its state is {one.state.value}" for one in planned.kept)
    if found.busy:
        show.notes(["all staged files were kept, because a run may be in submission; run clean again later"])


def print_items(rows: "Sequence[tuple[str, str, str]]", heading: str) -> None:
    """Print a table of runs and staged files, whose names are never broken."""
    show.table(("KIND", Column(heading, whole=True), "SIZE"), rows)
