"""Define the interface of a transport: a few methods that know nothing of schedulers."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, Self

from hpcdeploy.frozen import frozen
from hpcdeploy.limits import OutputLimit
from hpcdeploy.progress import Progress, ignore_output, ignore_progress

Output = Callable[[bytes], None]
"""Receive output in pieces of any size."""

Input = bytes | Iterable[bytes]
"""Input of a command: bytes, or an iterable of pieces, which is read in its own thread at the command's pace."""

_SIGNALS = (
    *("HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM"),
    *("STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO"),
    *("PWR", "SYS"),
)
"""The signals of Linux from number 1 on, on x86, ARM and POWER (signal(7)). The login nodes are Linux machines; this machine
may number signals differently (USR1 is 30 on macOS)."""

UNNAMED_SIGNAL = -65
"""The exit code of a command that was killed by an unknown signal: one more than Linux has (signal(7), SIGRTMAX)."""


def killed_by(name: str) -> int:
    """Return the exit code of a command that the signal `name` killed (RFC 4254, 6.10: without ``SIG``)."""
    return -(_SIGNALS.index(name) + 1) if name in _SIGNALS else UNNAMED_SIGNAL


@frozen
class Completed:
    """The result of a command.

    Attributes:
        exit_code: Its exit code; negative for the signal that killed it.
        stdout: The part of its standard output that was kept.
        stderr: The part of its standard error that was kept.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes


class Transport(Protocol):
    """Run commands and transfer files on one machine.

    The failure of a command is not an error, but an exit code. Transports are context managers; leaving one closes it. Every
    method that uses the connection raises the errors below.

    Raises:
        TransportError: The machine cannot be reached; nothing was done there.
        ConnectionLostError: The connection was lost after a command was sent; it may have run.
        AuthenticationError: The machine rejected the login.
    """

    @property
    def where(self) -> str:
        """The machine's name, for messages."""

    @property
    def delay(self) -> float:
        """Minimum round trip time measured so far, in seconds; 0 if unknown or local."""

    def begin(self, argv: Sequence[str]) -> None:
        """Start connecting, and starting `argv`, in the background, because it will be run soon.

        `argv` must be a program that does nothing before it receives input: if it is never run, its input ends. Errors are
        reported by the first command.
        """

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Input = b"",
        on_stdout: Output = ignore_output,
        on_stderr: Output = ignore_output,
        timeout: float | None = None,
        limit: OutputLimit | None = None,
    ) -> Completed:
        """Run `argv` without changing its arguments, send it `stdin`, and wait.

        A missing program results in exit code 127, a program without permission in 126. An OSError from an iterable `stdin`
        ends the command and is raised.

        Args:
            argv: The command.
            stdin: Its standard input.
            on_stdout: Receives standard output, in the caller's thread.
            on_stderr: Receives standard error, in the caller's thread.
            timeout: Maximum time in seconds without a byte in either direction; None for no limit.
            limit: Limits of its output and run time; None for `hpcdeploy.limits.SCRIPT`.

        Raises:
            ConnectionLostError: The connection was lost, or `timeout` is over.
            OverLimitError: The command exceeded `limit`, and was ended.
        """

    def put(self, local: Path, remote: str, *, progress: Progress = ignore_progress) -> None:
        """Copy a file to the absolute path `remote`, atomically; it stays executable.

        Raises:
            TransportError: A file cannot be read or written, or the connection failed.
        """

    def get(self, remote: str, local: Path, *, progress: Progress = ignore_progress) -> None:
        """Copy the file at the absolute path `remote` to `local`, atomically; it stays executable.

        Raises:
            TransportError: A file cannot be read or written, or the connection failed.
        """

    def close(self) -> None:
        """Close the connection. Closing twice is allowed."""

    def __enter__(self) -> Self:
        """Return the transport; it connects with the first command."""

    def __exit__(self, *exc: object) -> None:
        """Close the connection."""
