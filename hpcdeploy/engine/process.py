"""Start a command line as a process, either with our own standard streams or with captured output."""

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
    """Run `command` with our own standard streams; return its exit code, or 128 + n if signal n killed it.

    Signals that would end this process are forwarded to the command instead, so that the command decides how to react.
    SIGINT and SIGQUIT are not forwarded if this process is in the foreground of a terminal. There Ctrl-C and Ctrl-\\ send
    the signal to all processes in the foreground (termios(3), ISIG), so the command already has it.

    Raises:
        ConfigError: Other users can replace files in the parent of the command's folder.
        OSError: The command cannot be started, or its folder cannot be created.
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
    """Run `command` without input; return its output and exit code, which the caller checks.

    The limit of the run time is a day, because the command may download an image.

    Raises:
        InstanceError: The command printed more than the limit of `run_program`, or ran for more than a day.
        OSError: The command cannot be started.
    """
    try:
        done = run_program(command.argv, seconds=DAY, environment=_environment(command, environment))
    except TooMuchError as error:
        raise InstanceError(
            f"hpcdeploy stopped '{' '.join(command.argv[:2])}', whose output or run time exceeded the limit ({error}); "
            "run the command yourself to see its output"
        ) from error
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    return subprocess.CompletedProcess(command.argv, done.returncode, out, err)


@contextmanager
def _program(command: Command) -> "Iterator[None]":
    """Create the command's folder with mode 0700, write the program into it, and remove the folder when the block ends.

    Raises:
        ConfigError: Other users can replace files in the parent of the folder, and so could replace the program.
        OSError: The folder or the program cannot be written.
    """
    if not command.folder:
        yield
        return
    folder = Path(command.folder)
    if folder.parent.is_dir() and not safe_for_temporary(folder.parent):
        raise ConfigError(
            f"other users can replace files in {folder.parent}, the folder for temporary files. Expected a folder that "
            "belongs to you or root, and that has the sticky bit or that others cannot write to: set TMPDIR to such a folder"
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
