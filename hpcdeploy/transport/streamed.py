"""What the transports over SSH have in common: commands and files are streams, whatever carries them."""

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
from hpcdeploy.progress import Progress, ignore_progress
from hpcdeploy.transport import ssh_copy
from hpcdeploy.transport.command_line import command_line, shown
from hpcdeploy.transport.contract import Completed, Input, Output, ignore_output
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
    """A command that was sent."""

    def close(self) -> None:
        """Give back what it took, once nobody reads or feeds it any more; after `kill` too."""


class StreamedTransport(ABC):
    """Commands and files by the rules of `hpcdeploy.transport.contract.Transport`, over what `_start` starts.

    The login shell there is to be a Bourne shell or zsh (`hpcdeploy.transport.command_line`).
    """

    _file_block: ClassVar[int] = 256 * 1024
    """Bytes of a file that are fed at once."""

    @property
    @abstractmethod
    def where(self) -> str:
        """The machine, for messages: the name by which it was asked for."""

    _delay = math.inf

    @property
    def delay(self) -> float:
        """How long the quickest opening of a channel took, which is one question and one answer."""
        return 0.0 if math.isinf(self._delay) else self._delay

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """Note how long it takes to open a channel, where that goes well."""
        began = time.perf_counter()
        yield
        self._delay = min(self._delay, time.perf_counter() - began)

    @abstractmethod
    def begin(self, argv: Sequence[str]) -> None:
        """Begin to connect, and to start `argv`, where that takes time."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection, if there is one."""

    @abstractmethod
    def _start(self, line: bytes, task: str, timeout: float | None) -> Started:
        """Have the login shell there run `line`, which does `task`.

        Raises `RefusedError` and `TransportError` only where nothing was done, `LostError` and `ConnectionLostError` where
        that is not known.
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
        """Run `argv` there. After `timeout` seconds of silence the channel is closed, which ends what reads or writes it."""
        limit = limit or limits.SCRIPT
        kept = Kept(limit, on_stdout, on_stderr)
        code = self._stream(argv, blocks(stdin), kept, timeout=timeout, total=limit.seconds)
        return Completed(exit_code=code, stdout=kept.out.content(), stderr=kept.err.content())

    def put(self, local: Path, remote: str, *, progress: Progress = ignore_progress) -> None:
        """Copy `local` there; raises `TransportError` where one cannot be read or the other not written."""
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
                f"{remote} on {self.where} came out wrong: sha256 {digest.hexdigest()} was sent, {found} found; nothing is "
                f"left there. Check that {local} does not change meanwhile, and the disk there, and try again"
            )
            raise TransportError(message)
        rename = ssh_copy.rename_argv(part, remote, executable=bool(status.st_mode & 0o100))
        self._collect(rename, doing)

    def get(self, remote: str, local: Path, *, progress: Progress = ignore_progress) -> None:
        """Copy `remote` here; raises `TransportError` where one cannot be read or the other not written."""
        mark = secrets.token_hex(16)
        try:
            with whole_file(local) as file:
                landing = _Landing(file, mark, progress)
                self._collect(ssh_copy.send_argv(remote, mark), f"copy {remote} to {local}", on_stdout=landing.take)
                landing.finish(f"{remote} of {self.where}")
        except OSError as error:
            message = f"cannot copy {remote} of {self.where} to {local}: {error.strerror} ({error.filename or local})"
            raise TransportError(message) from error

    def __enter__(self) -> Self:
        """Enter: nothing is done until the first command."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()

    def _lost(self, task: str) -> str:
        return (
            f"the connection to {self.where} died in the middle, and whether this was done is not known: {task}; "
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
        """Run a step of `doing`, which must succeed, and return what it wrote, if nobody else took it."""
        limit = limits.TRANSFER
        if on_stdout:  # it counts what it takes
            limit = replace(limit, stdout=sys.maxsize, keep_stdout=False)
        kept = Kept(limit, on_stdout or ignore_output)
        code = self._stream(argv, stdin, kept, on_fed=on_fed, total=limit.seconds, doing=doing)
        if code:
            said = kept.err.content().decode(errors="replace").strip() or f"exit code {code}"
            raise TransportError(f"cannot {doing} on {self.where}: {said}")
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
                f"{self.where} gave no channel ({error}), so nothing was done to {task}; are there too many sessions on "
                f"this connection (sshd_config(5), MaxSessions)? Try again"
            )
            raise TransportError(message) from error
        except SilenceError:
            message = (
                f"{self.where}: nothing was heard for {timeout:g} s, so this was given up: {task}; it may still run there"
            )
            raise ConnectionLostError(message) from None
        except LostError as error:
            raise ConnectionLostError(self._lost(task)) from error


class _Landing:
    """Where a file arrives: finds its beginning behind whatever a login shell prints, and counts."""

    def __init__(self, file: BinaryIO, mark: str, progress: Progress) -> None:
        self._file = file
        self._mark = mark
        self._progress = progress
        self._begun = bytearray()
        self._searched = 0
        self._header: ssh_copy.Header | None = None
        self._done = 0

    def take(self, piece: bytes) -> None:
        """Take what comes."""
        if self._header is None:
            self._begun += piece
            self._header = ssh_copy.split_header(self._begun, self._mark, self._searched)
            if self._header is None:
                self._searched = max(0, len(self._begun) - ssh_copy.LONGEST_HEADER)
                if len(self._begun) > limits.BANNER:
                    raise TransportError("the login shell prints without end; make its start-up files silent")
                return
            piece = self._header.rest
            self._begun.clear()
        self._done += len(piece)
        if self._done > self._header.size:
            raise TransportError(f"more came than the {self._header.size} bytes that were announced; try again")
        self._file.write(piece)
        self._progress(self._done, self._header.size)

    def finish(self, name: str) -> None:
        """Check that all has come, and make a program of a program."""
        if self._header is None or self._done != self._header.size:
            expected = self._header.size if self._header else "an unknown number of"
            raise TransportError(f"{name}: {self._done} bytes came, {expected} were expected; try again")
        if self._header.executable:
            mode = os.fstat(self._file.fileno()).st_mode
            os.fchmod(self._file.fileno(), mode | (mode & 0o444) >> 2)


def _hashed(file: BinaryIO, size: int, update: Callable[[bytes], None]) -> Iterator[bytes]:
    while block := file.read(size):
        update(block)
        yield block
