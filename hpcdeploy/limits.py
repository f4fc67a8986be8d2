"""How much is read of what comes from outside, each limit with its reason, and the functions that read up to a limit.

A login node, a registry and a program of this machine may write without end, by mistake or on purpose. So everything that
is held in memory has a limit in bytes, and everything that is waited for a limit in seconds. The limits are far above what
an honest other side sends; together they keep each command under 150 MB of resident memory (tests/test_memory.py). A
module reads a limit when it needs it (``limits.SCRIPT``), so a test can set a lower one.
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
from dataclasses import dataclass
from typing import IO

KIB, MIB = 1024, 1024 * 1024
HOUR, DAY = 3600.0, 86400.0

LONGEST_LINE = 16 * KIB
"""Bytes of one line that are shown or searched. Compilers print command lines of some kilobytes; the rest is left out."""

KEPT_OF_ERRORS = 64 * KIB
"""Bytes of standard error that are kept of its beginning, and as many of its end: messages quote its last lines."""

LARGEST_DOCUMENT = 4 * MIB
"""Bytes of a registry's document: 4 MiB is what registries must take of a manifest (OCI distribution specification 1.1,
"Pushing Manifests"), and no configuration of an image comes near it."""

LARGEST_REFUSAL = 64 * KIB
"""Bytes that are read of an answer that is no success; of them a message quotes 300."""

MOST_TAGS = 100_000
"""Tags of one repository that are listed. Docker Hub's largest have some ten thousand."""

LARGEST_HEADER = 16 * KIB
"""Characters of one HTTP header that are looked into. Servers limit a header to 8 KiB (Apache, LimitRequestFieldSize)."""

MOST_FILES = 100_000
"""Files of one run that one fetch lists: each takes some 300 bytes of memory."""

LARGEST_LISTING = 12 * MIB
"""Bytes of the list of a run's files: 126 for each of `MOST_FILES`."""

LOGS_AT_ONCE = 8 * MIB
"""Bytes of all logs that one look reads; the next look goes on behind them."""

LARGEST_LOG_AS_JSON = 8 * MIB
"""Bytes of a log that ``logs --json`` holds as one value."""

BANNER = MIB
"""Bytes that a login shell may print before a script's own output."""

_BLOCK = 64 * KIB


@dataclass(frozen=True, kw_only=True)
class OutputLimit:
    """What one command on a login node may write, in bytes, and how long it may take, in seconds.

    Each line of standard error is shown to a person or searched, which takes some microseconds: so they are counted too.
    All of standard output is kept, unless `keep_stdout` is false because somebody takes it as it comes; of standard error
    the beginning and the end are (`KEPT_OF_ERRORS`).
    """

    stdout: int
    stderr: int = 16 * MIB
    stderr_lines: int = 500_000
    seconds: float = HOUR
    keep_stdout: bool = True


SCRIPT = OutputLimit(stdout=2 * MIB)
"""A script that answers in one line: the rest of its output is what login shells print."""

SUBMISSION = OutputLimit(stdout=2 * MIB, seconds=DAY)
"""A submission may download an image, and wait for the scheduler."""

BUILD = OutputLimit(stdout=2 * MIB, stderr=1024 * MIB, stderr_lines=5_000_000, seconds=7 * DAY)
"""Compiling an environment takes hours and prints up to some million lines, which are shown and not kept."""

TRANSFER = OutputLimit(stdout=2 * MIB, seconds=7 * DAY)
"""An upload of some hundred gigabytes over a slow line, whose receiver answers in one line."""

LISTING = OutputLimit(stdout=LARGEST_LISTING + BANNER)

LOGS = OutputLimit(stdout=LOGS_AT_ONCE + 2 * MIB, seconds=HOUR)


def following(tasks: int) -> OutputLimit:
    """Return the limit for the states of `tasks` tasks.

    A task takes a line of squeue's, one of sacct's and two of its own notes, together some 500 bytes, or a ClassAd of some
    kilobyte; under Slurm before 25.11 an object of ``sacct --json`` too, of some 8 KB, for at most 1000 tasks
    (``slurm_templates/follow.sh``).
    """
    return OutputLimit(stdout=2 * MIB + min(tasks, 1000) * 16 * KIB + tasks * 2 * KIB)


ALL_JOBS = 256 * MIB
"""Bytes that a scheduler may print of all jobs of a person, which the login node looks through and does not hold: some 300
for each of 900,000 jobs. Slurm keeps 10,000 jobs unless a site raises MaxJobCount (slurm.conf(5))."""


def lines_following(tasks: int) -> int:
    """Return how many lines about `tasks` tasks are read: each makes a value of some 500 bytes.

    HTCondor's log has the most: a line or two for each time that a task was held, released or evicted since it last began.
    """
    return 20_000 + 50 * tasks


def receiving(size: int) -> OutputLimit:
    """Return the limit for a command that sends a piece of `size` bytes, which somebody takes as they come."""
    return OutputLimit(stdout=size + BANNER + 64 * KIB, seconds=HOUR + size / (8 * KIB), keep_stdout=False)


class TooMuchError(Exception):
    """More was written than is read, or it took longer: ``more than 2.1 MB``, ``for longer than 10 s``."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


def bytes_in_words(count: int) -> str:
    """Return a number of bytes for a message, in decimal units."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def seconds_in_words(seconds: float) -> str:
    """Return a time for a message."""
    return f"{seconds / HOUR:.3g} h" if seconds >= HOUR else f"{seconds:.3g} s"


class Collected:
    """Bytes that are kept as they come; `take` raises `TooMuchError` for more than `most` of them."""

    def __init__(self, most: int, *, keep: bool = True) -> None:
        self._most = most
        self._keep = keep
        self._kept = io.BytesIO()
        self._count = 0

    def take(self, piece: bytes) -> None:
        """Take a piece."""
        self._count += len(piece)
        if self._count > self._most:
            self._kept = io.BytesIO()
            raise TooMuchError(f"more than {bytes_in_words(self._most)}")
        if self._keep:
            self._kept.write(piece)

    def content(self) -> bytes:
        """Return what was kept; it is not copied (io.BytesIO.getvalue of CPython)."""
        return self._kept.getvalue()


class Ends:
    """The beginning and the end of what comes, `kept` bytes of each.

    `take` raises `TooMuchError` beyond `most` bytes or `lines`.
    """

    def __init__(self, most: int, *, lines: int = sys.maxsize, kept: int = KEPT_OF_ERRORS) -> None:
        self._most = most
        self._lines = lines
        self._kept = kept
        self._head = b""
        self._tail = bytearray()
        self._count = 0

    def take(self, piece: bytes) -> None:
        """Take a piece."""
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
        """Return it whole, or with a line in place of the middle that was left out."""
        if self._count <= self._kept + len(self._tail):
            return self._head + self._tail
        tail = bytes(self._tail[-self._kept :])
        left_out = self._count - len(self._head) - len(tail)
        return self._head + f"\n[... {left_out} bytes are left out here ...]\n".encode() + tail


class Lines:
    """Cuts output that comes in pieces into lines. Of a line the first `longest` bytes are given, the rest is left out.

    With `whole`, a longer line is replaced by one that tells its length: half a secret in it could not be masked.
    """

    def __init__(self, longest: int = LONGEST_LINE, *, whole: bool = False) -> None:
        self._longest = longest
        self._whole = whole
        self._open = bytearray()
        self._count = 0

    def take(self, piece: bytes) -> Iterator[bytes]:
        """Give the lines that end in `piece`, one at a time, without their line breaks."""
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            self._add(piece[start:end])
            yield self.rest()
            start = end + 1
        self._add(piece[start:])

    def rest(self) -> bytes:
        """Return the line that no line break has ended, and forget it."""
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
    """Give the lines of `text` that are not empty, one at a time: a list of ten million empty ones would take 80 MB."""
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        if end > start:
            yield text[start:end]
        start = end + 1


def read_at_most(blocks: Iterable[bytes], most: int) -> bytes:
    """Return all that `blocks` give; raises `TooMuchError` for more than `most` bytes."""
    kept = Collected(most)
    for block in blocks:
        kept.take(block)
    return kept.content()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold back SIGINT, SIGTERM and SIGHUP while the block starts a process; deliver the first of them when it ends.

    An exception inside of `subprocess.Popen` would leave a process running that the caller does not know. Python runs signal
    handlers in the main thread only (docs of signal), so other threads need no such care.
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
    """Run a program of this machine to its end; its exit code is the caller's to judge.

    At most `most` bytes of its standard output are read, and of its standard error the ends are kept. `stdin` must fit into
    a pipe (64 KiB). Raises `TooMuchError` where it writes more, or takes longer than `seconds`; it is killed then. Raises
    OSError where it cannot be started.
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
    """Hand on what comes on each stream until all have ended."""
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
