"""Define limits for all input from outside, with reasons, and functions that read up to a limit.

A login node, a registry or a program may write endless output, by mistake or on purpose. So everything in memory has a limit
in bytes, and every wait a limit in seconds. The limits are far above normal use; together they keep each command below 150
MB of resident memory (tests/test_memory.py). Modules read a limit when they need it (``limits.SCRIPT``), so that a test can
set a lower one.
"""

import io
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from hpcdeploy.frozen import frozen

KIB, MIB = 1024, 1024 * 1024
HOUR, DAY = 3600.0, 86400.0

LONGEST_LINE = 16 * KIB
"""Maximum length in bytes of a line that is shown or searched; compilers print command lines of some kilobytes."""

KEPT_OF_ERRORS = 64 * KIB
"""Bytes of standard error that are kept at its beginning, and as many at its end: messages quote its last lines."""

LARGEST_DOCUMENT = 4 * MIB
"""Maximum size in bytes of a registry's document.

Registries must accept manifests of 4 MiB (OCI distribution specification 1.1, "Pushing Manifests"), and image configurations
are much smaller.
"""

LARGEST_REFUSAL = 64 * KIB
"""Maximum number of bytes to read from an unsuccessful answer; messages quote 300 of them."""

MOST_TAGS = 100_000
"""Maximum number of tags in a list of one repository. Docker Hub's largest have some ten thousand."""

MOST_TAGS_DESCRIBED = 200
"""Maximum number of tags of a repository whose manifests ``hpcdeploy tags`` reads: each takes up to four requests."""

LARGEST_HEADER = 16 * KIB
"""Maximum number of characters to parse in one HTTP header. Servers limit a header to 8 KiB (Apache, LimitRequestFieldSize).
"""

MOST_FILES = 100_000
"""Maximum number of files in one download of a run; each needs some 300 bytes of memory."""

LARGEST_LISTING = 12 * MIB
"""Maximum size in bytes of the list of a run's files: 126 for each of `MOST_FILES`."""

LOGS_AT_ONCE = 8 * MIB
"""Maximum number of bytes of all logs in one query; the next query continues after them."""

LARGEST_LOG_AS_JSON = 8 * MIB
"""Maximum size in bytes of a log in ``logs --json``, which is one value."""

BANNER = MIB
"""Maximum number of bytes that a login shell may print before a script's own output."""

_BLOCK = 64 * KIB


@frozen
class OutputLimit:
    """The limits of one command on a login node.

    Attributes:
        stdout: Maximum size of standard output in bytes.
        stderr: Maximum size of standard error in bytes.
        stderr_lines: Maximum number of lines of standard error, because each is searched or shown, which takes some
            microseconds.
        seconds: Maximum run time in seconds.
        keep_stdout: Keep standard output; false if a callback receives it. Of standard error the beginning and end are kept
            (`KEPT_OF_ERRORS`).
    """

    stdout: int
    stderr: int = 16 * MIB
    stderr_lines: int = 500_000
    seconds: float = HOUR
    keep_stdout: bool = True


SCRIPT = OutputLimit(stdout=2 * MIB)
"""A script that answers in one line; further output comes from login shells."""

SUBMISSION = OutputLimit(stdout=2 * MIB, seconds=DAY)
"""A submission may download an image, and wait for the scheduler."""

BUILD = OutputLimit(stdout=2 * MIB, stderr=1024 * MIB, stderr_lines=5_000_000, seconds=7 * DAY)
"""Compiling an environment takes hours and prints up to some million lines, which are shown and not kept."""

TRANSFER = OutputLimit(stdout=2 * MIB, seconds=7 * DAY)
"""An upload of some hundred gigabytes over a slow connection, whose receiver answers in one line."""

LISTING = OutputLimit(stdout=LARGEST_LISTING + BANNER)

MOST_CLEANED = 100_000
"""Maximum number of runs or staged files in one cleaning."""

CLEANING = OutputLimit(stdout=2 * MOST_CLEANED * 128 + BANNER, seconds=DAY)
"""Removing millions of small files from a parallel file system takes hours; a line has up to 100 bytes."""

LOGS = OutputLimit(stdout=LOGS_AT_ONCE + 2 * MIB, seconds=HOUR)


def following(tasks: int) -> OutputLimit:
    """Return the limit for the states of `tasks` tasks.

    A task needs a line of squeue, one of sacct and two of its own records, together some 500 bytes, or a ClassAd of some
    kilobytes. Under Slurm before 25.11 it also needs an object of ``sacct --json`` of some 8 KB, for at most 1000 tasks
    (``login/slurm/follow.sh``).
    """
    return OutputLimit(stdout=2 * MIB + min(tasks, 1000) * 16 * KIB + tasks * 2 * KIB)


ALL_JOBS = 256 * MIB
"""Maximum bytes that a scheduler may print about all jobs of a user; the login node filters them without storing them: some
300 for each of 900,000 jobs. Slurm keeps 10,000 jobs unless a site raises MaxJobCount (slurm.conf(5))."""


def lines_following(tasks: int) -> int:
    """Return the maximum number of lines about `tasks` tasks; each becomes a value of some 500 bytes.

    HTCondor's log has the most: one or two lines for each hold, release or eviction since the task's last start.
    """
    return 20_000 + 50 * tasks


def receiving(size: int) -> OutputLimit:
    """Return the limit for a command that sends `size` bytes to a callback."""
    return OutputLimit(stdout=size + BANNER + 64 * KIB, seconds=HOUR + size / (8 * KIB), keep_stdout=False)


class TooMuchError(Exception):
    """The output or run time exceeded a limit, which `limit` describes: ``more than 2.1 MB``, ``for longer than 10 s``."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


def bytes_in_words(count: int) -> str:
    """Format a number of bytes for a message, in decimal units."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def seconds_in_words(seconds: float) -> str:
    """Format a time for a message."""
    return f"{seconds / HOUR:.3g} h" if seconds >= HOUR else f"{seconds:.3g} s"


class Collected:
    """Collect bytes, up to a maximum.

    Args:
        most: The maximum number of bytes.
        keep: Keep them; otherwise they are only counted.
    """

    def __init__(self, most: int, *, keep: bool = True) -> None:
        self._most = most
        self._keep = keep
        self._kept = io.BytesIO()
        self._count = 0

    def take(self, piece: bytes) -> None:
        """Add a piece.

        Raises:
            TooMuchError: There are more than the maximum.
        """
        self._count += len(piece)
        if self._count > self._most:
            self._kept = io.BytesIO()
            raise TooMuchError(f"more than {bytes_in_words(self._most)}")
        if self._keep:
            self._kept.write(piece)

    def content(self) -> bytes:
        """Return the collected bytes without a copy (io.BytesIO.getvalue of CPython)."""
        return self._kept.getvalue()


class Ends:
    """Collect the beginning and the end of output, `kept` bytes of each."""

    def __init__(self, most: int, *, lines: int = sys.maxsize, kept: int = KEPT_OF_ERRORS) -> None:
        self._most = most
        self._lines = lines
        self._kept = kept
        self._head = b""
        self._tail = bytearray()
        self._count = 0

    def take(self, piece: bytes) -> None:
        """Add a piece.

        Raises:
            TooMuchError: There are more than `most` bytes or `lines` lines.
        """
        self._count += len(piece)
        if self._count > self._most:
            raise TooMuchError(f"more than {bytes_in_words(self._most)}")
        self._lines -= piece.count(b"\n")
        if self._lines < 0:
            raise TooMuchError("too many lines")
        missing = self._kept - len(self._head)
        self._head += piece[:missing]
        self._tail += piece[missing:][-self._kept :]
        if len(self._tail) > 2 * self._kept:
            del self._tail[: -self._kept]

    def content(self) -> bytes:
        """Return all bytes, or the ends with a line for the part that was left out."""
        if self._count <= self._kept + len(self._tail):
            return self._head + self._tail
        tail = bytes(self._tail[-self._kept :])
        left_out = self._count - len(self._head) - len(tail)
        return self._head + f"\n[... {left_out} bytes left out ...]\n".encode() + tail


class Lines:
    """Split output that arrives in pieces into lines; each line is shortened to `longest` bytes.

    With `whole`, a longer line is replaced by a message with its length, because half a secret in it could not be masked.
    """

    def __init__(self, longest: int = LONGEST_LINE, *, whole: bool = False) -> None:
        self._longest = longest
        self._whole = whole
        self._open = bytearray()
        self._count = 0

    def take(self, piece: bytes) -> Iterator[bytes]:
        """Yield the lines that end in `piece`, without their line breaks."""
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            self._add(piece[start:end])
            yield self.rest()
            start = end + 1
        self._add(piece[start:])

    def rest(self) -> bytes:
        """Return the unfinished line, and forget it."""
        rest, count = bytes(self._open), self._count
        self._open.clear()
        self._count = 0
        if self._whole and count > self._longest:
            return f"[... a line of {count} bytes is left out here ...]".encode()
        return rest

    def _add(self, piece: bytes) -> None:
        self._count += len(piece)
        missing = self._longest - len(self._open)
        if missing > 0:
            self._open += piece[:missing]


def text_lines(text: str) -> Iterator[str]:
    """Yield the lines of `text` that are not empty, one by one: a list of ten million empty ones would need 80 MB."""
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        if end > start:
            yield text[start:end]
        start = end + 1


def read_at_most(blocks: Iterable[bytes], most: int) -> bytes:
    """Return all bytes of `blocks`.

    Raises:
        TooMuchError: There are more than `most` bytes.
    """
    kept = Collected(most)
    for block in blocks:
        kept.take(block)
    return kept.content()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Delay SIGINT, SIGTERM and SIGHUP while the block starts a process; deliver the first of them at its end.

    An exception inside `subprocess.Popen` would leave a process running that the caller does not know. Python runs signal
    handlers only in the main thread (documentation of `signal`), so this does nothing in other threads.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda arrived, _frame: came.append(arrived))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) not in (signal.SIG_IGN, None)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def run_program(
    argv: Sequence[str],
    *,
    most: int = MIB,
    seconds: float = HOUR,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[bytes]":
    """Run a program of this machine to its end; the caller checks its exit code.

    Args:
        argv: The command.
        most: Maximum size of standard output in bytes; of standard error the ends are kept.
        seconds: Maximum run time in seconds.
        stdin: Its standard input, which must fit into a pipe (64 KiB).
        environment: Its environment; None for this process's own.

    Raises:
        TooMuchError: It exceeded a limit, and was killed.
        OSError: It cannot be started.
    """
    process: subprocess.Popen[bytes] | None = None
    out, err = Collected(most), Ends(1024 * MIB)
    try:
        with interrupts_held():
            process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
            )
        if process.stdin:
            with suppress(BrokenPipeError), process.stdin:
                process.stdin.write(stdin)
        assert process.stdout is not None
        assert process.stderr is not None
        _read_both({process.stdout: out.take, process.stderr: err.take}, time.monotonic() + seconds, seconds)
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise TooMuchError(f"for longer than {seconds_in_words(seconds)}") from None
    finally:
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr) if process is not None else ():
            if stream is not None:
                stream.close()
    return subprocess.CompletedProcess(argv, code, out.content(), err.content())


def _read_both(takers: Mapping[IO[bytes], Callable[[bytes], None]], until: float, seconds: float) -> None:
    """Pass on output of each stream until all have ended."""
    with selectors.DefaultSelector() as selector:
        for stream, take in takers.items():
            selector.register(stream, selectors.EVENT_READ, take)
        while selector.get_map():
            ready = selector.select(max(0.0, until - time.monotonic()))
            if not ready:
                raise TooMuchError(f"for longer than {seconds_in_words(seconds)}")
            for key, _ in ready:
                piece = os.read(key.fd, _BLOCK)
                if piece:
                    key.data(piece)
                else:
                    selector.unregister(key.fileobj)
