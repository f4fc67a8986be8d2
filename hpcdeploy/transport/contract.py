"""Define the interface of a transport, which runs commands and copies files on one machine."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, Self

from hpcdeploy.frozen import frozen
from hpcdeploy.limits import OutputLimit
from hpcdeploy.progress import Progress, ignore_output, ignore_progress

Output = Callable[[bytes], None]
"""A function that receives output in pieces of any size."""

Input = bytes | Iterable[bytes]
"""Input of a command: bytes, or an iterable of pieces. Another thread reads the iterable, as fast as the command reads."""

_SIGNALS = (
    *("HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM"),
    *("STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO"),
    *("PWR", "SYS"),
)
"""The names of Linux's signals, in the order of their numbers from 1 on, for x86, ARM and POWER (signal(7)).

Python's `signal` module cannot be used, because it has the numbers of this machine, and login nodes run Linux: SIGUSR1 is 30
on macOS.
"""

UNNAMED_SIGNAL = -65
"""The exit code of a command that an unknown signal killed. The largest signal of Linux is 64 (signal(7), SIGRTMAX)."""


def killed_by(name: str) -> int:
    """Return the negative exit code of a command that the signal `name` killed; `name` lacks ``SIG`` (RFC 4254, 6.10)."""
    return -(_SIGNALS.index(name) + 1) if name in _SIGNALS else UNNAMED_SIGNAL


@frozen
class Completed:
    """The result of a command.

    Attributes:
        exit_code: The exit code; the negative number of the signal if a signal killed the command.
        stdout: Standard output, unless the limit excludes it.
        stderr: Standard error, shortened to the limit.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes


class Transport(Protocol):
    """Run commands and transfer files on one machine.

    A command that fails is not an error: its exit code is returned. A transport is a context manager, and leaving the
    context closes the transport. Every method that uses the connection may raise these errors:

    Raises:
        TransportError: The machine cannot be reached; nothing was done there.
        ConnectionLostError: The connection was lost after a command was sent; the command may have run.
        AuthenticationError: The machine rejected the login.
    """

    @property
    def where(self) -> str:
        """The machine's name, for messages."""

    @property
    def delay(self) -> float:
        """Minimum round trip time measured so far, in seconds; 0 if unknown or local."""

    def begin(self, argv: Sequence[str]) -> None:
        """Connect and start the command `argv` in the background, because it will be run soon.

        `argv` must do nothing before it receives input. If `run` is never called, the input of `argv` ends, and `argv` must
        then end as well. An error in the background is reported by the first call of `run`.
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
        """Run `argv` with exactly these arguments, send `stdin` to the command, and wait until it ends.

        The exit code is 127 if the program does not exist, and 126 if the user may not run it. An OSError that an iterable
        `stdin` raises ends the command, and is raised by this method.

        Args:
            argv: The program and its arguments.
            stdin: The standard input of the command.
            on_stdout: Receives standard output, in the caller's thread.
            on_stderr: Receives standard error, in the caller's thread.
            timeout: Maximum time in seconds without a byte in either direction; None for no limit.
            limit: Limits of the command's output and run time; None for `hpcdeploy.limits.SCRIPT`.

        Raises:
            ConnectionLostError: The connection was lost, or `timeout` is over; the command may have run.
            OverLimitError: The command exceeded `limit`, and was ended.
        """

    def put(self, local: Path, remote: str, *, progress: Progress = ignore_progress) -> None:
        """Copy a file to the absolute path `remote`, atomically. The copy is executable if the file is.

        Raises:
            TransportError: A file cannot be read or written, or the connection failed.
        """

    def get(self, remote: str, local: Path, *, progress: Progress = ignore_progress) -> None:
        """Copy the file at the absolute path `remote` to `local`, atomically. The copy is executable if the file is.

        Raises:
            TransportError: A file cannot be read or written, or the connection failed.
        """

    def close(self) -> None:
        """Close the connection. Closing twice is allowed."""

    def __enter__(self) -> Self:
        """Return the transport. The connection is opened by the first command."""

    def __exit__(self, *exc: object) -> None:
        """Close the connection."""
