"""Transfer the three streams of a running command concurrently, so that neither side can block the other."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from hpcdeploy.limits import Collected, Ends, OutputLimit, TooMuchError, format_seconds
from hpcdeploy.progress import ignore_output
from hpcdeploy.transport.contract import Input, Output

BLOCK = 64 * 1024
"""Number of bytes to read or write at once: the capacity of a Linux pipe (pipe(7)), which holds no more."""

JOIN_TIMEOUT = 2.0
"""Maximum time in seconds to wait for the threads of a command.

A thread that is still blocked after this time is a daemon thread, so it does not prevent this process from exiting.
"""


class SilenceError(Exception):
    """There was no byte in either direction during a command's timeout."""


class LostError(Exception):
    """The connection to the command was lost; its exit code will never be known."""


class RefusedError(Exception):
    """The server opened no channel, or rejected the command; nothing was done."""


class Running(Protocol):
    """A running command. `read_stdout`, `read_stderr`, `wait`, and the methods for input are called in separate threads."""

    def read_stdout(self) -> bytes:
        """Return the next piece of standard output; empty at the end."""

    def read_stderr(self) -> bytes:
        """Return the next piece of standard error; empty at the end."""

    def write(self, block: bytes) -> None:
        """Write a piece of standard input.

        Raises:
            OSError: The command no longer reads its input.
        """

    def end_input(self) -> None:
        """Close standard input."""

    def wait(self) -> int:
        """Return the exit code, negative for a signal.

        Raises:
            OSError: The exit code will never be known.
        """

    def kill(self) -> None:
        """End the command, or stop waiting for it, so that blocked calls of the other methods return."""


Event = tuple[str, bytes | int | OSError]
"""What a thread reports: the kind of the event, and its value. After a failure, the value is an OSError.

The kinds are ``stdout`` and ``stderr`` with a piece of output, ``exit`` with the exit code, and ``fed`` with the number of
sent bytes.
"""

_AHEAD = 4 * 1024 * 1024
"""If the queue of events holds at least this number of bytes, threads wait before they add a piece.

So the queue may hold one more piece, whose size is at most a channel's window (8 MiB).
"""


def ignore_count(_count: int) -> None:
    """Ignore a number of bytes."""


def blocks(data: Input) -> Iterator[bytes]:
    """Yield `data` in pieces: bytes in pieces of at most `BLOCK` bytes, an iterable in its own pieces."""
    if not isinstance(data, bytes):
        yield from data
        return
    for start in range(0, len(data), BLOCK):
        yield data[start : start + BLOCK]


class Kept:
    """Collect the output of a command within `limit`, and pass each piece to a callback."""

    def __init__(self, limit: OutputLimit, on_stdout: Output = ignore_output, on_stderr: Output = ignore_output) -> None:
        self.out = Collected(limit.stdout, keep=limit.keep_stdout)
        self.err = Ends(limit.stderr, lines=limit.stderr_lines)
        self._on_stdout = on_stdout
        self._on_stderr = on_stderr

    def stdout(self, piece: bytes) -> None:
        """Process a piece of standard output.

        Raises:
            TooMuchError: The command printed more than the limit.
        """
        with _naming("on its standard output"):
            self.out.take(piece)
        self._on_stdout(piece)

    def stderr(self, piece: bytes) -> None:
        """Process a piece of standard error.

        Raises:
            TooMuchError: The command printed more than the limit.
        """
        with _naming("on its standard error"):
            self.err.take(piece)
        self._on_stderr(piece)


def over_limit(where: str, task: str, error: TooMuchError) -> str:
    """Return the message for a command on `where` that was ended because it exceeded its limit."""
    return (
        f"{where}: this command {error.limit}, which is above hpcdeploy's limit, so it was ended: {task}; it may "
        "have done its work there. Check what the login profile and the programs there print"
    )


@contextmanager
def _naming(where: str) -> Iterator[None]:
    try:
        yield
    except TooMuchError as error:
        raise TooMuchError(f"wrote {error.limit} {where}") from None


class _Events(queue.Queue["Event"]):
    """A queue that limits the bytes of its events, not their number: a piece may have 1 byte or several megabytes."""

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
    """Send `stdin` to a command, pass its output to the callbacks, and return its exit code.

    After any exception the command is killed, also after an exception of a callback or of `stdin`.

    Args:
        running: The command.
        stdin: The pieces of its standard input.
        on_stdout: Receives standard output, in the caller's thread.
        on_stderr: Receives standard error, in the caller's thread.
        on_fed: Receives the number of bytes of each piece that was sent, in the caller's thread.
        timeout: Maximum time in seconds without a byte in either direction; None for no limit.
        total: Maximum run time in seconds; None for no limit.

    Raises:
        SilenceError: `timeout` is over.
        TooMuchError: `total` is over, or a callback raised the error.
        LostError: The connection to the command was lost.
    """
    events: queue.Queue[Event] = _Events()  # the producer must wait for the consumer
    counted = on_fed is not ignore_count or timeout is not None
    time_limits = _TimeLimits(timeout, total)
    jobs = (
        lambda: _drain("stdout", running.read_stdout, events),
        lambda: _drain("stderr", running.read_stderr, events),
        lambda: _await(running, events),
        lambda: _feed(running, stdin, events, counted=counted),
    )
    threads = [threading.Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        code = _dispatch(events, on_stdout, on_stderr, on_fed, time_limits)
    except BaseException:
        running.kill()
        raise
    finally:
        _join(threads, events)
    return code


def _dispatch(
    events: "queue.Queue[Event]",
    on_stdout: Output,
    on_stderr: Output,
    on_fed: Callable[[int], None],
    time_limits: "_TimeLimits",
) -> int:
    takers = {"stdout": on_stdout, "stderr": on_stderr}
    code: int | None = None
    while takers or code is None:
        try:
            kind, value = events.get(timeout=time_limits.next())
        except queue.Empty:
            time_limits.check()
            raise SilenceError from None
        match value:
            case OSError() if kind == "fed":  # the input could not be read on this machine
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


class _TimeLimits:
    """The time limits of waiting for an event: `timeout` seconds for each event, and `total` seconds for all together."""

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
            raise TooMuchError(f"took longer than {format_seconds(self._total)}")


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


def _feed(running: Running, stdin: Iterable[bytes], events: "queue.Queue[Event]", *, counted: bool) -> None:
    """Send `stdin` to a command.

    With `counted`, each sent piece adds an event. Otherwise there are no such events, because each wakes up another thread,
    which would slow down the upload of large files.
    """
    # BrokenPipeError is ignored: a command such as `head` may end without reading its whole input, and its exit code tells
    # whether that is an error.
    try:
        for block in stdin:
            running.write(block)
            if counted:
                events.put(("fed", len(block)))
    except BrokenPipeError:
        pass
    except OSError as error:
        events.put(("fed", error))
    finally:
        running.end_input()


def _join(threads: Iterable[threading.Thread], events: "queue.Queue[Event]") -> None:
    waits = int(JOIN_TIMEOUT / 0.02)
    for thread in threads:
        while thread.is_alive() and waits:
            thread.join(0.02)
            waits -= 1
            while not events.empty():
                events.get_nowait()
