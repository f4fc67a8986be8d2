"""Run scripts on a cluster's login node: the connection, the retries, and a script's output."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConnectionLostError, HpcdeployError, OverLimitError, SchedulerError
from hpcdeploy.frozen import frozen
from hpcdeploy.limits import OutputLimit
from hpcdeploy.progress import Progress, ignore_output, ignore_progress
from hpcdeploy.remote.answers import MARK, SHELL, Answer, ErrorOutput, last_lines, read_answer
from hpcdeploy.transport.contract import Completed, Input, Output, Transport

_Result = TypeVar("_Result")

_SHOWN = 500
"""Maximum number of characters of standard error in a message."""

_NOT_BASH = b"error: this script is for bash"
"""Start of the error that a script prints if a shell other than bash reads the script (`login/state.sh`)."""

_LAST_EXIT_CODE = 128
"""Largest exit code of our scripts. A larger one means that a signal N killed the script: a shell reports it as 128 + N."""

_LAST_SIGNAL = 64
"""Largest number of a signal (signal(7), SIGRTMAX)."""


@frozen
class RetryPolicy:
    """How often, and with which pauses, a call is repeated after a lost connection.

    Only idempotent calls are repeated. Each caller decides after which errors it tries again. No caller tries again if the
    first connection was rejected.

    Attributes:
        pauses: Pauses before the second attempt, the third attempt and so on, in seconds. The attempt after the last pause
            is the last one.
        growth: The factor by which pauses grow if the number of attempts is not limited (``logs --follow``).
        longest: The maximum pause in seconds if the number of attempts is not limited.
    """

    pauses: tuple[float, ...] = (1, 2, 4)
    growth: float = 1.5
    longest: float = 60.0

    def after(self, pause: float) -> float:
        """Return the pause that follows `pause`, if the number of attempts is not limited."""
        return min(pause * self.growth, self.longest)


@frozen
class ScriptResult:
    """The output and exit code of a script on a login node.

    Attributes:
        where: The machine's name, for messages.
        completed: The exit code and the output of the script.
        message: The error line of the script, or the last lines of its standard error.
    """

    where: str
    completed: Completed
    message: str

    @property
    def exit_code(self) -> int:
        """The exit code; negative for the signal that killed the script."""
        return self.completed.exit_code

    @property
    def stdout(self) -> bytes:
        """The part of standard output that was kept."""
        return self.completed.stdout

    @property
    def errors(self) -> str:
        """The part of standard error that was kept, as text."""
        return self.completed.stderr.decode("utf-8", "replace").strip()

    @property
    def end_of_errors(self) -> str:
        """The end of standard error, for a message."""
        return self.errors[-_SHOWN:]

    @property
    def signal(self) -> int:
        """The number of the signal that killed the script; 0 if none did."""
        if self.exit_code < 0:
            return -self.exit_code
        number = self.exit_code - _LAST_EXIT_CODE
        return number if 0 < number <= _LAST_SIGNAL else 0

    def answer(self) -> Answer | None:
        """Return the values that the script printed as its answer, or None if it printed none.

        Raises:
            ValueError: The answer is not JSON.
        """
        return read_answer(self.stdout)

    def check_began(self, error: type[HpcdeployError] = SchedulerError) -> None:
        """Check that the script began.

        Raises:
            HpcdeployError: The login shell ended before it read the script; the class is `error`.
        """
        if not _began(self.stdout, self.completed.stderr):
            raise error(_never_began_message(self.where, self.completed.stderr))


def _began(stdout: bytes, stderr: bytes) -> bool:
    """Tell from the output of a script whether the script began. A script that did not begin has done nothing.

    If a shell other than bash read the script, the script began as well: it printed an error (`login/state.sh`).
    """
    return MARK in stdout or _NOT_BASH in stderr


def _never_began_message(where: str, stderr: bytes) -> str:
    """Return the message for a login shell on `where` that ended, with `stderr`, before it read the script."""
    errors = stderr.decode("utf-8", "replace").strip()[-_SHOWN:]
    return (
        f"the login shell on {where} ended before it read hpcdeploy's script, and nothing was done. The likely cause is a "
        "login profile there (/etc/profile, ~/.bash_profile, ~/.profile, ~/.bashrc) that calls exit, execs zsh, or "
        "reads standard input. Do that in interactive shells only: case $- in *i*) ... ;; esac. "
        f"Its standard error: {errors or '(nothing)'}"
    )


class Link:
    """The connection to a cluster's login node: opened on first use, and again after it was lost."""

    def __init__(self, connect: Callable[[], Transport], pinned_to: "Link | None" = None) -> None:
        self._connect = connect
        self._pinned_to = pinned_to
        self._open: Transport | None = None

    def open(self) -> Transport:
        """Return the connection; the caller must not close it.

        Raises:
            ConfigError: The SSH configuration is malformed.
        """
        if self._open is None:
            self._open = self._connect()
        return self._open

    def close(self) -> None:
        """Close the connection, if there is one; the next use opens a new one."""
        dead, self._open = self._open, None
        if dead is None:
            return
        if self._pinned_to and self._pinned_to._open is dead:
            self._pinned_to.abandon()
        dead.close()

    def abandon(self) -> None:
        """Forget the connection without closing it, because another thread is blocked on it."""
        self._open = None

    def pinned(self) -> "Link":
        """Return a link for another thread. It uses the same connection, and keeps it even if this link abandons it."""
        return Link(self.open, self)


@frozen
class Session:
    """A cluster's login node, and the project whose templates are used for the scripts that run there.

    Attributes:
        cluster: The cluster.
        link: The connection; other sessions may share it.
        overrides: The project's folder, whose own templates replace the built-in ones; None for the built-in ones.
        retry: The retry policy.
    """

    cluster: Cluster
    link: Link
    overrides: Path | None = None
    retry: RetryPolicy = RetryPolicy()

    @property
    def where(self) -> str:
        """The machine's name, for messages."""
        return self.link.open().where

    def begin(self, shell: Sequence[str] = SHELL) -> None:
        """Connect and start `shell` in the background, because it will be used soon."""
        self.link.open().begin(shell)

    def run(
        self,
        script: str,
        *,
        shell: Sequence[str] = SHELL,
        report: Output = ignore_output,
        timeout: float | None = None,
        limit: OutputLimit | None = None,
    ) -> ScriptResult:
        """Run a script, and check that it began. The check is omitted if a signal killed the script.

        Args:
            script: The text of the script.
            shell: The command that reads the script from standard input.
            report: Receives the script's standard error line by line, except for a final error line, which becomes the
                result's message.
            timeout: Maximum time in seconds without output; None for no limit.
            limit: Limits of the script's output and run time; None for `hpcdeploy.limits.SCRIPT`.

        Raises:
            TransportError: The machine cannot be reached; nothing was done.
            ConnectionLostError: The connection was lost, or `timeout` is over; the script may have done its work.
            OverLimitError: The script exceeded `limit`, and was ended; it may have done its work.
            SchedulerError: The login shell did not run the script; nothing was done.
        """
        errors, connection = ErrorOutput(report), self.link.open()
        text = script.encode("utf-8", "surrogateescape")
        completed = connection.run(shell, stdin=text, on_stderr=errors.take, timeout=timeout, limit=limit)
        result = ScriptResult(where=connection.where, completed=completed, message=errors.message(completed))
        if not result.signal:
            result.check_began()
        return result

    def stream(
        self,
        argv: Sequence[str],
        *,
        stdin: Input,
        on_stdout: Output = ignore_output,
        on_stderr: Output = ignore_output,
        limit: OutputLimit | None = None,
    ) -> ScriptResult:
        """Run a command whose standard input may contain data; the caller calls `ScriptResult.check_began` if necessary.

        Args:
            argv: The command, usually a shell.
            stdin: The standard input: usually a script, and data after it.
            on_stdout: Receives standard output.
            on_stderr: Receives standard error.
            limit: Limits of the command's output and run time; None for `hpcdeploy.limits.SCRIPT`.

        Raises:
            TransportError: The machine cannot be reached; nothing was done.
            ConnectionLostError: The connection was lost; the command may have run.
            OverLimitError: The command exceeded `limit`, and was ended.
        """
        connection = self.link.open()
        completed = connection.run(argv, stdin=stdin, on_stdout=on_stdout, on_stderr=on_stderr, limit=limit)
        return ScriptResult(where=connection.where, completed=completed, message=last_lines(completed.stderr))

    def repeat(self, attempt: Callable[[], _Result]) -> _Result:
        """Return the result of `attempt`, which must be idempotent; call it again after a lost connection.

        Raises:
            ConnectionLostError: The connection was lost in each attempt.
            OverLimitError: The output exceeds its limit. It is not called again, because the output would be as long again.
        """
        for pause in self.retry.pauses:
            try:
                return attempt()
            except OverLimitError:
                raise
            except ConnectionLostError:
                self.reconnect()
                time.sleep(pause)
        return attempt()

    def put(self, local: Path, remote: str, *, progress: Progress = ignore_progress) -> None:
        """Copy a file to the absolute path `remote`, atomically.

        Raises:
            TransportError: A file cannot be read or written, or the connection failed.
        """
        self.link.open().put(local, remote, progress=progress)

    def get(self, remote: str, local: Path, *, progress: Progress = ignore_progress) -> None:
        """Copy the file at the absolute path `remote` to `local`, atomically.

        Raises:
            TransportError: A file cannot be read or written, or the connection failed.
        """
        self.link.open().get(remote, local, progress=progress)

    def reconnect(self) -> None:
        """Close a broken connection; the next use opens a new one."""
        self.link.close()

    def abandon(self) -> None:
        """Forget the connection without closing it, because another thread is blocked on it."""
        self.link.abandon()

    def pinned(self) -> "Session":
        """Return a session with the same connection for another thread, which keeps it even if this session abandons it."""
        return replace(self, link=self.link.pinned())


SessionOf = Callable[[str], Session]
"""Return the session with a cluster, by its name in the settings."""
