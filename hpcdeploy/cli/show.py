"""How results are shown: a table or JSON on standard output, progress on standard error."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hpcdeploy.sizes import written

if TYPE_CHECKING:
    from collections.abc import Iterator


_WORTH_TELLING = 10_000_000
"""Bytes: what is smaller has arrived before anybody could read of it."""


def as_json(value: object) -> None:
    """Print a value as JSON; what the output's encoding cannot say, half a character too, is escaped as JSON has it."""
    words = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        words.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        words = json.dumps(value, indent=2)
    print(words)


def one_line(text: str) -> str:
    r"""Return what somebody else said so that it stays on one line and commands no terminal: ``\x1b``, ``\n``."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their columns' names; a terminal gets a drawn table, a pipe plain columns that awk can read."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            drawn.add_column(column)
        for row in rows:
            drawn.add_row(*map(Text, row))
        Console().print(drawn)
        return
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def say(text: str) -> None:
    """Tell a person something on standard error."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Tell a person what went wrong and does not stop the command."""
    say(f"warning: {text}")


def notes(texts: Iterable[str]) -> None:
    """Tell a person what is worth knowing of a result and is no error."""
    for text in texts:
        say(f"note: {text}")


def pass_on(piece: bytes) -> None:
    """Show what the far side says to people, as it comes."""
    sys.stderr.buffer.write(piece)
    sys.stderr.buffer.flush()


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
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            bar = progress.add_task(what, total=None)
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
