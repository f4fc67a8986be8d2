"""How results are shown: a table or JSON on standard output, progress on standard error.

All that a command writes goes through this module (``tests/cli/test_one_way_out.py``), because much of it comes from login
nodes, registries, images and projects of others: text for people is cleaned here (`hpcdeploy.plain_text`).
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hpcdeploy.plain_text import PlainStream, json_text, one_line, plain
from hpcdeploy.sizes import written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text


_WORTH_TELLING = 10_000_000
"""Bytes: what is smaller has arrived before anybody could read of it."""


def as_json(value: object) -> None:
    """Print a value as JSON; what cannot be printed, or not in the output's encoding, is escaped as JSON has it."""
    words = json_text(value)
    try:
        words.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        words = json.dumps(value, indent=2)
    print(words)


def put(text: str = "", *, end: str = "\n") -> None:
    """Print text for people on standard output."""
    print(plain(text), end=end, flush=True)


def exact(text: str | bytes) -> None:
    """Write what programs read, byte by byte, to a file or a pipe; a terminal gets it as text for people."""
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    if sys.stdout.isatty():
        put(content.decode("utf-8", "surrogateescape"), end="")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def raw(out: bytes, err: bytes) -> None:
    """Write what a program wrote, as ``cat`` does: nothing is cleaned."""
    for stream, piece in ((sys.stdout, out), (sys.stderr, err)):
        stream.flush()
        stream.buffer.write(piece)
        stream.buffer.flush()


def cell(text: str, style: str = "", *, cut: bool = False) -> "Text":
    """Return text for a place in a drawn table, where nothing in it is markup; with `cut` on one line, however narrow."""
    from rich.text import Text

    if cut:
        return Text(one_line(text), style=style, overflow="ellipsis", no_wrap=True)
    return Text(one_line(text), style=style)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their columns' names; a terminal gets a drawn table, a pipe plain columns that awk can read."""
    columns, rows = list(map(one_line, columns)), [list(map(one_line, row)) for row in rows]
    if sys.stdout.isatty():
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table

        drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            drawn.add_column(cell(column))
        for row in rows:
            drawn.add_row(*map(cell, row))
        Console().print(drawn)
        return
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def say(text: str, *, end: str = "\n") -> None:
    """Tell a person something on standard error."""
    print(plain(text), end=end, file=sys.stderr, flush=True)


def confirm(question: str, *, abort: bool = False) -> bool:
    """Ask a person on standard error; with `abort` a no ends the command."""
    import typer

    return typer.confirm(plain(question), abort=abort, err=True)


def warn(text: str) -> None:
    """Tell a person what went wrong and does not stop the command."""
    say(f"warning: {text}")


def notes(texts: Iterable[str]) -> None:
    """Tell a person what is worth knowing of a result and is no error."""
    for text in texts:
        say(f"note: {text}")


_FAR_SIDE = PlainStream()


def pass_on(piece: bytes) -> None:
    """Show what the far side says to people, as it comes."""
    print(_FAR_SIDE.take(piece), end="", file=sys.stderr, flush=True)


def pass_on_trace() -> None:
    """Show the traceback of the error that is being handled: its words may be the far side's too."""
    import traceback

    say(traceback.format_exc().rstrip("\n"))


@contextmanager
def terminal_as_it_was() -> "Iterator[None]":
    """Leave the terminal as it is now: whoever is asked for a password when the command ends would find it silent."""
    import termios

    try:
        before = termios.tcgetattr(sys.stdin)
    except (termios.error, OSError, ValueError):  # no terminal
        yield
        return
    try:
        yield
    finally:
        # Only where it changed: a command in the background would be stopped for setting it (tcsetattr(3), SIGTTOU).
        if termios.tcgetattr(sys.stdin) != before:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def age(since: int) -> str:
    """Write how long ago `since` (seconds since 1970) was, in its largest unit."""
    gone = max(0, int(time.time()) - since)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if gone >= size:
            return f"{gone // size} {unit} ago"
    return f"{gone} s ago"


@contextmanager
def transfer(what: str) -> "Iterator[Callable[[int, int], None]]":
    """Give a function that takes bytes done and bytes in all: a bar on a terminal, a line every tenth elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            bar = progress.add_task(one_line(what), total=None)
            yield lambda done, total: progress.update(bar, completed=done, total=total)
        return
    told = -1

    def tell(done: int, total: int) -> None:
        nonlocal told
        tenth = done * 10 // total if total else 10
        if tenth > told and total >= _WORTH_TELLING:
            told = tenth
            say(f"{what}: {written(done)} of {written(total)}")

    yield tell
