"""Read the new part of the output files of a run's tasks."""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hpcdeploy import limits
from hpcdeploy.checked_values import whole_number
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import SchedulerError, TransportError
from hpcdeploy.frozen import frozen
from hpcdeploy.remote.script_parts import query_script
from hpcdeploy.remote.session import Session
from hpcdeploy.run import Run
from hpcdeploy.scheduler.contract import Section, read_sections
from hpcdeploy.shell_script import Value
from hpcdeploy.templates import refuse_former

_LARGEST_FILE = 2**63
"""Upper bound of a file's size in bytes (off_t, 64 bits)."""


@frozen
class Piece:
    """New output of a task.

    Attributes:
        task: The number of the task.
        out: New bytes of standard output.
        err: New bytes of standard error.
        more: One of the two has the maximum size, so more output may follow at once.
    """

    task: int
    out: bytes
    err: bytes
    more: bool = False


def ignore_report(_message: str) -> None:
    """Ignore a message."""


@dataclass(kw_only=True)
class LogReader:
    """Read a run's logs piece by piece; no output is lost or repeated.

    Attributes:
        session: A session with the run's cluster.
        run: The run whose logs are read.
        offsets: The numbers of bytes already read from standard output and from standard error, by task.
        tail: The number of last lines with which the first read of a task begins; None to begin with the first line.
        ended: The numbers of tasks that recorded their end.
        interval: The time between two reads, in seconds. The first pause after a lost connection is computed from it.
        pause: Waits for a number of seconds.
        report: Receives the error message of each lost connection.
    """

    session: Session
    run: Run
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    tail: int | None = None
    ended: set[int] = field(default_factory=set)
    interval: float = 2.0
    pause: Callable[[float], None] = time.sleep
    report: Callable[[str], None] = ignore_report
    _connected: bool = False
    _pause: float = 0.0

    def read(self, tasks: Sequence[int]) -> list[Piece]:
        """Read new output in one round trip for all of `tasks`; tasks without new output are left out.

        Raises:
            SchedulerError: The logs cannot be read.
            TransportError: The connection failed.
        """
        wanted = [(task, *self.offsets.get(task, (0, 0))) for task in tasks]
        fence = secrets.token_hex(8)
        last = {task: self.tail for task in tasks if self.tail is not None and task not in self.offsets}
        script = reading_logs(self.session.cluster, self.run, wanted, fence, last=last, overrides=self.session.overrides)
        result = self.session.run(script, limit=limits.LOGS)
        try:
            answers = read_sections(result.stdout, fence, "ended", *(f"from.{task}" for task in last))
            starts = {task: _starts(task, answers) for task in last}
        except SchedulerError as error:
            raise SchedulerError(
                f"the logs of run {self.run.id} could not be read on {result.where} (exit code {result.exit_code}): "
                f"{error}; standard error: {result.message}"
            ) from error
        ended = (whole_number(word, self.run.tasks - 1) for word in _words(answers["ended"]))
        self.ended.update(task for task in ended if task is not None)
        most = log_piece(len(tasks))
        pieces = [_piece(task, answers, most) for task in tasks]
        for piece in pieces:
            out, err = starts.get(piece.task) or self.offsets.get(piece.task, (0, 0))
            self.offsets[piece.task] = (out + len(piece.out), err + len(piece.err))
        return [piece for piece in pieces if piece.out or piece.err]

    def keep_reading(self, tasks: Sequence[int]) -> list[Piece] | None:
        """Read new output as `read` does; after a lost connection report it, pause, and return None.

        Raises:
            SchedulerError: The logs cannot be read.
            TransportError: The connection failed before any read succeeded.
        """
        try:
            pieces = self.read(tasks)
        except TransportError as error:
            if not self._connected:
                raise
            self.session.reconnect()
            self.report(str(error))
            self._pause = self.session.retry.after(self._pause or self.interval)
            self.pause(self._pause)
            return None
        self._connected, self._pause = True, 0.0
        return pieces


def _piece(task: int, answers: Mapping[str, Section], most: int) -> Piece:
    """Return the new output of one task, of which the script printed at most `most` bytes for each stream."""
    out, err = (answers[name].content if name in answers else b"" for name in (f"out.{task}", f"err.{task}"))
    return Piece(task=task, out=out, err=err, more=most in {len(out), len(err)})


NO_TAIL: Mapping[int, int] = {}

LOG_PIECE = 1024 * 1024
"""Maximum number of bytes to read at once from each stream, so that memory use does not grow with the log."""


def log_piece(tasks: int) -> int:
    """Return the maximum number of bytes to read at once from each stream of `tasks` tasks, to limit memory use."""
    return max(1, min(LOG_PIECE, limits.LOGS_AT_ONCE // (2 * max(1, tasks))))


def reading_logs(
    cluster: Cluster,
    run: Run,
    wanted: Iterable[tuple[int, int, int]],
    fence: str,
    *,
    last: Mapping[int, int] = NO_TAIL,
    overrides: Path | None = None,
) -> str:
    """Render the script that prints the output of tasks, at most `log_piece` bytes of each stream.

    Args:
        cluster: The cluster.
        run: The run.
        wanted: Triples: the number of a task, and the numbers of bytes already read from its standard output and error.
        fence: An unpredictable word for the markers in the output.
        last: The number of last lines to print, by task, for tasks of which nothing was read yet. For these tasks the script
            also prints the position of the first printed byte of each stream.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        ConfigError: A path contains a line break or a NUL.
        TemplateError: A template is broken.
    """
    wanted = tuple(wanted)
    refuse_former(overrides)
    values: dict[str, Value] = {
        "run_id": run.id,
        "wanted": "\n".join(
            f"{task} last{last[task]} last{last[task]}" if task in last else f"{task} {out + 1} {err + 1}"
            for task, out, err in wanted
        ),
        "limit": log_piece(len(wanted)),
        "fence": fence,
    }
    return query_script("Print what tasks wrote since the last query.", values, cluster, "logs")


def _starts(task: int, answers: Mapping[str, Section]) -> tuple[int, int]:
    """Return how many bytes precede the printed last lines in a task's standard output and standard error.

    Raises:
        SchedulerError: The section with these positions is malformed.
    """
    words = _words(answers[f"from.{task}"])
    starts = [whole_number(word, _LARGEST_FILE) for word in words]
    match starts:
        case [int(out), int(err)] if out and err:
            return out - 1, err - 1
        case _:
            raise SchedulerError(f"the login node named the first bytes {words[:3]!r} of task {task}; expected two numbers")


def _words(section: Section) -> list[str]:
    return section.content.decode("ascii", "replace").split()
