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
from hpcdeploy.image import Compression
from hpcdeploy.limits import LONGEST_LINE, Lines, interrupts_held

_SPECIAL = frozenset(',"\r\n')


def build_argument(name: str, value: str) -> str:
    """Return the value of ``--build-arg`` that sets the argument `name` to exactly `value`.

    Apptainer parses each value of this option as a CSV record. In CSV a comma would start another argument, and a double
    quote would be an error. So a value with a comma, a double quote or a line break is written as one quoted CSV field
    (RFC 4180, section 2).

    Sources: Apptainer 1.4.5 and 1.5.3 (``buildVarArgsFlag`` in cmd/internal/cli/build.go, registered by ``StringSliceVarP``
    in pkg/cmdline/flag.go); pflag 1.0.6 and 1.0.10 (``readAsCSV`` in string_slice.go).
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

OTHER_PROCESSORS = (1, 4, 0)
"""First version with ``build --arch`` (CHANGELOG of Apptainer 1.4.0)."""

CORRUPTING = (("apptainer", (1, 5, 0)),)
"""Versions that write a damaged SIF without an error if mksquashfs crashes under proot (CHANGELOG of Apptainer 1.5.1)."""


@frozen
class Version:
    """The name and version of Apptainer or SingularityCE.

    Attributes:
        program: The name, such as ``apptainer`` or ``singularity-ce``.
        numbers: The numbers of the version, such as ``(1, 4, 5)``.
        text: The unchanged output of ``--version``, without surrounding blanks.
    """

    program: str
    numbers: tuple[int, ...]
    text: str

    @property
    def short(self) -> str:
        """The name and the version, such as ``apptainer 1.4.5``."""
        return f"{self.program} {'.'.join(map(str, self.numbers))}"


def parse_version(text: str) -> Version:
    """Parse the output of ``apptainer --version``.

    Raises:
        BuildError: The output contains no version of Apptainer or SingularityCE.
    """
    match = _VERSION.search(text)
    if match is None:
        raise BuildError(
            f"'apptainer --version' printed {text.strip()[:200]!r}; expected a text such as 'apptainer version 1.4.5': "
            "check that the program is Apptainer"
        )
    numbers = tuple(int(part) for part in match["numbers"].split("."))
    return Version(program=match["program"], numbers=numbers, text=text.strip())


def check_version(
    version: Version,
    *,
    empty_argument: bool = False,
    headers: Iterable[Mapping[str, str]] = (),
    emulated: bool = False,
) -> None:
    """Raise `BuildError` if `version` cannot build the definition, or may write a damaged image.

    Args:
        version: The program that will build.
        empty_argument: Whether a build argument has an empty value.
        headers: The header of each stage of the definition. It names the bootstrap agent, and not all versions have all
            agents.
        emulated: Whether the image is for another processor than that of the building machine.
    """
    first = TEMPLATES.get(version.program)
    if first is None or version.numbers < first:
        raise BuildError(
            f"{version.short} cannot build this definition: build arguments require Apptainer 1.2 or SingularityCE 4.0; "
            "load or install a newer one"
        )
    if empty_argument and version.numbers < EMPTY_ARGUMENTS[version.program]:
        raise BuildError(
            f"{version.short} does not accept an empty build argument (Apptainer 1.2.4 does); give the argument a value, or "
            "load or install a newer version"
        )
    if emulated and (version.program != "apptainer" or version.numbers < OTHER_PROCESSORS):
        raise BuildError(
            f"{version.short} cannot build an image for another processor (Apptainer 1.4 does); load or install Apptainer "
            "1.4 or later, or build on a machine with that processor"
        )
    if (version.program, version.numbers) in CORRUPTING:
        raise BuildError(f"{version.short} can write damaged images (fixed in 1.5.1); load or install another version")
    unknown = dict.fromkeys(what for header in headers for what in newer_than(header, version.program, version.numbers))
    if unknown:
        raise BuildError(
            f"{version.short} does not support {' and '.join(unknown)}, which the definition uses; load or install a newer "
            "one, or build elsewhere"
        )


_SQUASHFS = re.compile(r"mksquashfs version (?P<version>[0-9][0-9A-Za-z.-]{0,40})")


def squashfs_version(program: str = "mksquashfs") -> tuple[tuple[str, str], ...]:
    """Return the name and version of mksquashfs; nothing if there is none. Apptainer uses the one on PATH."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            [program, "-version"],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=10,
            env={"PATH": os.environ.get("PATH", os.defpath)},  # without variables that contain secrets of the build
        )
        if found := _SQUASHFS.search(done.stdout.decode(errors="replace")):
            return (("mksquashfs", found["version"]),)
    return ()


PROGRAMS = ("apptainer", "singularity")
BEGUN = "HPCDEPLOY_BEGUN"
Line = Callable[[str], None]
Mask = Callable[[str], str]


class CommandFailedError(BuildError):
    """A command of the client failed.

    Attributes:
        exit_code: The exit code of the command.
        tail: The last lines of its output, at most `KEPT_LINES`.
    """

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
    """Return the path of a program on PATH: of `name` if it is given, else of ``apptainer``, else of ``singularity``.

    Raises:
        MissingProgramError: None of these programs is on PATH.
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
    """Run the commands of one installed Apptainer or SingularityCE.

    spython only composes the commands. This class runs them, because ``run_command`` of spython returns the output only
    after the command has ended (``communicate`` in ``spython/utils/terminal.py``, 0.3).
    """

    def __init__(self, program: str = "", *, kept_back: Collection[str] = ()) -> None:
        """Find the program on PATH.

        Args:
            program: The name or path of the program; empty for ``apptainer``, else ``singularity``.
            kept_back: The names of environment variables that the program must not inherit.

        Raises:
            MissingProgramError: The program is not on PATH.
        """
        self.kept_back = kept_back
        self.program = find_program(program)
        from spython.main.base import Client  # imported here, because the import is slow and only a build needs it

        self._spython = Client()
        # Otherwise the environment variable MESSAGELEVEL could add options to the commands.
        self._spython.quiet = self._spython.debug = False

    def version(self) -> Version:
        """Return the program's version.

        Raises:
            CommandFailedError: The program failed.
            BuildError: The output contains no version of Apptainer or SingularityCE.
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
        """Build `image` atomically. Relative paths in ``%files`` start at the definition's folder.

        Args:
            definition: The path of the definition file.
            image: The path of the new image. An existing file is replaced only if the build succeeds.
            build_args: The build arguments, as pairs of name and value.
            options: Further options of ``build``.
            environment: Environment variables in addition to those of this process.
            on_line: Receives each line of output, after `mask`.
            mask: Replaces secrets in a line.

        Raises:
            CommandFailedError: The build failed, or no program starts in the image (`_check_begins`).
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

    def compressing(self, compression: Compression) -> list[str]:
        """Return the option of ``build`` that sets the compressor; empty if this version has no such option.

        The value follows a ``=``: with a separate value, Apptainer 1.4.5 deletes letters of it when it starts itself again.
        """
        try:
            described = self._run([*self._command("build"), "--help"])
        except CommandFailedError:
            return []
        if not any("--mksquashfs-args" in line for line in described):
            return []
        return [f"--mksquashfs-args={' '.join(compression.options)}"]

    def test(
        self,
        image: Path,
        *,
        environment: Mapping[str, str] | None = None,
        on_line: Line = ignore_line,
        mask: Mask = as_it_is,
    ) -> None:
        """Run the image's ``%test``, as ``build`` does: in the root folder, without the user's home folder.

        Raises:
            CommandFailedError: The test failed.
        """
        command = [*self._command("test"), "--no-home", "--pwd", "/", str(image.absolute())]
        self._run(command, cwd=image.parent, environ=environment, on_line=on_line, mask=mask)

    def starts(self, image: Path) -> bool:
        """Tell whether this machine can start a program in an image."""
        try:
            self._run([*self._command("exec"), "--no-eval", "--pwd", "/", str(image.absolute()), "/bin/sh", "-c", ":"])
        except CommandFailedError:
            return False
        return True

    def _check_begins(self, image: Path, environment: Mapping[str, str] | None) -> None:
        """Raise `CommandFailedError` if the image's environment script exits with 0 before the program starts.

        In an image with this fault, ``%test`` passes without running a line, and every job succeeds without running its
        program. So the build must report the fault. If ``exec`` fails instead, the build succeeds: either this machine
        cannot start the image, or the environment script fails, and then each job reports its error.
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
        """Run a command to its end, and return the last lines of its output (at most `KEPT_LINES`).

        Raises:
            CommandFailedError: The exit code of the command is not 0.
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
                    close_fds=False,  # Apptainer inherits the locks of the build; other files are not inheritable (PEP 446)
                    umask=0o022,  # the image contains folders that the build creates, so their mode must not vary
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
    """Yield the lines of a stream. A line of more than `SEARCHED` bytes is replaced by a note with its length."""
    lines = Lines(SEARCHED, whole=True)
    while piece := os.read(stream.fileno(), 64 * 1024):
        yield from lines.take(piece)
    if rest := lines.rest():
        yield rest


def _end(process: "subprocess.Popen[bytes]", timeout: float) -> None:
    """Send SIGTERM to a process and its children, and SIGKILL after `timeout` seconds, in which Apptainer can clean up."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=timeout)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
