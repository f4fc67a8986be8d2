"""Start a command line as a process, either on our own terminal or with captured output."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from hpcdeploy.engine.contract import Command
from hpcdeploy.errors import ConfigError, InstanceError
from hpcdeploy.limits import DAY, TooMuchError, run_program
from hpcdeploy.private import safe_for_temporary

if TYPE_CHECKING:
    from collections.abc import Iterator

_FORWARDED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)


def run_to_end(command: Command, environment: Mapping[str, str] = os.environ) -> int:
    """Run `command` on our own standard streams; return its exit code, or 128 + n if signal n killed it.

    Signals that would end this process are forwarded to the command instead, which decides how to react. Signals from a
    terminal (Ctrl-C, Ctrl-\\) have already reached it, as every process in the foreground (termios(3), ISIG).

    Raises:
        OSError: The command cannot be started.
        SystemExit: A signal arrived before the command was started.
    """
    process: subprocess.Popen[bytes] | None = None

    def forward(number: int, _frame: FrameType | None) -> None:
        if process is None:
            raise SystemExit(128 + number)
        if not (number in {signal.SIGINT, signal.SIGQUIT} and _at_terminal()):
            process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        with _program(command):
            process = subprocess.Popen(command.argv, env=_environment(command, environment))
            code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code


def ask(command: Command, environment: Mapping[str, str] = os.environ) -> "subprocess.CompletedProcess[str]":
    """Run `command` without input; return its output and exit code, without checking it.

    Raises:
        InstanceError: It printed more than the limit, or ran for more than a day (it may pull an image).
    """
    try:
        done = run_program(command.argv, seconds=DAY, environment=_environment(command, environment))
    except TooMuchError as error:
        raise InstanceError(f"'{' '.join(command.argv[:2])}' was stopped: it wrote {error}; check its output") from error
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    return subprocess.CompletedProcess(command.argv, done.returncode, out, err)


@contextmanager
def _program(command: Command) -> "Iterator[None]":
    """Write the program into its folder, with mode 0700, and remove the folder when the block ends.

    Raises:
        ConfigError: Other users could put another program in its place.
    """
    if not command.folder:
        yield
        return
    folder = Path(command.folder)
    if folder.parent.is_dir() and not safe_for_temporary(folder.parent):
        raise ConfigError(
            f"other users can replace files in {folder.parent}, the folder for temporary files. Expected a folder of "
            "yours or root's that others cannot write to, or that has the sticky bit: set TMPDIR to such a folder"
        )
    folder.mkdir(mode=0o700)
    try:
        (folder / "program.sh").write_bytes(command.program.encode("utf-8", "surrogateescape"))
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environment(command: Command, environment: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in environment.items() if name not in command.without}
    return {**kept, **dict(command.variables)}


def _at_terminal() -> bool:
    """Tell whether this process is in the foreground of a terminal."""
    try:
        with Path("/dev/tty").open("rb") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
