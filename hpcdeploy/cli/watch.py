"""Implement ``watch``: a live table of runs."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import show
from hpcdeploy.cli.options import Interval
from hpcdeploy.cli.status_text import count_states, expected_start, explanations, in_words
from hpcdeploy.plain_text import one_line

if TYPE_CHECKING:
    from rich.console import Console, Group

    from hpcdeploy.flows.follow import Asked
    from hpcdeploy.run import RunStatus

# The order of a task's states; unknown ones (of a later version) come last.
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
            help="Run ids or prefixes; default: all that have not finished.",
            show_default=False,
        ),
    ] = None,
    interval: Interval = 60,
) -> None:
    """Show a live table of runs until all have finished.

    Ctrl-C stops watching; the runs continue. Without a terminal, one line is printed per change.
    """
    from hpcdeploy.cli.place import here
    from hpcdeploy.cli.trust import ask_ahead
    from hpcdeploy.flows import follow

    place = here()
    known = place.store.find(run) if run else place.store.latest(alive=True)
    unsure = [one.run.id for one in known if one.unsure]
    show.notes(
        f"it is not known whether {one} was submitted; run 'hpcdeploy submit --resume {one}', or cancel it" for one in unsure
    )
    known = [one for one in known if not one.unsure]
    if not known:
        show.say("all runs have ended")
        return
    ask_ahead(place.project.clusters, [one.run.cluster for one in known])  # the table would hide the prompt
    with show.terminal_as_it_was(), place.connections() as open_connections:
        rounds = follow.wait(known, place.session_of(open_connections), place.store, slowest=interval)
        try:
            with closing(rounds):
                _draw(rounds) if sys.stdout.isatty() else _print_lines(rounds)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def table_of(statuses: "Sequence[RunStatus]") -> tuple[list[str], list[list[str]]]:
    """Return the table's columns and rows: one row per run, with the number of tasks in each state."""
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


def _print_lines(rounds: "Iterator[Asked]") -> None:
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


def _draw(rounds: "Iterator[Asked]") -> None:
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


def page(result: "Asked", console: "Console") -> "Group":
    """Render the runs that fit on the screen: active ones first, then ended ones."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table

    failures = [one_line(f"cannot query {failure}; trying again") for failure in result.failures]
    notes = explanations(result.statuses)[:3] + failures
    room = max(1, console.size.height - _ROOM_FOR_THE_REST - len(notes))
    columns, rows = table_of(sorted(result.statuses, key=lambda one: one.ended))
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        # On a narrow terminal rich shortens the columns that may wrap, the longest first, but no numbers.
        number = column not in {"RUN", "CLUSTER", "JOB ID", "WHY"}
        table.add_column(
            show.cell(column), justify="left" if column in {"RUN", "CLUSTER", "WHY"} else "right", no_wrap=number
        )
    styles = [_STYLES.get(column, "red" if column not in {*columns[:3], "EXIT", "WHY"} else "") for column in columns]
    for row in rows[:room]:
        table.add_row(*(show.cell(text, style, cut=True) for text, style in zip(row, styles, strict=True)))
    more = [f"and {len(rows) - room} more"] if len(rows) > room else []
    ended = sum(one.ended for one in result.statuses)
    changed = time.strftime("%H:%M:%S")
    last = f"{ended} of {len(result.statuses)} ended; last change {changed}; Ctrl-C stops watching, the runs continue"
    lines = [*more, *notes, last]
    return Group(table, *(show.cell(line, "dim", cut=True) for line in lines))
