"""Carry a running command's three streams at once, so that neither side ever waits for the other in a circle."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from hpcdeploy.limits import Collected, Ends, OutputLimit, TooMuchError, seconds_in_words
from hpcdeploy.transport.contract import Input, Output, ignore_output

BLOCK = 64 * 1024
"""Bytes handed on at once: the largest piece that a pipe on Linux holds, and near OpenSSH's largest packet."""

LET_GO = 2.0
"""Seconds given to the threads of an abandoned command; they are daemons, so that nothing waits for them longer."""


class SilenceError(Exception):
    """Nothing was heard of the command, and nothing could be fed to it, for as long as it was given."""


class LostError(Exception):
    """The command can be heard no more, and nobody will ever know how it ended."""


class RefusedError(Exception):
    """The other end gave no channel, or would not run the command: nothing was done."""


class Running(Protocol):
    """A command that runs: each method is called from a thread of its own."""

    def read_stdout(self) -> bytes:
        """Return the next piece, or nothing at the end."""

    def read_stderr(self) -> bytes:
        """Return the next piece, or nothing at the end."""

    def write(self, block: bytes) -> None:
        """Feed a piece of input; raises OSError where nobody reads any more."""

    def end_input(self) -> None:
        """Say that there is no more input."""

    def wait(self) -> int:
        """Return the exit code, negative for a signal; raises OSError where nobody will ever know."""

    def kill(self) -> None:
        """End it, or let go of it, so that every other method returns."""


Event = tuple[str, bytes | int | OSError]

_AHEAD = 4 * 1024 * 1024
"""Bytes that wait for their taker. One more piece may stand behind them, of the size of a channel's window (8 MiB)."""


def ignore_count(_count: int) -> None:
    """Take a number of bytes and do nothing."""


def blocks(data: Input) -> Iterator[bytes]:
    """Cut `data` into pieces of at most `BLOCK` bytes; what comes in pieces already stays in them."""
    if not isinstance(data, bytes):
        yield from data
        return
    for start in range(0, len(data), BLOCK):
        yield data[start : start + BLOCK]


class Kept:
    """What a command writes, as far as `limit` says that it is kept; ``stdout`` and ``stderr`` take pieces and hand them on.

    They raise `hpcdeploy.limits.TooMuchError` beyond the limit.
    """

    def __init__(self, limit: OutputLimit, on_stdout: Output = ignore_output, on_stderr: Output = ignore_output) -> None:
        self.out = Collected(limit.stdout, keep=limit.keep_stdout)
        self.err = Ends(limit.stderr, lines=limit.stderr_lines)
        self._on_stdout = on_stdout
        self._on_stderr = on_stderr

    def stdout(self, piece: bytes) -> None:
        """Take a piece of standard output."""
        with _named("on its standard output"):
            self.out.take(piece)
        self._on_stdout(piece)

    def stderr(self, piece: bytes) -> None:
        """Take a piece of standard error."""
        with _named("on its standard error"):
            self.err.take(piece)
        self._on_stderr(piece)


def over_limit(where: str, task: str, error: TooMuchError) -> str:
    """Return the message for a command on `where` that was ended since it went beyond its limit."""
    return (
        f"{where}: this {error.limit}, which is more than hpcdeploy reads or waits for, and was ended here: {task}; it may "
        "have done its work there. Look at what the login profile and the programs there print"
    )


@contextmanager
def _named(where: str) -> Iterator[None]:
    try:
        yield
    except TooMuchError as error:
        raise TooMuchError(f"wrote {error.limit} {where}") from None


class _Events(queue.Queue["Event"]):
    """Events on their way, as many as hold `_AHEAD` bytes, since a piece may be of one byte or of some megabytes."""

    def __init__(self) -> None:
        super().__init__(maxsize=_AHEAD)

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._bytes = 0

    def _qsize(self) -> int:
        return self._bytes

    def _put(self, item: "Event") -> None:
        super()._put(item)
        self._bytes += _weight(item)

    def _get(self) -> "Event":
        item = super()._get()
        self._bytes -= _weight(item)
        return item


def _weight(event: "Event") -> int:
    return 1 + len(event[1]) if isinstance(event[1], bytes) else 1


def pump(
    running: Running,
    stdin: Iterable[bytes],
    *,
    on_stdout: Output = ignore_output,
    on_stderr: Output = ignore_output,
    on_fed: Callable[[int], None] = ignore_count,
    timeout: float | None = None,
    total: float | None = None,
) -> int:
    """Feed `stdin` to `running`, hand on what it writes, and return its exit code.

    The three callbacks are called in the caller's thread. `timeout` is in seconds without a single byte in either
    direction; after that the command is killed and `SilenceError` raised. After `total` seconds in all it is killed and
    `hpcdeploy.limits.TooMuchError` raised. Any exception on the way kills it too: one of a
    callback or of `stdin` passes through, `LostError` says that the command was lost.
    """
    events: queue.Queue[Event] = _Events()  # the source is to wait for the taker
    told = on_fed is not ignore_count or timeout is not None
    patience = _Patience(timeout, total)
    jobs = (
        lambda: _drain("stdout", running.read_stdout, events),
        lambda: _drain("stderr", running.read_stderr, events),
        lambda: _await(running, events),
        lambda: _feed(running, stdin, events, told=told),
    )
    threads = [threading.Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        code = _hand_on(events, on_stdout, on_stderr, on_fed, patience)
    except BaseException:
        running.kill()
        raise
    finally:
        _join(threads, events)
    return code


def _hand_on(
    events: "queue.Queue[Event]", on_stdout: Output, on_stderr: Output, on_fed: Callable[[int], None], patience: "_Patience"
) -> int:
    takers = {"stdout": on_stdout, "stderr": on_stderr}
    code: int | None = None
    while takers or code is None:
        try:
            kind, value = events.get(timeout=patience.next())
        except queue.Empty:
            patience.check()
            raise SilenceError from None
        match value:
            case OSError() if kind == "fed":  # what was to be fed could not be read here
                raise value
            case OSError():
                raise LostError from value
            case int() if kind == "fed":
                on_fed(value)
            case int():
                code = value
            case b"":
                del takers[kind]
            case _:
                takers[kind](value)
    return code


class _Patience:
    """How long the next event may take: `timeout` seconds, and no longer than what is left of `total`."""

    def __init__(self, timeout: float | None, total: float | None) -> None:
        self._timeout = timeout
        self._total = total
        self._until = None if total is None else time.monotonic() + total

    def next(self) -> float | None:
        self.check()
        if self._until is None:
            return self._timeout
        left = min(max(0.0, self._until - time.monotonic()), threading.TIMEOUT_MAX)
        return left if self._timeout is None else min(left, self._timeout)

    def check(self) -> None:
        if self._total is not None and self._until is not None and time.monotonic() >= self._until:
            raise TooMuchError(f"took longer than {seconds_in_words(self._total)}")


def _drain(kind: str, read: Callable[[], bytes], events: "queue.Queue[Event]") -> None:
    try:
        while piece := read():
            events.put((kind, piece))
    except OSError as error:
        events.put((kind, error))
    else:
        events.put((kind, b""))


def _await(running: Running, events: "queue.Queue[Event]") -> None:
    try:
        events.put(("exit", running.wait()))
    except OSError as error:
        events.put(("exit", error))


def _feed(running: Running, stdin: Iterable[bytes], events: "queue.Queue[Event]", *, told: bool) -> None:
    """Feed `stdin`; a piece is `told` only where somebody counts: one more thread that wakes slows a large file down."""
    # A command may end without reading all that it is given (`head`): that is its business, and its exit code tells.
    try:
        for block in stdin:
            running.write(block)
            if told:
                events.put(("fed", len(block)))
    except BrokenPipeError:
        pass
    except OSError as error:
        events.put(("fed", error))
    finally:
        running.end_input()


def _join(threads: Iterable[threading.Thread], events: "queue.Queue[Event]") -> None:
    waits = int(LET_GO / 0.02)
    for thread in threads:
        while thread.is_alive() and waits:
            thread.join(0.02)
            waits -= 1
            while not events.empty():
                events.get_nowait()
