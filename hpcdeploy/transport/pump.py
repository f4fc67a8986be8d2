"""Transfer the three streams of a running command concurrently, so that neither side can block the other."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from hpcdeploy.limits import Collected, Ends, OutputLimit, TooMuchError, seconds_in_words
from hpcdeploy.progress import ignore_output
from hpcdeploy.transport.contract import Input, Output

BLOCK = 64 * 1024
"""Bytes to transfer at once: the largest piece in a Linux pipe, and close to OpenSSH's largest packet."""

LET_GO = 2.0
"""Time in seconds to wait for the threads of an abandoned command; they are daemon threads, so that the program can exit."""


class SilenceError(Exception):
    """The command sent and received nothing within its timeout."""


class LostError(Exception):
    """The connection to the command was lost; its exit code will never be known."""


class RefusedError(Exception):
    """The other side opened no channel or rejected the command; nothing was done."""


class Running(Protocol):
    """A running command; each method is called in its own thread."""

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
        """End the command, or abandon it, so that all other methods return."""


Event = tuple[str, bytes | int | OSError]

_AHEAD = 4 * 1024 * 1024
"""Maximum number of bytes in the queue. One more piece may follow, of the size of a channel's window (8 MiB)."""


def ignore_count(_count: int) -> None:
    """Ignore a number of bytes."""


def blocks(data: Input) -> Iterator[bytes]:
    """Split `data` into pieces of at most `BLOCK` bytes; an iterable keeps its own pieces."""
    if not isinstance(data, bytes):
        yield from data
        return
    for start in range(0, len(data), BLOCK):
        yield data[start : start + BLOCK]


class Kept:
    """Keep the output of a command up to `limit`, and pass it on."""

    def __init__(self, limit: OutputLimit, on_stdout: Output = ignore_output, on_stderr: Output = ignore_output) -> None:
        self.out = Collected(limit.stdout, keep=limit.keep_stdout)
        self.err = Ends(limit.stderr, lines=limit.stderr_lines)
        self._on_stdout = on_stdout
        self._on_stderr = on_stderr

    def stdout(self, piece: bytes) -> None:
        """Process a piece of standard output.

        Raises:
            TooMuchError: There is more output than the limit.
        """
        with _named("on its standard output"):
            self.out.take(piece)
        self._on_stdout(piece)

    def stderr(self, piece: bytes) -> None:
        """Process a piece of standard error.

        Raises:
            TooMuchError: There is more output than the limit.
        """
        with _named("on its standard error"):
            self.err.take(piece)
        self._on_stderr(piece)


def over_limit(where: str, task: str, error: TooMuchError) -> str:
    """Return the message for a command on `where` that was ended because it exceeded its limit."""
    return (
        f"{where}: this {error.limit}, which is above hpcdeploy's limit, so it was ended: {task}; it may "
        "have done its work there. Check what the login profile and the programs there print"
    )


@contextmanager
def _named(where: str) -> Iterator[None]:
    try:
        yield
    except TooMuchError as error:
        raise TooMuchError(f"wrote {error.limit} {where}") from None


class _Events(queue.Queue["Event"]):
    """A queue of events with at most `_AHEAD` bytes, because a piece may have one byte or several megabytes."""

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
    """Send `stdin` to `running`, pass on its output, and return its exit code.

    The command is killed after any exception, including those of a callback or of `stdin`.

    Args:
        running: The command.
        stdin: Its input.
        on_stdout: Receives standard output, in the caller's thread.
        on_stderr: Receives standard error, in the caller's thread.
        on_fed: Receives the number of bytes that were sent, in the caller's thread.
        timeout: Maximum time in seconds without a byte in either direction; None for no limit.
        total: Maximum run time in seconds; None for no limit.

    Raises:
        SilenceError: `timeout` is over.
        TooMuchError: `total` is over.
        LostError: The connection to the command was lost.
    """
    events: queue.Queue[Event] = _Events()  # the producer must wait for the consumer
    counted = on_fed is not ignore_count or timeout is not None
    limits_of_wait = _TimeLimits(timeout, total)
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
        code = _hand_on(events, on_stdout, on_stderr, on_fed, limits_of_wait)
    except BaseException:
        running.kill()
        raise
    finally:
        _join(threads, events)
    return code


def _hand_on(
    events: "queue.Queue[Event]",
    on_stdout: Output,
    on_stderr: Output,
    on_fed: Callable[[int], None],
    limits_of_wait: "_TimeLimits",
) -> int:
    takers = {"stdout": on_stdout, "stderr": on_stderr}
    code: int | None = None
    while takers or code is None:
        try:
            kind, value = events.get(timeout=limits_of_wait.next())
        except queue.Empty:
            limits_of_wait.check()
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
    """The time limits of the next event: `timeout` seconds, and the rest of `total`."""

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


def _feed(running: Running, stdin: Iterable[bytes], events: "queue.Queue[Event]", *, counted: bool) -> None:
    """Send `stdin`; with `counted` each piece adds an event, which slows down large files: it wakes another thread."""
    # A command may end without reading all of its input (`head`); its exit code shows whether that is an error.
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
    waits = int(LET_GO / 0.02)
    for thread in threads:
        while thread.is_alive() and waits:
            thread.join(0.02)
            waits -= 1
            while not events.empty():
                events.get_nowait()
