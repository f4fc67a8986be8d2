"""The edge: a command line becomes a process, on our own terminal or asked for an answer."""

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

_PASSED_ON = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)


def run_to_end(command: Command, environment: Mapping[str, str] = os.environ) -> int:
    """Run `command` on our own input, output and error; return its exit code, 128 + n where signal n killed it.

    Signals that would end us go to it instead, and it decides. Those that a terminal sends (Ctrl-C, Ctrl-\\) have
    reached it already, as every process in the foreground (termios(3), ISIG).
    """
    process: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if process is None:
            raise SystemExit(128 + number)
        if not (number in {signal.SIGINT, signal.SIGQUIT} and _at_terminal()):
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    try:
        with _program(command):
            process = subprocess.Popen(command.argv, env=_environment(command, environment))
            code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code


def ask(command: Command, environment: Mapping[str, str] = os.environ) -> "subprocess.CompletedProcess[str]":
    """Run `command` with nothing to read; return what it said and its exit code, for the caller to judge.

    Raises `InstanceError` where it says more than an engine does, or takes more than a day: it may pull an image.
    """
    try:
        done = run_program(command.argv, seconds=DAY, environment=_environment(command, environment))
    except TooMuchError as error:
        raise InstanceError(f"'{' '.join(command.argv[:2])}' was ended: it wrote {error}; see what it does") from error
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    return subprocess.CompletedProcess(command.argv, done.returncode, out, err)


@contextmanager
def _program(command: Command) -> "Iterator[None]":
    """Lay the program out in its folder, which nobody else can look into, for as long as the block runs.

    Raises `ConfigError` where others could put another program in its place.
    """
    if not command.folder:
        yield
        return
    folder = Path(command.folder)
    if folder.parent.is_dir() and not safe_for_temporary(folder.parent):
        raise ConfigError(
            f"others can exchange what lies in {folder.parent}, the folder for temporary files; expected one of yours or "
            "root's, to which nobody else may write or which has the sticky bit: set TMPDIR to such a folder"
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
    """Tell whether we are in the foreground of a terminal."""
    try:
        with Path("/dev/tty").open("rb") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
