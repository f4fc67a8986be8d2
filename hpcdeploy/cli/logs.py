"""Implement ``logs``: print the output of tasks, once or continuously."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import show
from hpcdeploy.cli.options import AsJson, OnCluster, OneRun
from hpcdeploy.plain_text import PlainStream

if TYPE_CHECKING:
    from hpcdeploy.remote.logs import Piece


_HELD = 16 * 1024 * 1024
"""Maximum number of bytes of unfinished lines that are kept in memory, for all tasks together."""

_MOST_LINES = 10**9
"""Maximum number of lines for ``--tail``. No log has so many, and shells on login nodes can compute with it (64 bits)."""

_SHORTEST_CUT = 1024
"""Minimum length in bytes at which an unfinished line may be split; shorter lines are never split."""


def logs(
    run: OneRun = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Follow the output until the tasks finish.")] = False,
    task: Annotated[
        int | None,
        typer.Option(
            "-t", "--task", help="Task of an array; default: the first, or all with -f.", min=0, show_default=False
        ),
    ] = None,
    tail: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--tail",
            metavar="N",
            help="Start at the last N lines of each stream of a task; default: all.",
            min=0,
            max=_MOST_LINES,
            show_default=False,
        ),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Print text only: no colours or terminal control characters.")
    ] = False,
    cluster: OnCluster = None,
    json: AsJson = False,
) -> None:
    """Print the standard output and standard error of tasks.

    The output is printed unchanged, as cat does, including control characters for the terminal; --plain removes these.
    With -f all tasks of an array are followed at the same time, and each line begins with the task's number.
    """
    from hpcdeploy.cli.place import here
    from hpcdeploy.flows import logs as flow
    from hpcdeploy.flows.choose_runs import Chosen, find, newest
    from hpcdeploy.flows.clean import check_not_cleaned

    place = here()
    scope = place.scope(cluster)
    chosen = find(run, scope) if run else Chosen(status=newest(scope, "logs"))
    known, task = chosen.status, chosen.task if task is None else task
    check_not_cleaned(place.store, known.run)
    wanted_tasks = range(known.run.tasks) if task is None else [task]
    together = follow and task is None and known.run.tasks > 1
    with show.terminal_as_it_was(), place.connections() as open_connections:
        session = open_connections.to(place.cluster(known.run.cluster))
        if follow:
            pieces = flow.follow(known, wanted_tasks, session, place.store, tail=tail, report=_report_connection)
        else:
            wanted = (known, task or 0, session)
            pieces = iter([flow.read(*wanted, tail=tail)]) if json else flow.pieces(*wanted, tail=tail)
            _note_other_tasks(known.run.tasks if task is None else 1)
        if json:
            _print_json(known.run.id, pieces)
            return
        explain_empty = f"hpcdeploy status {known.run.id}" if not follow and tail != 0 else ""
        _print(numbered(pieces, known.run.tasks) if together else pieces, plain=plain, explain_empty=explain_empty)


def _note_other_tasks(tasks: int) -> None:
    if tasks > 1:
        show.say(f"note: this is task 0 of {tasks}; use --task for another one, or -f to follow all")


def _print_json(run_id: str, pieces: "Iterable[Piece]") -> None:
    for piece in pieces:
        texts = {"out": piece.out.decode("utf-8", "replace"), "err": piece.err.decode("utf-8", "replace")}
        show.as_json({"run": run_id, "task": piece.task, **texts})


def _print(pieces: "Iterable[Piece]", *, plain: bool, explain_empty: str) -> None:
    """Print `pieces` of output as they arrive.

    Args:
        pieces: The output of tasks.
        plain: Whether to remove control characters.
        explain_empty: A command to recommend if a task has no output yet; empty for no recommendation.
    """
    cleaned: defaultdict[tuple[int, bool], PlainStream] = defaultdict(PlainStream)
    for piece in pieces:
        if explain_empty and not (piece.out or piece.err):
            show.say(f"note: there is no output yet; check the state with: {explain_empty}")
        if plain:
            show.put(cleaned[piece.task, False].take(piece.out), end="")
            show.say(cleaned[piece.task, True].take(piece.err), end="")
        else:
            show.raw(piece.out, piece.err)
    for (_, is_err), stream in cleaned.items():
        (show.say if is_err else show.put)(stream.take(b"", last=True), end="")


def _report_connection(words: str) -> None:
    show.say(f"{words}; connecting again")


def numbered(pieces: "Iterable[Piece]", tasks: int) -> "Iterator[Piece]":
    """Yield the output as lines with the number of the task as prefix, such as ``[ 7] ...``.

    A line is yielded when it is complete. Lines that are still incomplete when the output ends are yielded last. Progress
    output that overwrites itself (``10 %``, carriage return, ``20 %``) becomes lines too. If one piece contains several
    progress texts, only the last is yielded, because a terminal would show only this one.
    """
    from hpcdeploy.remote.logs import Piece

    width = len(str(tasks - 1))
    longest = max(_SHORTEST_CUT, _HELD // (2 * tasks))
    streams: dict[tuple[int, bool], _Stream] = defaultdict(lambda: _Stream(longest))

    def marked(task: int, lines: Iterable[bytes]) -> bytes:
        return b"".join(b"[%*d] %s\n" % (width, task, line) for line in lines)

    for piece in pieces:
        out, err = (streams[piece.task, False].lines(piece.out), streams[piece.task, True].lines(piece.err))
        yield Piece(task=piece.task, out=marked(piece.task, out), err=marked(piece.task, err))
    for task, is_err in sorted(place for place, stream in streams.items() if stream.rest):
        rest = marked(task, [streams[task, is_err].rest])
        yield Piece(task=task, out=b"" if is_err else rest, err=rest if is_err else b"")


@dataclass
class _Stream:
    """One output stream of a task.

    Attributes:
        longest: Maximum length in bytes of an unfinished line; a longer line is split.
        rest: The text after the last line break or carriage return.
        shown: The last progress text of the current line that was returned; None if there is none.
    """

    longest: int
    rest: bytes = b""
    shown: bytes | None = None

    def lines(self, new: bytes) -> list[bytes]:
        """Add the output `new`, and return the lines to print.

        These are the lines that `new` completes, as a terminal shows them, and the last progress text of an unfinished line.
        """
        *parts, self.rest = re.split(rb"([\r\n])", self.rest + new)
        if len(self.rest) > self.longest:
            parts, self.rest = [*parts, self.rest, b"\n"], b""
        finished: list[bytes] = []
        current: bytes | None = None
        for text, end in zip(parts[::2], parts[1::2], strict=True):
            current = text or current
            if end == b"\n":
                if self.shown is None or current not in (None, self.shown):
                    finished.append(current or b"")
                self.shown = current = None
        if current not in (None, self.shown):
            finished.append(current)
            self.shown = current
        return finished
