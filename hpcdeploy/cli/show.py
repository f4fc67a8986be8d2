"""Print results on standard output (text, tables, JSON), and messages and progress on standard error.

All output of a command goes through this module (``tests/cli/test_one_way_out.py``). Much of it comes from login nodes,
registries, images and other users' projects. So control characters are removed here from text for people
(`hpcdeploy.plain_text`).
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from hpcdeploy.cli.columns import Column, fit, labelled, stacked, wrapped
from hpcdeploy.plain_text import PlainStream, json_text, one_line, plain, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table
    from rich.text import Text


_NARROW, _WIDE = 60, 80
"""Minimum widths of a terminal, in characters, for progress with a bar, and with speed and remaining time too."""

_LEAST_FOR_PROGRESS = 10_000_000
"""Minimum size, in bytes, of a transfer for which progress is printed; smaller transfers end before a user can read it."""


def as_json(value: object) -> None:
    """Print a value as JSON; unprintable characters are escaped, and so are characters that the output's encoding lacks."""
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
    """Write output that programs read: to a file or a pipe unchanged, to a terminal like `put`."""
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    if sys.stdout.isatty():
        put(content.decode("utf-8", "surrogateescape"), end="")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def raw(out: bytes, err: bytes) -> None:
    """Write a program's standard output and standard error unchanged to our own, even to a terminal."""
    for stream, piece in ((sys.stdout, out), (sys.stderr, err)):
        stream.flush()
        stream.buffer.write(piece)
        stream.buffer.flush()


def cell(text: str, style: str = "", *, cut: bool = False) -> "Text":
    """Return text for a cell of a table, in which rich interprets no markup.

    With `cut`, text that does not fit is cut, and ends with an ellipsis. Without `cut`, it is wrapped.
    """
    from rich.text import Text

    if cut:
        return Text(one_line(text), style=style, overflow="ellipsis", no_wrap=True)
    return Text(one_line(text), style=style)


def table(columns: Sequence[str | Column], rows: Sequence[Sequence[str]]) -> None:
    """Print rows with column names: as a table on a terminal, or else as aligned plain text for tools such as awk."""
    described = [Column(one) if isinstance(one, str) else one for one in columns]
    names, rows = [one_line(one.name) for one in described], [list(map(one_line, row)) for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console

        console = Console()
        drawn = draw(described, rows, console.width)
        for line in drawn if isinstance(drawn, list) else ():
            print(line)
        if not isinstance(drawn, list):
            console.print(drawn)
        return
    widths = [max(map(len, cells)) for cells in zip(names, *rows, strict=True)]
    for row in (names, *rows):
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def draw(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, styles: Mapping[str, str] | None = None
) -> "Table | list[str]":
    """Return a table for a terminal; if the terminal is too narrow, return lines with a block for each row.

    Args:
        columns: The columns.
        rows: For each row, the texts of all columns.
        width: The width of the terminal in characters.
        styles: Styles of rich for the texts of columns, by the column's name.
    """
    from rich.box import SIMPLE_HEAD
    from rich.cells import cell_len
    from rich.table import Table

    cleaned = [list(map(one_line, row)) for row in rows]
    names = [one_line(column.name) for column in columns]
    texts_of = list(zip(names, *cleaned, strict=True))
    natural = [max(map(cell_len, texts)) for texts in texts_of]
    words = [max(map(cell_len, " ".join(texts).split()), default=0) for texts in texts_of]
    widths = fit(columns, natural, words, width)
    if not widths:
        return [line for row in cleaned for line in stacked(columns, row, width)]
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for place, wide in widths.items():
        column = columns[place]
        justify: Literal["left", "right"] = "right" if column.right else "left"
        drawn.add_column(cell(column.name), width=wide, justify=justify, no_wrap=column.whole, overflow="fold")
    for row in cleaned:
        texts = [(columns[place], row[place]) for place in widths]
        drawn.add_row(*(cell(text, (styles or {}).get(column.name, ""), cut=column.cut) for column, text in texts))
    return drawn


def labelled_facts(title: str, facts: Sequence[tuple[str, str]]) -> None:
    """Print a title, and names with their values below it; on a terminal long lines are broken between words."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        lines = [*wrapped(title, width), *labelled([(one_line(name), one_line(value)) for name, value in facts], width)]
    else:
        names = max((len(name) for name, _ in facts), default=0)
        lines = [title, *(f"  {name:<{names}}  {value}" for name, value in facts)]
    for line in lines:
        put(line)


def say(text: str, *, end: str = "\n") -> None:
    """Print a message for the user on standard error."""
    print(plain(text), end=end, file=sys.stderr, flush=True)


def say_indented(text: str, indent: int) -> None:
    """Print a message; on a terminal a long one is broken between words, and continues after `indent` spaces."""
    if sys.stderr.isatty():
        text = "\n".join(wrapped(text, shutil.get_terminal_size().columns, later=" " * indent))
    say(text)


def confirm(question: str, *, abort: bool = False) -> bool:
    """Prompt for confirmation on standard error, and return the answer.

    With `abort`, the answer no ends the command, which then must have the option ``--yes``.
    """
    import typer

    try:
        return typer.confirm(plain(question), abort=abort, err=True)
    except typer.Abort:
        if abort and not sys.stdin.isatty():
            say("\nstandard input is not a terminal, and did not confirm; use --yes to run the command without a prompt")
        raise


def warn(text: str) -> None:
    """Print a warning, for a problem that does not stop the command."""
    say(f"warning: {text}")


def notes(texts: Iterable[str]) -> None:
    """Print notes on a result on standard error.

    On a terminal long lines are broken between words, so that an id in a note can be copied.
    """
    for text in texts:
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns
            for line in text.splitlines():
                say("\n".join(wrapped(line, width, first="note: ", later="      ")))
        else:
            say(f"note: {text}")


_REMOTE_MESSAGES = PlainStream()


def pass_on(piece: bytes) -> None:
    """Print a piece of the login node's messages on standard error as it arrives, without control characters."""
    print(_REMOTE_MESSAGES.take(piece), end="", file=sys.stderr, flush=True)


def pass_on_trace() -> None:
    """Print the traceback of the current error, without control characters, because its text may come from a login node."""
    import traceback

    say(traceback.format_exc().rstrip("\n"))


@contextmanager
def terminal_as_it_was() -> "Iterator[None]":
    """Restore the terminal's settings when the block ends.

    A password prompt of ssh turns the echo off. Without this, the echo would stay off if the command ends before the user
    answers.
    """
    import termios

    try:
        before = termios.tcgetattr(sys.stdin)
    except (termios.error, OSError, ValueError):  # no terminal
        yield
        return
    try:
        yield
    finally:
        # The settings are written only if they changed, because this stops a background process (tcsetattr(3), SIGTTOU).
        if termios.tcgetattr(sys.stdin) != before:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def age(since: int) -> str:
    """Format the time since `since` (seconds since 1970) in its largest unit."""
    elapsed = max(0, int(time.time()) - since)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if elapsed >= size:
            return f"{elapsed // size} {unit} ago"
    return f"{elapsed} s ago"


@contextmanager
def transfer(what: str) -> "Iterator[Callable[[int, int], None]]":
    """Yield a function that shows the progress of a transfer, given the transferred and the total number of bytes.

    On a terminal the progress is a bar. Otherwise a line is printed for every tenth of the total.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

        console = Console(stderr=True)
        # In a narrow terminal, the texts of all columns would wrap.
        bars = (BarColumn(40 if console.width >= _WIDE else 10),) if console.width >= _NARROW else ()
        others = (TransferSpeedColumn(), TimeRemainingColumn()) if console.width >= _WIDE else ()
        columns = (TextColumn("{task.description}", markup=False), *bars, DownloadColumn(), *others)
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task(one_line(what), total=None)
            yield lambda done, total: progress.update(bar, completed=done, total=total)
        return
    last = -1

    def report_tenth(done: int, total: int) -> None:
        nonlocal last
        tenth = done * 10 // total if total else 10
        if tenth > last and total >= _LEAST_FOR_PROGRESS:
            last = tenth
            say(f"{what}: {written(done)} of {written(total)}")

    yield report_tenth
