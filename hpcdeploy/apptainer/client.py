"""The Apptainer client on this machine: spython's, with the parts replaced that hide a failure.

spython 0.3.14 names the program ``singularity`` whatever there is, asks for sudo, drops the outcome of a build, and reads
one pipe only, which stops for ever once the other is full (spython ``main/base/command.py``, ``main/build.py``,
``utils/terminal.py``). Here the program is looked up, both pipes are one, and a failure is an exception. Importing this
module imports spython: flows do so when they need it.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from spython.main.base import Client

from hpcdeploy.apptainer.diagnosis import NO_PROGRAM_BEGINS
from hpcdeploy.apptainer.options import build_argument
from hpcdeploy.apptainer.progress import KEPT_LINES, SEARCHED
from hpcdeploy.apptainer.version import Version, parse_version
from hpcdeploy.errors import BuildError, MissingProgramError
from hpcdeploy.limits import LONGEST_LINE, Lines, interrupts_held

PROGRAMS = ("apptainer", "singularity")
BEGUN = "HPCDEPLOY_BEGUN"
Line = Callable[[str], None]
Mask = Callable[[str], str]


class CommandFailedError(BuildError):
    """A command of the client ended badly; ``tail`` are the last lines that it wrote."""

    def __init__(self, argv: Sequence[str], exit_code: int, tail: Sequence[str]) -> None:
        last = "\n".join(f"  {line}" for line in tail[-15:])
        super().__init__(f"'{' '.join(argv[:2])}' ended with exit code {exit_code}; its last lines:\n{last}")
        self.exit_code = exit_code
        self.tail = tuple(tail)


def ignore_line(_line: str) -> None:
    """Take a line and do nothing."""


def as_it_is(line: str) -> str:
    """Give a line back as it is."""
    return line


def find_program(name: str = "") -> str:
    """Return the path of ``apptainer``, else of ``singularity``, else of the program `name` alone where one is given."""
    names = (name,) if name else PROGRAMS
    for candidate in names:
        path = shutil.which(candidate)
        if path:
            return path
    raise MissingProgramError(
        f"{' or '.join(names)} is not on this machine's PATH; install Apptainer, or build on a cluster that has it: "
        "hpcdeploy build --on CLUSTER"
    )


class ApptainerClient(Client):  # type: ignore[misc]  # spython carries no types
    """spython's client for one resolved `program`."""

    def __init__(self, program: str = "", *, kept_back: Collection[str] = ()) -> None:
        """Look the program up; `MissingProgramError` where there is none. The variables `kept_back` are not passed on."""
        super().__init__()
        self.kept_back = kept_back
        self.program = find_program(program)
        self.quiet = False
        self.debug = False

    def version(self) -> Version:
        """Ask the program for its version."""
        return parse_version("\n".join(self._run_command(self._init_command("--version"))))

    def build(
        self,
        definition: Path,
        image: Path,
        *,
        build_args: Sequence[tuple[str, str]] = (),
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        on_line: Line = ignore_line,
        mask: Mask = as_it_is,
    ) -> None:
        """Build `image`, which appears whole or not at all; relative ``%files`` are those of the definition's folder.

        `options` are further ones of ``build``, `environment` is added to the client's. Every line passes `mask` before
        anybody sees it. Raises `CommandFailedError`, also for an image in which no program begins.
        """
        part = image.with_name(f".{image.name}.part")
        part.unlink(missing_ok=True)
        arguments = [word for name, value in build_args for word in ("--build-arg", build_argument(name, value))]
        command = [*self._init_command("build"), *arguments, *options, str(part.absolute()), definition.name]
        try:
            self._run_command(command, cwd=definition.parent, environ=environment, on_line=on_line, mask=mask)
            self._check_begins(part.absolute(), environment)
            part.replace(image)
        finally:
            part.unlink(missing_ok=True)

    def _check_begins(self, image: Path, environment: Mapping[str, str] | None) -> None:
        """Raise `CommandFailedError` where the image's environment script ends with 0 before a program begins.

        ``%test`` then passes without a line of it having run, and every job ends well without its program. An image that
        this machine cannot start, or whose environment fails, is no such image: there the job says so.
        """
        command = [*self._init_command("exec"), "--no-eval", "--pwd", "/", str(image), "/bin/sh", "-c", f"echo {BEGUN}"]
        try:
            lines = self._run_command(command, cwd=image.parent, environ=environment)
        except CommandFailedError:
            return
        if not any(BEGUN in line for line in lines):
            raise CommandFailedError(command, 0, (NO_PROGRAM_BEGINS,))

    def _init_command(self, action: str | Sequence[str], flags: Sequence[str] | None = None) -> list[str]:
        words = [action] if isinstance(action, str) else list(action)
        return [self.program, *(flags or ()), *words]

    def _run_command(
        self,
        cmd: Sequence[str],
        *,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        on_line: Line = ignore_line,
        mask: Mask = as_it_is,
        **_spython: object,
    ) -> list[str]:
        """Run a command to its end and return its lines. What spython passes besides (sudo, quiet) has no effect."""
        tail: deque[str] = deque(maxlen=KEPT_LINES)
        process: subprocess.Popen[bytes] | None = None
        kept = {name: value for name, value in {**os.environ, **(environ or {})}.items() if name not in self.kept_back}
        try:
            with interrupts_held():
                process = subprocess.Popen(
                    cmd,
                    cwd=cwd,
                    env=kept,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    umask=0o022,  # folders that a build makes take it into the image
                )
            assert process.stdout is not None
            with process.stdout:
                for line in _lines(process.stdout):
                    tail.append(mask(line.decode(errors="replace"))[:LONGEST_LINE])
                    on_line(tail[-1])
                exit_code = process.wait()
        finally:
            if process is not None and process.poll() is None:
                _end(process, patience=10)
        if exit_code:
            raise CommandFailedError(cmd, exit_code, tuple(tail))
        return list(tail)


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Give the lines of a stream as they come; one that is too long to be searched for secrets is left out."""
    lines = Lines(SEARCHED, whole=True)
    while piece := os.read(stream.fileno(), 64 * 1024):
        yield from lines.take(piece)
    if rest := lines.rest():
        yield rest


def _end(process: "subprocess.Popen[bytes]", patience: float) -> None:
    """End a process with its children; Apptainer gets `patience` seconds to clean up."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=patience)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
