"""What a transport is: six methods, and no word about any scheduler."""

import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from hpcdeploy.limits import OutputLimit
from hpcdeploy.progress import Progress, ignore_progress

Output = Callable[[bytes], None]
"""Takes output as it comes, in pieces of any size."""

Input = bytes | Iterable[bytes]
"""What a command reads: bytes, or pieces of any size, asked for in a thread of their own as fast as it reads them."""

UNNAMED_SIGNAL = -int(signal.NSIG)
"""The exit code where a signal ended the command, and it is not known which."""


@dataclass(frozen=True, kw_only=True)
class Completed:
    """How a command ended: ``exit_code`` (negative: killed by that signal), and what it wrote, as far as that was kept."""

    exit_code: int
    stdout: bytes
    stderr: bytes


def ignore_output(_piece: bytes) -> None:
    """Take output and do nothing: it is collected all the same."""


class Transport(Protocol):
    """Runs one command and moves bytes, on one machine.

    Every method raises `hpcdeploy.errors.TransportError` where the machine cannot be reached (nothing was done there),
    `hpcdeploy.errors.ConnectionLostError` where the connection dies after a command was sent (it may have run), and
    `hpcdeploy.errors.AuthenticationError` where it does not let us in. A command's own failure is no error here: it is an
    exit code. Transports are context managers; leaving one closes it.
    """

    @property
    def where(self) -> str:
        """The machine as a person would name it, for messages."""

    @property
    def delay(self) -> float:
        """How long an answer took at best until now, in seconds; 0 where that is not known, or is no time."""

    def begin(self, argv: Sequence[str]) -> None:
        """Begin to connect, and to start `argv`, which is about to be run, where that takes time; return soon.

        It is to be a program that does nothing before it is fed: where nobody runs it after all, its input ends. What goes
        wrong is told by the first command.
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
        """Run `argv` (each word reaches the program as it is), feed it `stdin`, and wait.

        A program that is not there gives the exit code 127, one that may not run 126. The callbacks are called in the
        caller's thread. An OSError that an iterable `stdin` raises ends the command and passes through. After `timeout`
        seconds without a byte in either direction the command is given up with `ConnectionLostError`. One that goes beyond
        `limit` (none: `hpcdeploy.limits.SCRIPT`) is ended with `hpcdeploy.errors.OverLimitError`.
        """

    def put(self, local: Path, remote: str, *, progress: Progress = ignore_progress) -> None:
        """Copy a file to the absolute path `remote`, which appears whole or not at all; a program stays a program.

        Raises `TransportError` also where one cannot be read or the other not written.
        """

    def get(self, remote: str, local: Path, *, progress: Progress = ignore_progress) -> None:
        """Copy the file at the absolute path `remote` to `local`, which appears whole or not at all; as `put` does."""

    def close(self) -> None:
        """Let go of the machine. Closing twice is allowed."""

    def __enter__(self) -> Self:
        """Enter: nothing is done until the first command."""

    def __exit__(self, *exc: object) -> None:
        """Close."""
