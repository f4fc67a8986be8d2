"""Read the output files of a run's tasks from where the last read ended."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hpcdeploy import limits
from hpcdeploy.errors import SchedulerError, TransportError
from hpcdeploy.remote.scripts import log_piece, reading_logs
from hpcdeploy.remote.session import Session
from hpcdeploy.run import Run
from hpcdeploy.scheduler.answers import Section, read_sections
from hpcdeploy.whole_number import whole_number


@dataclass(frozen=True, kw_only=True)
class Piece:
    """New output of a task on standard output and standard error; `more`: there may be more."""

    task: int
    out: bytes
    err: bytes
    more: bool = False


@dataclass(kw_only=True)
class LogReader:
    """Read a run's logs piece by piece; no output is lost or repeated.

    Attributes:
        session: The session.
        run: The run.
        offsets: The number of bytes read from standard output and standard error, by task.
        ended: The tasks that recorded their end.
        lost: The error of the last read, if its connection was lost; the next read opens a new one.
    """

    session: Session
    run: Run
    offsets: dict[int, tuple[int, int]] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    lost: TransportError | None = None
    _connected: bool = False

    def read(self, tasks: Sequence[int]) -> list[Piece]:
        """Read new output in one round trip for all of `tasks`; tasks without new output are left out.

        Raises:
            SchedulerError: The logs cannot be read.
            TransportError: The connection failed.
        """
        wanted = [(task, *self.offsets.get(task, (0, 0))) for task in tasks]
        fence = secrets.token_hex(8)
        script = reading_logs(self.session.cluster, self.run, wanted, fence, overrides=self.session.overrides)
        result = self.session.run(script, limit=limits.LOGS)
        try:
            answers = read_sections(result.stdout, fence, "ended")
        except SchedulerError as error:
            raise SchedulerError(
                f"the logs of run {self.run.id} could not be read on {result.where} (exit code {result.exit_code}): "
                f"{error}; standard error: {result.message}"
            ) from error
        ended = (whole_number(word, self.run.tasks - 1) for word in answers["ended"].content.split())
        self.ended.update(task for task in ended if task is not None)
        most = log_piece(len(tasks))
        pieces = [_piece(task, answers, most) for task in tasks]
        for piece in pieces:
            out, err = self.offsets.get(piece.task, (0, 0))
            self.offsets[piece.task] = (out + len(piece.out), err + len(piece.err))
        return [piece for piece in pieces if piece.out or piece.err]

    def keep_reading(self, tasks: Sequence[int]) -> list[Piece]:
        """Read new output as `read` does; after a lost connection set `lost`, return nothing and reconnect the next time.

        Raises:
            SchedulerError: The logs cannot be read.
            TransportError: The first connection cannot be opened.
        """
        try:
            pieces = self.read(tasks)
        except TransportError as error:
            if not self._connected:
                raise
            self.session.reconnect()
            self.lost = error
            return []
        self._connected, self.lost = True, None
        return pieces


def _piece(task: int, answers: Mapping[str, Section], most: int) -> Piece:
    """Return the new output of one task; a piece of the maximum size, `most` bytes, may have more after it."""
    out, err = (answers[name].content if name in answers else b"" for name in (f"out.{task}", f"err.{task}"))
    return Piece(task=task, out=out, err=err, more=most in {len(out), len(err)})
