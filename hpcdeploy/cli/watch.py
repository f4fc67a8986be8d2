"""Implement ``watch``: a live table of runs."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import completion, show
from hpcdeploy.cli.columns import Column, stacked, wrapped
from hpcdeploy.cli.options import RUN_HELP, Interval, OnCluster
from hpcdeploy.cli.status_text import count_states, expected_start, explanations, in_words
from hpcdeploy.plain_text import one_line

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text

    from hpcdeploy.flows.follow import StatusReport
    from hpcdeploy.run import RunStatus

# The order of the columns for a task's states. Other states, such as those of a later version, come last.
_ORDER = ("SUBMITTING", "PENDING", "HELD", "RUNNING", "SUSPENDED", "COMPLETING", "COMPLETED")
_STYLES = {
    "RUNNING": "cyan",
    "COMPLETED": "green",
    "HELD": "yellow",
    "UNKNOWN": "yellow",
    "PENDING": "",
    "COMPLETING": "cyan",
}
_ROOM_FOR_THE_REST = 6


def watch(
    run: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help=f"{RUN_HELP}; default: all unfinished runs of the project.",
            show_default=False,
            autocompletion=completion.runs,
        ),
    ] = None,
    every: Annotated[bool, typer.Option("-a", "--all", help="Show all unfinished runs of all projects.")] = False,
    cluster: OnCluster = None,
    interval: Interval = 60,
) -> None:
    """Show a live table of runs until all have finished.

    Outside of a project, the unfinished runs of all projects are shown. Ctrl-C stops watching; the runs continue.
    If standard output is not a terminal, one line is printed per change.
    """
    from hpcdeploy.cli.place import here
    from hpcdeploy.cli.trust import confirm_ahead
    from hpcdeploy.errors import ConfigError
    from hpcdeploy.flows import follow
    from hpcdeploy.flows.choose_runs import find_all

    place = here()
    if run and every:
        raise ConfigError("on the command line: found runs and --all; expected one")
    project = None if every else place.root
    if run:
        known = find_all(run, place.scope(cluster), "watch")
    else:
        known = place.store.latest(alive=True, project=project, cluster=cluster, damaged=show.warn)
    unsure = [one.run.id for one in known if one.unsure]
    show.notes(
        f"it is unknown whether {one} was submitted; run 'hpcdeploy submit --resume {one}' or 'hpcdeploy cancel {one}'"
        for one in unsure
    )
    known = [one for one in known if not one.unsure]
    if not known:
        show.say("all runs have ended" + (" (use --all for runs of other projects)" if project and not run else ""))
        return
    confirm_ahead(place.project.clusters, [one.run.cluster for one in known])  # now, because the table would hide the prompt
    with show.terminal_as_it_was(), place.connections() as open_connections:
        rounds = follow.wait(known, place.session_of(open_connections), place.store, slowest=interval)
        try:
            with closing(rounds):
                _draw(rounds) if sys.stdout.isatty() else _print_lines(rounds)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def table_of(statuses: "Sequence[RunStatus]") -> tuple[list[str], list[list[str]]]:
    """Return the names of the table's columns and its rows: one row per run, with the number of tasks in each state."""
    counts = [count_states(one) or {"PENDING": 1} for one in statuses]
    present = {state for one in counts for state in one}
    states = [state for state in _ORDER if state in present] + sorted(present - set(_ORDER))
    columns = ["RUN", "CLUSTER", "JOB ID", *states, "EXIT", "WHY"]
    rows = [
        [
            one.run.id,
            one.run.cluster,
            one.run.job_id,
            *(str(count.get(state, "")) for state in states),
            "" if one.exit_code is None else str(one.exit_code),
            _why(one),
        ]
        for one, count in zip(statuses, counts, strict=True)
    ]
    return columns, rows


def _why(one: "RunStatus") -> str:
    start = expected_start(one)
    reasons = dict.fromkeys(task.reason for task in one.tasks if task.reason and task.state is one.state)
    return one_line(", ".join([*list(reasons)[:2], *([f"to start {start}"] if start else [])]))


def _print_lines(rounds: "Iterator[StatusReport]") -> None:
    printed: dict[str, str] = {}
    failed: set[str] = set()
    for result in rounds:
        for failure in sorted(set(result.failures) - failed):
            show.say(f"cannot query {failure}; trying again")
        failed = set(result.failures)
        for one in result.statuses:
            if one.tasks and printed.get(one.run.id) != (line := in_words(one)):
                show.put(f"{time.strftime('%H:%M:%S')} {one.run.id}: {line}")
                printed[one.run.id] = line


def _draw(rounds: "Iterator[StatusReport]") -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    drawn: object = None
    with Live(console=console, auto_refresh=False) as live:
        for result in rounds:
            now = (table_of(result.statuses), result.failures, console.size)
            if now != drawn:
                live.update(page(result, console), refresh=True)
                drawn = now


def page(result: "StatusReport", console: "Console") -> "Group":
    """Render the runs that fit on the screen: first the runs that have not ended, then the ended runs; and notes below."""
    from rich.console import Group

    width, height = console.size
    failures = [one_line(f"cannot query {failure}; trying again") for failure in result.failures]
    notes = [line for note in explanations(result.statuses)[:3] + failures for line in wrapped(note, width)]
    ended = sum(one.ended for one in result.statuses)
    changed = time.strftime("%H:%M:%S")
    last = f"{ended} of {len(result.statuses)} ended; last change {changed}; Ctrl-C stops watching, the runs continue"
    notes += wrapped(last, width)
    room = max(1, height - _ROOM_FOR_THE_REST - len(notes))
    names, rows = table_of(sorted(result.statuses, key=lambda one: one.ended))
    columns = [_column(name) for name in names]
    styles = {name: _STYLES.get(name, "red") for name in names if name not in {*names[:3], "EXIT", "WHY"}}
    drawn = show.draw(columns, rows[:room], width, styles)
    shown = min(room, len(rows))
    if isinstance(drawn, list):  # blocks of several lines
        shown = 0
        blocks: list[str] = []
        for row in rows:
            block = stacked(columns, list(map(one_line, row)), width)
            if shown and len(blocks) + len(block) > room:
                break
            shown, blocks = shown + 1, blocks + block
        table: list[Table | Text] = [show.cell(line) for line in blocks]
    else:
        table = [drawn]
    more = [f"and {len(rows) - shown} more"] if len(rows) > shown else []
    return Group(*table, *(show.cell(line, "dim") for line in [*more, *notes]))


def _column(name: str) -> Column:
    """Return the description of a column.

    On a narrow terminal, columns with words are cut or left out, but never a run's id or a number.
    """
    if name in {"RUN", "CLUSTER", "JOB ID", "WHY"}:
        places = {"RUN": 0, "WHY": 1, "CLUSTER": 2, "JOB ID": 3}
        return Column(name, whole=name == "RUN", drop=places[name], right=name == "JOB ID", cut=name != "RUN")
    return Column(name, whole=True, right=True)
