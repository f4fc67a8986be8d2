"""Run commands and copy files on this machine, if this machine is the login node."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from hpcdeploy import limits
from hpcdeploy.errors import ConnectionLostError, OverLimitError, TransportError
from hpcdeploy.limits import OutputLimit, TooMuchError
from hpcdeploy.progress import Progress, ignore_output, ignore_progress
from hpcdeploy.transport.command_line import check_words, shown
from hpcdeploy.transport.contract import Completed, Input, Output
from hpcdeploy.transport.pump import BLOCK, Kept, SilenceError, blocks, over_limit, pump
from hpcdeploy.whole_file import whole_file

_COPY_BLOCK = 1024 * 1024


class _LocalProcess:
    """A program in its own process group, so that all of its processes can be ended together."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, start_new_session=True
        )

    def read_stdout(self) -> bytes:
        assert self._process.stdout is not None
        return os.read(self._process.stdout.fileno(), BLOCK)

    def read_stderr(self) -> bytes:
        assert self._process.stderr is not None
        return os.read(self._process.stderr.fileno(), BLOCK)

    def write(self, block: bytes) -> None:
        assert self._process.stdin is not None
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(self._process.stdin.fileno(), rest) :]

    def end_input(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def wait(self) -> int:
        return self._process.wait()

    def kill(self) -> None:
        # macOS raises PermissionError if all processes of the group have ended, but none was waited for.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close standard output and standard error, after everything was read."""
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def drop(self) -> None:
        """End a program that was started by `begin` but is not needed."""
        self.kill()
        self.end_input()
        self.wait()
        self.close()


class LocalTransport:
    """Run commands and copy files on this machine (see `hpcdeploy.transport.contract.Transport`)."""

    def __init__(self) -> None:
        self._begun: tuple[tuple[str, ...], _LocalProcess] | None = None
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        """The machine's name, for messages."""
        return "this machine"

    @property
    def delay(self) -> float:
        """Always 0, because there is no network."""
        return 0.0

    def begin(self, argv: Sequence[str]) -> None:
        """Start `argv`, unless a program was started already and has not been run.

        This saves time if `argv` is a login shell, because the shell then reads the login profile in the background. A
        profile with pyenv takes 100 ms of CPU time.
        """
        with self._lock, contextlib.suppress(OSError):  # `run` reports the error
            if self._begun is None:
                self._begun = tuple(argv), _LocalProcess(argv)

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
        """Run `argv`. As in a shell, the exit code is 127 if the program does not exist, and 126 if it cannot be started.

        Raises:
            ConnectionLostError: There was no output and no input for `timeout` seconds; the command was ended.
            OverLimitError: The command exceeded `limit`, and was ended.
            TransportError: `argv` cannot be run.
        """
        check_words(argv)
        try:
            process = self._started(argv)
        except OSError as error:
            code = 127 if isinstance(error, FileNotFoundError) else 126
            return Completed(exit_code=code, stdout=b"", stderr=os.fsencode(f"{argv[0]}: {error.strerror}\n"))
        limit = limit or limits.SCRIPT
        kept = Kept(limit, on_stdout, on_stderr)
        try:
            code = pump(
                process, blocks(stdin), on_stdout=kept.stdout, on_stderr=kept.stderr, timeout=timeout, total=limit.seconds
            )
        except TooMuchError as error:
            raise OverLimitError(over_limit(self.where, f"run {shown(argv)}", error)) from None
        except SilenceError:
            message = f"{self.where}: this command wrote and read nothing for {timeout:g} s, so it was ended: {shown(argv)}"
            raise ConnectionLostError(message) from None
        finally:
            process.close()
        return Completed(exit_code=code, stdout=kept.out.content(), stderr=kept.err.content())

    def put(self, local: Path, remote: str, *, progress: Progress = ignore_progress) -> None:
        """Copy `local` to the path `remote`, atomically.

        Raises:
            TransportError: A file cannot be read or written.
        """
        _copy(local, Path(remote), progress)

    def get(self, remote: str, local: Path, *, progress: Progress = ignore_progress) -> None:
        """Copy the path `remote` to `local`, atomically.

        Raises:
            TransportError: A file cannot be read or written.
        """
        _copy(Path(remote), local, progress)

    def close(self) -> None:
        """End a program that was started by `begin` but not run."""
        begun = self._take()
        if begun:
            begun[1].drop()

    def _take(self) -> "tuple[tuple[str, ...], _LocalProcess] | None":
        with self._lock:
            begun, self._begun = self._begun, None
        return begun

    def _started(self, argv: Sequence[str]) -> _LocalProcess:
        begun = self._take()
        if begun and begun[0] == tuple(argv):
            return begun[1]
        if begun:
            begun[1].drop()
        return _LocalProcess(argv)

    def __enter__(self) -> Self:
        """Return the transport."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the transport."""
        self.close()


def _copy(source: Path, target: Path, progress: Progress) -> None:
    try:
        with source.open("rb") as reading:
            status = os.fstat(reading.fileno())
            done = 0
            progress(done, status.st_size)
            with whole_file(target, executable=bool(status.st_mode & 0o100)) as writing:
                while block := reading.read(_COPY_BLOCK):
                    writing.write(block)
                    done += len(block)
                    progress(done, status.st_size)
    except OSError as error:
        message = f"cannot copy {source} to {target}: {error.strerror} ({error.filename or target})"
        raise TransportError(message) from error
