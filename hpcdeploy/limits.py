"""Define limits for all input from other machines and programs, and functions that read up to a limit.

A login node, a registry or a program may write endless output, by mistake or on purpose. So all data in memory has a limit
in bytes, and each wait has a limit in seconds. The limits are far above normal use. With them, each command needs less than
150 MB of resident memory (tests/test_memory.py).

Other modules read a limit as an attribute of this module (``limits.SCRIPT``), so that a test can set a lower limit.
"""

import io
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from hpcdeploy.frozen import frozen

KIB, MIB = 1024, 1024 * 1024
HOUR, DAY = 3600.0, 86400.0

LONGEST_LINE = 16 * KIB
"""Maximum length in bytes of a line that is shown or searched. Compilers print command lines of some kilobytes."""

KEPT_OF_ERRORS = 64 * KIB
"""Number of bytes that are kept from the beginning of standard error, and also from its end, which messages quote."""

LARGEST_DOCUMENT = 4 * MIB
"""Maximum size in bytes of a document from a registry.

A registry must accept manifests of 4 MiB (OCI distribution specification 1.1, "Pushing Manifests"). Image configurations are
much smaller.
"""

LARGEST_REFUSAL = 64 * KIB
"""Maximum number of bytes to read from a registry's answer with an unsuccessful status. Messages quote 300 characters."""

MOST_TAGS = 100_000
"""Maximum number of tags of one repository that are listed. Docker Hub's largest repositories have some ten thousand."""

MOST_TAGS_DESCRIBED = 200
"""Maximum number of tags for which ``hpcdeploy tags`` reads the manifest, because each takes up to four requests."""

LARGEST_HEADER = 16 * KIB
"""Maximum number of characters to parse in one HTTP header. Servers accept 8 KiB (Apache, LimitRequestFieldSize)."""

MOST_FILES = 100_000
"""Maximum number of files in one download of a run. Each file needs some 300 bytes of memory."""

LARGEST_LISTING = 12 * MIB
"""Maximum size in bytes of the list of a run's files: 126 bytes for each of `MOST_FILES` files."""

LOGS_AT_ONCE = 8 * MIB
"""Maximum number of bytes of all logs together in one query. The next query reads the following bytes."""

LARGEST_LOG_AS_JSON = 8 * MIB
"""Maximum size in bytes of a log in ``logs --json``, whose complete text is one JSON string in memory."""

BANNER = MIB
"""Maximum number of bytes that a login shell may print before a script's own output."""

_BLOCK = 64 * KIB


@frozen
class OutputLimit:
    """The limits of one command on a login node.

    Attributes:
        stdout: Maximum size of standard output in bytes.
        stderr: Maximum size of standard error in bytes.
        stderr_lines: Maximum number of lines of standard error. Each line is searched or shown, which takes some
            microseconds.
        seconds: Maximum run time in seconds.
        keep_stdout: Whether standard output is kept in memory; false if only a callback receives it. (The beginning and the
            end of standard error are always kept: `KEPT_OF_ERRORS`.)
    """

    stdout: int
    stderr: int = 16 * MIB
    stderr_lines: int = 500_000
    seconds: float = HOUR
    keep_stdout: bool = True


SCRIPT = OutputLimit(stdout=2 * MIB)
"""Limits of a script that prints one line. A login shell may print more."""

SUBMISSION = OutputLimit(stdout=2 * MIB, seconds=DAY)
"""Limits of a submission, which may download an image and wait for the scheduler."""

BUILD = OutputLimit(stdout=2 * MIB, stderr=1024 * MIB, stderr_lines=5_000_000, seconds=7 * DAY)
"""Limits of a build. Compiling an environment takes hours, and prints up to some million lines, which are not kept."""

TRANSFER = OutputLimit(stdout=2 * MIB, seconds=7 * DAY)
"""Limits of an upload, which may have some hundred gigabytes over a slow connection. The receiver prints one line."""

LISTING = OutputLimit(stdout=LARGEST_LISTING + BANNER)
"""Limits of the list of a run's files."""

MOST_CLEANED = 100_000
"""Maximum number of runs, and of staged files, that one cleaning removes."""

CLEANING = OutputLimit(stdout=2 * MOST_CLEANED * 128 + BANNER, seconds=DAY)
"""Limits of a cleaning. Removing millions of small files takes hours. The script prints up to 100 bytes per line."""

LOGS = OutputLimit(stdout=LOGS_AT_ONCE + 2 * MIB, seconds=HOUR)
"""Limits of one query of logs."""


def following(tasks: int) -> OutputLimit:
    """Return the limits of a query of the states of `tasks` tasks.

    Under Slurm, the output for a task is a line of squeue, a line of sacct and two lines of hpcdeploy's records, together
    some 500 bytes. Before Slurm 25.11 there is also an object of ``sacct --json`` with some 8 KB, for at most 1000 tasks
    (``login/slurm/follow.sh``). Under HTCondor the output is a ClassAd of some kilobytes.
    """
    return OutputLimit(stdout=2 * MIB + min(tasks, 1000) * 16 * KIB + tasks * 2 * KIB)


ALL_JOBS = 256 * MIB
"""Maximum number of bytes that a scheduler may print about all jobs of a user.

They are some 300 bytes for each of 900,000 jobs. Slurm keeps 10,000 jobs, unless a site sets a higher MaxJobCount
(slurm.conf(5)). The login node filters this output without storing it.
"""


def lines_following(tasks: int) -> int:
    """Return the maximum number of lines in the output about `tasks` tasks. Each line needs some 500 bytes of memory.

    HTCondor's log has the most lines: one or two for each hold, release or eviction since the task's last start.
    """
    return 20_000 + 50 * tasks


def receiving(size: int) -> OutputLimit:
    """Return the limits of a command that prints `size` bytes, which a callback receives; at least 8 KiB per second."""
    return OutputLimit(stdout=size + BANNER + 64 * KIB, seconds=HOUR + size / (8 * KIB), keep_stdout=False)


class TooMuchError(Exception):
    """A program exceeded a limit. ``limit`` describes it, such as ``more than 2.1 MB`` or ``for longer than 10 s``."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


def format_bytes(count: int) -> str:
    """Return a number of bytes as text for a message, in decimal units, such as ``2.1 MB``."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def format_seconds(seconds: float) -> str:
    """Return a time as text for a message, such as ``10 s`` or ``1.5 h``."""
    return f"{seconds / HOUR:.3g} h" if seconds >= HOUR else f"{seconds:.3g} s"


class Collected:
    """Collect at most `most` bytes. Without `keep` the bytes are only counted."""

    def __init__(self, most: int, *, keep: bool = True) -> None:
        self._most = most
        self._keep = keep
        self._kept = io.BytesIO()
        self._count = 0

    def take(self, piece: bytes) -> None:
        """Add the bytes of `piece`.

        Raises:
            TooMuchError: There are more bytes than the maximum. The collected bytes are discarded.
        """
        self._count += len(piece)
        if self._count > self._most:
            self._kept = io.BytesIO()
            raise TooMuchError(f"more than {format_bytes(self._most)}")
        if self._keep:
            self._kept.write(piece)

    def content(self) -> bytes:
        """Return the collected bytes without a copy (io.BytesIO.getvalue of CPython)."""
        return self._kept.getvalue()


class Ends:
    """Collect the beginning and the end of an output.

    Args:
        most: Maximum number of bytes of the whole output.
        lines: Maximum number of lines of the whole output.
        kept: Number of bytes that are kept from the beginning, and also from the end.
    """

    def __init__(self, most: int, *, lines: int = sys.maxsize, kept: int = KEPT_OF_ERRORS) -> None:
        self._most = most
        self._lines = lines
        self._kept = kept
        self._head = b""
        self._tail = bytearray()
        self._count = 0

    def take(self, piece: bytes) -> None:
        """Add the bytes of `piece`.

        Raises:
            TooMuchError: There are more than `most` bytes or `lines` lines.
        """
        self._count += len(piece)
        if self._count > self._most:
            raise TooMuchError(f"more than {format_bytes(self._most)}")
        self._lines -= piece.count(b"\n")
        if self._lines < 0:
            raise TooMuchError("too many lines")
        missing = self._kept - len(self._head)
        self._head += piece[:missing]
        self._tail += piece[missing:][-self._kept :]
        if len(self._tail) > 2 * self._kept:
            del self._tail[: -self._kept]

    def content(self) -> bytes:
        """Return the whole output; if it is too long, its beginning and end with a note about the missing bytes between."""
        if self._count <= self._kept + len(self._tail):
            return self._head + self._tail
        tail = bytes(self._tail[-self._kept :])
        left_out = self._count - len(self._head) - len(tail)
        return self._head + f"\n[... {left_out} bytes left out ...]\n".encode() + tail


class Lines:
    """Split output that arrives in pieces into lines.

    A line of more than `longest` bytes is cut. With `whole`, a note with its length replaces the line instead, because a cut
    line may end inside a secret, which then could not be masked.
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
        """Return the unfinished line, and start a new line."""
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
    """Yield the lines of `text` that are not empty. (The list of `str.splitlines` would need 80 MB for 10 million lines.)"""
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        if end > start:
            yield text[start:end]
        start = end + 1


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Delay SIGINT, SIGTERM and SIGHUP during the block, which starts a process; raise the first of them after the block.

    Without this, a signal handler may raise an exception inside `subprocess.Popen`. Then the process may be running, but the
    caller does not know the process and cannot end it. Python runs signal handlers only in the main thread (documentation of
    `signal`), so this function does nothing in other threads.
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
    """Run a program on this machine to its end; return its exit code and output. The caller must check the exit code.

    Args:
        argv: The program and its arguments.
        most: Maximum size of standard output in bytes. Of standard error only the beginning and the end are returned.
        seconds: Maximum run time in seconds.
        stdin: The standard input of the program. It must fit into a pipe (64 KiB).
        environment: The environment variables of the program; None for those of this process.

    Raises:
        TooMuchError: The program exceeded a limit, and was killed.
        OSError: The program cannot be started.
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
        raise TooMuchError(f"for longer than {format_seconds(seconds)}") from None
    finally:
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr) if process is not None else ():
            if stream is not None:
                stream.close()
    return subprocess.CompletedProcess(argv, code, out.content(), err.content())


def _read_both(takers: Mapping[IO[bytes], Callable[[bytes], None]], until: float, seconds: float) -> None:
    """Pass the output of each stream to its function until all streams have ended.

    Raises:
        TooMuchError: The streams have not ended at the time `until`, or a function raised this error.
    """
    with selectors.DefaultSelector() as selector:
        for stream, take in takers.items():
            selector.register(stream, selectors.EVENT_READ, take)
        while selector.get_map():
            ready = selector.select(max(0.0, until - time.monotonic()))
            if not ready:
                raise TooMuchError(f"for longer than {format_seconds(seconds)}")
            for key, _ in ready:
                piece = os.read(key.fd, _BLOCK)
                if piece:
                    key.data(piece)
                else:
                    selector.unregister(key.fileobj)
