"""Run Apptainer: find the program, check its version, and build images."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from hpcdeploy.apptainer.build_progress import KEPT_LINES, SEARCHED
from hpcdeploy.apptainer.diagnosis import NO_PROGRAM_BEGINS
from hpcdeploy.definition.checking import newer_than
from hpcdeploy.errors import BuildError, MissingProgramError
from hpcdeploy.frozen import frozen
from hpcdeploy.limits import LONGEST_LINE, Lines, interrupts_held

_SPECIAL = frozenset(',"\r\n')


def build_argument(name: str, value: str) -> str:
    """Return the value of ``--build-arg`` that sets the argument `name` to exactly `value`.

    Apptainer declares the option as a list of strings (``buildVarArgsFlag`` in cmd/internal/cli/build.go, registered by
    ``StringSliceVarP`` in pkg/cmdline/flag.go; Apptainer 1.4.5 and 1.5.3), and pflag parses every value of such an option as
    one CSV record (``readAsCSV`` in string_slice.go of pflag 1.0.6 and 1.0.10). There a comma starts another argument, and a
    double quote is an error. So such a value is written as one quoted field (RFC 4180, section 2).
    """
    word = f"{name}={value}"
    return '"' + word.replace('"', '""') + '"' if _SPECIAL & set(word) else word


_VERSION = re.compile(
    r"(?P<program>apptainer|singularity-ce|singularity-pro|singularity) version "
    r"(?P<numbers>[0-9]{1,9}(?:\.[0-9]{1,9})*)(?![0-9])"
)

TEMPLATES = {"apptainer": (1, 2, 0), "singularity-ce": (4, 0, 0), "singularity-pro": (4, 0, 0)}
"""First versions with ``{{ NAME }}``, ``%arguments`` and ``--build-arg`` (the CHANGELOGs of both projects)."""

EMPTY_ARGUMENTS = {"apptainer": (1, 2, 4), "singularity-ce": (4, 0, 0), "singularity-pro": (4, 0, 0)}
"""First versions that accept an empty build argument (CHANGELOG of Apptainer 1.2.4)."""

CORRUPTING = (("apptainer", (1, 5, 0)),)
"""Versions that may silently write a damaged SIF, when mksquashfs dies under proot (CHANGELOG of Apptainer 1.5.1)."""


@frozen
class Version:
    """A program's name and version; ``text`` is its unchanged output."""

    program: str
    numbers: tuple[int, ...]
    text: str

    @property
    def short(self) -> str:
        """Name and number: ``apptainer 1.4.5``."""
        return f"{self.program} {'.'.join(map(str, self.numbers))}"


def parse_version(text: str) -> Version:
    """Parse the output of ``apptainer --version``.

    Raises:
        BuildError: It is malformed.
    """
    match = _VERSION.search(text)
    if match is None:
        raise BuildError(
            f"{text.strip()[:200]!r} was printed; expected 'apptainer version 1.4.5': check that the program is Apptainer"
        )
    numbers = tuple(int(part) for part in match["numbers"].split("."))
    return Version(program=match["program"], numbers=numbers, text=text.strip())


def check_version(version: Version, *, empty_argument: bool = False, headers: Iterable[Mapping[str, str]] = ()) -> None:
    """Raise `BuildError` if `version` cannot build our definitions, or may damage the image.

    `headers` are those of the definition's stages, because bootstrap agents depend on the version.
    """
    first = TEMPLATES.get(version.program)
    if first is None or version.numbers < first:
        raise BuildError(
            f"{version.short} cannot build this definition: build arguments require Apptainer 1.2 or SingularityCE 4.0; "
            "load or install a newer one"
        )
    if empty_argument and version.numbers < EMPTY_ARGUMENTS[version.program]:
        raise BuildError(
            f"{version.short} does not accept an empty build argument, which requires 1.2.4; give the argument a value"
        )
    if (version.program, version.numbers) in CORRUPTING:
        raise BuildError(f"{version.short} can write damaged images (fixed in 1.5.1); load or install another version")
    unknown = dict.fromkeys(what for header in headers for what in newer_than(header, version.program, version.numbers))
    if unknown:
        raise BuildError(
            f"{version.short} does not support {' and '.join(unknown)}, which the definition uses; load or install a newer "
            "one, or build elsewhere"
        )


PROGRAMS = ("apptainer", "singularity")
BEGUN = "HPCDEPLOY_BEGUN"
Line = Callable[[str], None]
Mask = Callable[[str], str]


class CommandFailedError(BuildError):
    """A command of the client failed; ``tail`` has its last lines of output."""

    def __init__(self, argv: Sequence[str], exit_code: int, tail: Sequence[str]) -> None:
        last = "\n".join(f"  {line}" for line in tail[-15:])
        super().__init__(f"'{' '.join(argv[:2])}' ended with exit code {exit_code}; its last lines:\n{last}")
        self.exit_code = exit_code
        self.tail = tuple(tail)


def ignore_line(_line: str) -> None:
    """Ignore a line."""


def as_it_is(line: str) -> str:
    """Return a line unchanged."""
    return line


def find_program(name: str = "") -> str:
    """Return the path of ``apptainer``, else of ``singularity``; if `name` is given, only of that program.

    Raises:
        MissingProgramError: There is none on PATH.
    """
    names = (name,) if name else PROGRAMS
    for candidate in names:
        path = shutil.which(candidate)
        if path:
            return path
    raise MissingProgramError(
        f"{' or '.join(names)} is not on this machine's PATH; install Apptainer, or build on a cluster that has it: "
        "hpcdeploy build --on CLUSTER"
    )


class ApptainerClient:
    """Run one resolved `program`. spython composes the commands; their output and exit codes are ours.

    spython's own ``run_command`` returns the output only after the command has ended (``communicate`` in
    ``spython/utils/terminal.py``, 0.3).
    """

    def __init__(self, program: str = "", *, kept_back: Collection[str] = ()) -> None:
        """Find the program; the variables `kept_back` are not passed to it.

        Raises:
            MissingProgramError: There is none on PATH.
        """
        self.kept_back = kept_back
        self.program = find_program(program)
        from spython.main.base import Client  # takes long to import, and only a build needs it

        self._spython = Client()
        self._spython.quiet = self._spython.debug = False  # whatever MESSAGELEVEL is

    def version(self) -> Version:
        """Return the program's version.

        Raises:
            CommandFailedError: The program failed.
            BuildError: Its output is malformed.
        """
        return parse_version("\n".join(self._run(self._command("--version"))))

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
        """Build `image` atomically; relative ``%files`` start at the definition's folder.

        Args:
            definition: The definition.
            image: The path of the image.
            build_args: Build arguments.
            options: Further options of ``build``.
            environment: Additional environment variables.
            on_line: Receives each line of output.
            mask: Removes secrets from each line first.

        Raises:
            CommandFailedError: The build failed, or no program starts in the image.
        """
        part = image.with_name(f".{image.name}.part")
        part.unlink(missing_ok=True)
        arguments = [word for name, value in build_args for word in ("--build-arg", build_argument(name, value))]
        command = [*self._command("build"), *arguments, *options, str(part.absolute()), definition.name]
        try:
            self._run(command, cwd=definition.parent, environ=environment, on_line=on_line, mask=mask)
            self._check_begins(part.absolute(), environment)
            part.replace(image)
        finally:
            part.unlink(missing_ok=True)

    def _check_begins(self, image: Path, environment: Mapping[str, str] | None) -> None:
        """Raise `CommandFailedError` if the image's environment script ends with 0 before a program starts.

        In such an image ``%test`` passes without running a line, and every job succeeds without its program. An image that
        this machine cannot start, or whose environment fails, is different: its jobs report that.
        """
        command = [*self._command("exec"), "--no-eval", "--pwd", "/", str(image), "/bin/sh", "-c", f"echo {BEGUN}"]
        try:
            lines = self._run(command, cwd=image.parent, environ=environment)
        except CommandFailedError:
            return
        if not any(BEGUN in line for line in lines):
            raise CommandFailedError(command, 0, (NO_PROGRAM_BEGINS,))

    def _command(self, action: str) -> list[str]:
        words: list[str] = self._spython._init_command(action)
        return [self.program, *words[1:]]

    def _run(
        self,
        cmd: Sequence[str],
        *,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        on_line: Line = ignore_line,
        mask: Mask = as_it_is,
    ) -> list[str]:
        """Run a command to its end and return its last lines.

        Raises:
            CommandFailedError: Its exit code is not 0.
        """
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
                _end(process, timeout=10)
        if exit_code:
            raise CommandFailedError(cmd, exit_code, tuple(tail))
        return list(tail)


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a stream; one that is too long to be searched for secrets is replaced by its length."""
    lines = Lines(SEARCHED, whole=True)
    while piece := os.read(stream.fileno(), 64 * 1024):
        yield from lines.take(piece)
    if rest := lines.rest():
        yield rest


def _end(process: "subprocess.Popen[bytes]", timeout: float) -> None:
    """End a process with its children; Apptainer gets `timeout` seconds to clean up."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=timeout)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
