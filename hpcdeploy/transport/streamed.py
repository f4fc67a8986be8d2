"""Implement commands and file copies over the three streams of a remote command, for all SSH transports."""

import contextlib
import hashlib
import math
import os
import secrets
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, ClassVar, Protocol, Self

from hpcdeploy import limits
from hpcdeploy.errors import ConnectionLostError, OverLimitError, TransportError
from hpcdeploy.limits import OutputLimit, TooMuchError
from hpcdeploy.progress import Progress, ignore_output, ignore_progress
from hpcdeploy.transport import ssh_copy
from hpcdeploy.transport.command_line import command_line, shown
from hpcdeploy.transport.contract import Completed, Input, Output
from hpcdeploy.transport.pump import (
    Kept,
    LostError,
    RefusedError,
    Running,
    SilenceError,
    blocks,
    ignore_count,
    over_limit,
    pump,
)
from hpcdeploy.whole_file import part_name, whole_file


class Started(Running, Protocol):
    """A command that was sent to the server."""

    def close(self) -> None:
        """Release the resources of the command; must be called once it is not used any more, also after `kill`."""


class StreamedTransport(ABC):
    """Run commands and copy files (see `hpcdeploy.transport.contract.Transport`); a subclass connects and starts commands.

    The remote login shell must be a Bourne shell or zsh (`hpcdeploy.transport.command_line`).
    """

    _file_block: ClassVar[int] = 256 * 1024
    """Number of bytes of a file to send at once."""

    @property
    @abstractmethod
    def where(self) -> str:
        """The machine's name as given by the user, for messages."""

    _delay = math.inf

    @property
    def delay(self) -> float:
        """The shortest time in seconds in which a channel was opened, which takes one round trip; 0 before the first."""
        return 0.0 if math.isinf(self._delay) else self._delay

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """Measure the time for opening a channel; a failed attempt is ignored."""
        start = time.perf_counter()
        yield
        self._delay = min(self._delay, time.perf_counter() - start)

    @abstractmethod
    def begin(self, argv: Sequence[str]) -> None:
        """Connect and start `argv` in the background."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection, if there is one."""

    @abstractmethod
    def _start(self, line: bytes, task: str, timeout: float | None) -> Started:
        """Start `line` in the remote login shell.

        Args:
            line: The command line.
            task: The purpose of the command, for messages.
            timeout: Maximum time in seconds without a byte in either direction; None for no limit.

        Raises:
            RefusedError: The server opened no channel, or rejected the command; nothing was done.
            TransportError: The connection failed; nothing was done.
            LostError: The connection was lost; the command may have run.
            ConnectionLostError: The connection was lost; the command may have run.
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
        """Run `argv`.

        After `timeout` seconds without a byte, the channel of the command is closed. So processes that still read or write
        the channel end.

        Raises:
            TransportError: The machine cannot be reached; nothing was done there.
            ConnectionLostError: The connection was lost, or `timeout` is over; the command may have run.
            AuthenticationError: The machine rejected the login.
            OverLimitError: The command exceeded `limit`, and was ended.
        """
        limit = limit or limits.SCRIPT
        kept = Kept(limit, on_stdout, on_stderr)
        code = self._stream(argv, blocks(stdin), kept, timeout=timeout, total=limit.seconds)
        return Completed(exit_code=code, stdout=kept.out.content(), stderr=kept.err.content())

    def put(self, local: Path, remote: str, *, progress: Progress = ignore_progress) -> None:
        """Copy `local` to the machine, atomically.

        Raises:
            TransportError: A file cannot be read or written, or the connection failed.
        """
        try:
            with local.open("rb") as file:
                status = os.fstat(file.fileno())
                part, mark = part_name(remote), secrets.token_hex(16)
                digest = hashlib.sha256()
                done = 0

                def count(fed: int) -> None:
                    nonlocal done
                    done += fed
                    progress(done, status.st_size)

                progress(0, status.st_size)
                argv = ssh_copy.receive_argv(part, status.st_size, mark)
                doing = f"copy {local} to {remote}"
                answer = self._collect(argv, doing, stdin=_hashed(file, self._file_block, digest.update), on_fed=count)
        except OSError as error:
            message = f"cannot copy {local} to {self.where}: {error.strerror} ({error.filename or local})"
            raise TransportError(message) from error
        found = ssh_copy.received_digest(answer, mark)
        if found not in (digest.hexdigest(), "none"):
            self.run(ssh_copy.remove_argv(part))
            message = (
                f"the copy of {local} on {self.where} is damaged: sent sha256 {digest.hexdigest()}, received {found}; the "
                f"copy was removed. Check that {local} does not change meanwhile, check the disk there, and try again"
            )
            raise TransportError(message)
        rename = ssh_copy.rename_argv(part, remote, executable=bool(status.st_mode & 0o100))
        self._collect(rename, doing)

    def get(self, remote: str, local: Path, *, progress: Progress = ignore_progress) -> None:
        """Copy `remote` to this machine, atomically.

        Raises:
            TransportError: A file cannot be read or written, or the connection failed.
        """
        mark = secrets.token_hex(16)
        try:
            with whole_file(local) as file:
                receiver = _ReceivedFile(file, mark, progress)
                self._collect(ssh_copy.send_argv(remote, mark), f"copy {remote} to {local}", on_stdout=receiver.take)
                receiver.finish(f"{remote} of {self.where}")
        except OSError as error:
            message = f"cannot copy {remote} of {self.where} to {local}: {error.strerror} ({error.filename or local})"
            raise TransportError(message) from error

    def __enter__(self) -> Self:
        """Return the transport. The connection is opened by the first command."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the connection."""
        self.close()

    def _lost_message(self, task: str) -> str:
        return (
            f"the connection to {self.where} was lost, and it is not known whether this was done: {task}; "
            f"check the network and try again"
        )

    def _collect(
        self,
        argv: Sequence[str],
        doing: str,
        *,
        stdin: Iterable[bytes] = (),
        on_fed: Callable[[int], None] = ignore_count,
        on_stdout: Output | None = None,
    ) -> bytes:
        """Run a command that is a step of `doing`, and return its output; empty if `on_stdout` receives the output.

        Raises:
            TransportError: The command failed.
        """
        limit = limits.TRANSFER
        if on_stdout:  # the receiver counts the bytes
            limit = replace(limit, stdout=sys.maxsize, keep_stdout=False)
        kept = Kept(limit, on_stdout or ignore_output)
        code = self._stream(argv, stdin, kept, on_fed=on_fed, total=limit.seconds, doing=doing)
        if code:
            message = kept.err.content().decode(errors="replace").strip() or f"exit code {code}"
            raise TransportError(f"cannot {doing} on {self.where}: {message}")
        return kept.out.content()

    def _stream(
        self,
        argv: Sequence[str],
        stdin: Iterable[bytes],
        kept: Kept,
        *,
        on_fed: Callable[[int], None] = ignore_count,
        timeout: float | None = None,
        total: float,
        doing: str = "",
    ) -> int:
        line = command_line(argv)
        task = doing or f"run {shown(argv)}"
        try:
            with contextlib.closing(self._start(line, task, timeout)) as started:
                return pump(
                    started,
                    stdin,
                    on_stdout=kept.stdout,
                    on_stderr=kept.stderr,
                    on_fed=on_fed,
                    timeout=timeout,
                    total=total,
                )
        except TooMuchError as error:
            raise OverLimitError(over_limit(self.where, task, error)) from None
        except RefusedError as error:
            message = (
                f"{self.where} opened no channel ({error}), so this was not started: {task}. There may be too many sessions "
                f"on this connection (sshd_config(5), MaxSessions); try again"
            )
            raise TransportError(message) from error
        except SilenceError:
            message = f"{self.where}: no output for {timeout:g} s, so hpcdeploy stopped waiting: {task}; it may still run"
            raise ConnectionLostError(message) from None
        except LostError as error:
            raise ConnectionLostError(self._lost_message(task)) from error


class _ReceivedFile:
    """Receive a file: find the header after the output of the login profile, write the content and count its bytes."""

    def __init__(self, file: BinaryIO, mark: str, progress: Progress) -> None:
        self._file = file
        self._mark = mark
        self._progress = progress
        self._before_content = bytearray()
        self._searched = 0
        self._header: ssh_copy.Header | None = None
        self._done = 0

    def take(self, piece: bytes) -> None:
        """Process received bytes."""
        if self._header is None:
            self._before_content += piece
            self._header = ssh_copy.split_header(self._before_content, self._mark, self._searched)
            if self._header is None:
                self._searched = max(0, len(self._before_content) - ssh_copy.LONGEST_HEADER)
                if len(self._before_content) > limits.BANNER:
                    raise TransportError("the login shell prints endless output; make its start-up files silent")
                return
            piece = self._header.rest
            self._before_content.clear()
        self._done += len(piece)
        if self._done > self._header.size:
            raise TransportError(f"received more than the announced {self._header.size} bytes; try again")
        self._file.write(piece)
        self._progress(self._done, self._header.size)

    def finish(self, name: str) -> None:
        """Check that the file is complete, and make it executable if the original is.

        Raises:
            TransportError: The file is incomplete.
        """
        if self._header is None or self._done != self._header.size:
            expected = self._header.size if self._header else "an unknown number of"
            raise TransportError(f"{name}: received {self._done} bytes, expected {expected}; try again")
        if self._header.executable:
            mode = os.fstat(self._file.fileno()).st_mode
            os.fchmod(self._file.fileno(), mode | (mode & 0o444) >> 2)


def _hashed(file: BinaryIO, size: int, update: Callable[[bytes], None]) -> Iterator[bytes]:
    while block := file.read(size):
        update(block)
        yield block
