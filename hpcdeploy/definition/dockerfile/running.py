"""Translate the instructions of one stage: track the state that they set, and collect the shell lines."""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hpcdeploy.definition import guard
from hpcdeploy.definition.dockerfile.context import Context, under
from hpcdeploy.definition.dockerfile.copying import HOST_FOLDERS, TEMPORARY_FOLDERS, Copier, Copy, StagedFile, Taken
from hpcdeploy.definition.dockerfile.mounts import Mount, read_mounts, run_lines
from hpcdeploy.definition.dockerfile.parsing import Instruction, pairs
from hpcdeploy.definition.dockerfile.stages import PlannedStage, Stage, Stages, Start, argument_words
from hpcdeploy.definition.dockerfile.words import Lexer, word, words
from hpcdeploy.errors import DefinitionError
from hpcdeploy.source import OciConfig

PROXIES = frozenset(
    name for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY") for name in (proxy, proxy.lower())
)
"""Arguments that every RUN gets without an ARG if the build sets them (Dockerfile reference, "Predefined ARGs")."""

NOT_KEPT = frozenset({"UID", "EUID", "GID", "PPID", "GROUPS", "BASHPID", "SHLVL", "PWD", "OLDPWD", "IFS", "HOME"})
"""Variables that a definition does not set in containers: HOME belongs to the user, and shells set the others themselves."""

PORTS = "io.github.hpcdeploy.ports"
"""The label with the ports of EXPOSE. A container uses the host's network, so no port must be published."""

_LOST = {
    "chown": "--chown has no effect: every file in an image belongs to the user who runs it",
    "link": "--link has no effect, because an Apptainer image has no layers: the same files are copied, but links in the "
    "destination path are followed",
}
"""Flags of COPY and ADD that have no effect in Apptainer, and the note about each."""

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_TEMPORARY = re.compile(r"(?<![\w.-])/(var/)?tmp\b")
_HOME = re.compile(r"(?<![\w.-])(~/|\$HOME\b|\$\{HOME\}|/root\b)")
_ROOT = re.compile(r"(root|0)?(:(root|0))?")


@dataclass
class StageState:
    """The state that Docker keeps between instructions, and the result of translating them.

    Attributes:
        stages: All stages of the file.
        given: The build arguments of this build.
        base: The configuration of the base image.
        notes: Notes for the user, shared by all stages.
        known: The names of all declared arguments, shared by all stages.
        taken: Paths to copy from other stages, each with the number of the stage whose instruction copies it.
        own: Variables that the base image or ENV sets.
        templates: Arguments that ``apptainer build --build-arg`` can change, with their default values.
        used: Arguments that the current instruction uses.
        checked: Arguments whose values the shell lines already check.
        chain: The number of the newest shell function ``run_N``.
        copies: The number of staging folders.
        temporary: The lines of instructions that may use ``/tmp`` or ``/var/tmp``.
        emptied: Whether a RUN has mounts.
        user_line: The line of the last USER; 0 without one.
    """

    stages: Stages
    escape: str
    context: Context
    given: Mapping[str, str]
    base: OciConfig
    notes: dict[str, None]
    known: dict[str, str]
    final: bool
    shell: list[tuple[str, ...]] = field(default_factory=list)
    taken: list[tuple[int, Taken]] = field(default_factory=list)
    files: list[StagedFile] = field(default_factory=list)
    own: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    templates: dict[str, str] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    checked: set[str] = field(default_factory=set)
    chain: int = 0
    copies: int = 0
    number: int = 0
    command_is_set: bool = False
    temporary: list[int] = field(default_factory=list)
    emptied: bool = False
    user_line: int = 0

    def __post_init__(self) -> None:
        """Start with the configuration of the base image."""
        self.environment = {"PATH": DEFAULT_PATH, **dict(self.base.env)}
        # Apptainer reads the base image's variables as shell text, and the host's values take precedence. So the definition
        # sets these variables again, verbatim.
        self.own |= {name: value for name, value in self.base.env if _IDENTIFIER.fullmatch(name)}
        self.workdir = posixpath.normpath(self.base.workdir or "/")
        self.user = self.base.user
        self.entrypoint, self.command = self.base.entrypoint, self.base.cmd
        self.shell_words: tuple[str, ...] = self.base.shell or ("/bin/sh", "-c")
        self._link("")
        for name in sorted(PROXIES & self.given.keys()):
            self.known[name] = ""
            self._argument(name, self.given[name])
            self._link(f'"{name}=$arg_{name}"')

    def enter(self, stage: Stage) -> None:
        """Start a stage of the Dockerfile, possibly on top of its parent stage."""
        self.number, self.command_is_set = stage.number, False
        if stage.parent is not None:
            name = self.stages.stages[stage.parent].name
            self.notes.setdefault(
                f"the stage {stage.name or stage.number} starts from the stage {name}, whose instructions are repeated, "
                "because Apptainer cannot start from a stage"
            )
        for name in stage.arguments:
            value = self.stages.arguments.get(name)
            if value is not None and name not in self.templates:
                self._argument(name, value)
                self._check(name, value)

    def do(self, instruction: Instruction) -> None:
        """Translate one instruction.

        Raises:
            DefinitionError: The instruction cannot be translated; the message has its line.
        """
        try:
            self._do(instruction)
        except DefinitionError as error:
            if str(error).startswith("line "):
                raise
            raise instruction.refused(f"cannot be translated: {error}") from error

    def finished(self, name: str, base: str, taken: list[tuple[str, Taken]]) -> PlannedStage:
        """Return the planned stage.

        Args:
            name: The name of the stage in the definition.
            base: The reference of the base image.
            taken: Names of other stages, each with a path that is copied from there.
        """
        if self.final and not _ROOT.fullmatch(self.user):
            self.notes.setdefault(f"USER {self.user} has no effect: Apptainer runs a container as the user who starts it")
        if self.final and self.temporary:
            where = f"line{'s'[: len(self.temporary) > 1]} {', '.join(map(str, dict.fromkeys(self.temporary)))}"
            self.notes.setdefault(
                f"{where}: /tmp and /var/tmp are private folders of the build and are not in the image. Later "
                "instructions see their files. In a container these folders belong to the host"
            )
        if self.final and self.workdir not in TEMPORARY_FOLDERS and under(TEMPORARY_FOLDERS, self.workdir):
            self.notes.setdefault(f"WORKDIR {self.workdir} is not in the image; a container starts in the current folder")
        return PlannedStage(
            name=name,
            base=base,
            arguments=tuple(self.templates.items()),
            shell=tuple(self.shell),
            files=tuple(self.files),
            taken=tuple(taken),
            environment=tuple(self.own.items()),
            labels=tuple(self.labels.items()),
            start=Start(entrypoint=self.entrypoint, command=self.command, workdir=self.workdir),
            temporary=bool(self.temporary),
            emptied=self.emptied,
        )

    def _lookup(self, name: str) -> str | None:
        if name in self.environment:
            return self.environment[name]
        if name in self.arguments:
            self.used.append(name)
            return self.arguments[name]
        return None

    def _word(self, text: str) -> str:
        return Lexer(escape=self.escape, lookup=self._lookup).word(text)

    def _do(self, one: Instruction) -> None:
        begin = len(self.shell)
        self.used.clear()
        match one.name:
            case "RUN":
                self._run(one)
            case "COPY" | "ADD":
                self._copy(one)
            case "ENV":
                self._env(one)
            case "ARG":
                self._arg(one)
            case "WORKDIR":
                self._workdir(one)
            case "LABEL":
                self._label([(self._word(key), self._word(value)) for key, value in pairs(one, self.escape)])
            case "MAINTAINER":
                self._label([("maintainer", one.rest)])
            case "USER":
                self.user, self.user_line = self._word(one.rest), one.line
            case "SHELL":
                if not one.words:
                    raise one.refused('requires a JSON array such as ["/bin/bash", "-c"]')
                self.shell_words = one.words
            case "ENTRYPOINT":
                self.entrypoint = self._argv(one)
                if not self.command_is_set:
                    self.command = ()
            case "CMD":
                self.command, self.command_is_set = self._argv(one), True
            case "ONBUILD":
                raise one.refused(
                    "applies to images that are built from this one, which Apptainer does not support; remove it"
                )
            case _:
                self._metadata(one)
        checks = [line for name in dict.fromkeys(self.used) for line in self._check_lines(name)]
        if checks:
            self.shell.insert(begin, tuple(checks))

    def _metadata(self, one: Instruction) -> None:
        """Turn EXPOSE into a label, and add a note for VOLUME, STOPSIGNAL and HEALTHCHECK, which have no equivalent."""
        if not self.final:
            return
        if one.name == "EXPOSE":
            ports = Lexer(escape=self.escape, lookup=self._lookup).words(one.rest)
            self._label([(PORTS, " ".join((*self.labels.get(PORTS, "").split(), *ports)))])
            return
        what = {
            "VOLUME": "has no effect: an image is read-only; bind a folder there if a container must write",
            "STOPSIGNAL": "has no effect: instances are stopped with 'apptainer instance stop --signal'",
            "HEALTHCHECK": "has no effect: Apptainer runs no health checks; 'test' in the settings checks the image",
        }
        self.notes.setdefault(f"line {one.line}: {one.name} {what[one.name]}")

    def _run(self, one: Instruction) -> None:
        if not _ROOT.fullmatch(self.user):
            whose = (
                f"the user {self.user!r} of line {self.user_line}"
                if self.user_line
                else f"the base image's user {self.user!r}"
            )
            raise one.refused(
                f"runs as {whose}, but a build runs only as root; put 'USER root' before it and 'USER {self.user}' after "
                "it. (Apptainer runs a container as the user who starts it, regardless of USER.)"
            )
        mounts = read_mounts(one, self._word, self.workdir)
        texts = (one.rest, *(document.text for document in one.here))
        self._temporary(one, *texts, *(mount.target for mount in mounts))
        if self.final and any(map(_HOME.search, texts)):
            self.notes.setdefault(
                f"line {one.line}: RUN names the home folder, which is root's during the build: in a container HOME belongs "
                "to the user, and /root may be inaccessible. Put files for containers elsewhere, such as /opt"
            )
        before, begin, after = self._mounted(one, mounts)
        plain = replace(one, flags=tuple(flag for flag in one.flags if flag[0] != "mount"))
        self.shell.append((*before, *run_lines(plain, self.shell_words, f"{begin}run_{self.chain}"), *after))

    def _mounted(self, one: Instruction, mounts: tuple[Mount, ...]) -> tuple[list[str], str, list[str]]:
        """Return the lines before a RUN, the command prefix that provides the RUN's mounts, and the lines after the RUN."""
        before: list[str] = []
        begin = ""
        after: list[str] = []
        for mount in mounts:
            self.emptied = True
            if not mount.source:
                begin += f"emptied {word(mount.mode)} {word(mount.target)} "
                continue
            lent, thing = self._copier().lend(one, mount.origin, mount.source, str(self.copies))
            self._take(one, lent)
            before += lent.shell
            begin += f"lent {thing} {word(mount.target)} "
            after.append(f'rm -rf "$put"/{self.copies}')
            self.copies += 1
        return before, begin, after

    def _temporary(self, one: Instruction, *texts: str) -> None:
        """Mount the private temporary folders before the first instruction that may use them.

        An earlier instruction may install mount(8).
        """
        if any(map(_TEMPORARY.search, texts)):
            if not self.temporary:
                self.shell.append(("own_temporary",))
            self.temporary.append(one.line)

    def _copy(self, one: Instruction) -> None:
        copy = self._copier().copy(one, str(self.copies))
        self._temporary(one, copy.destination)
        self._take(one, copy)
        self.copies += 1
        self.shell.append((f"say {word(f'line {one.line}: {one.name} {one.rest[:100]}')}", *copy.shell))
        for flag in copy.lost:
            self.notes.setdefault(_LOST[flag])

    def _copier(self) -> Copier:
        return Copier(context=self.context, escape=self.escape, lookup=self._lookup, workdir=self.workdir)

    def _take(self, one: Instruction, copy: Copy) -> None:
        """Record the files that an instruction copies from the context, from stages and from images."""
        for taken in copy.taken:
            self._check_origin(one, taken.origin)
            if under(TEMPORARY_FOLDERS, taken.path) and not self.stages.find(taken.origin, self.number):
                raise one.refused(
                    f"copies {taken.path} from {taken.origin}, but during a build that path belongs to the host; "
                    "copy from another path"
                )
        self.files += copy.files
        self.taken += [(self.number, taken) for taken in copy.taken]

    def _check_origin(self, one: Instruction, origin: str) -> None:
        """Reject ``--from`` with a stage that is not earlier, as BuildKit does. The case of names is ignored."""
        if self.stages.find(origin, self.number):
            return
        before = f"the stages before it are {self.stages.names(self.number)}"
        if origin.isdecimal():
            raise one.refused(f"copies from the stage {origin}, which is not before it; {before}, counted from 0")
        if self.stages.find(origin, len(self.stages.stages)):
            raise one.refused(f"copies from the stage {origin}, which is not before it; {before}: move that stage up")

    def _env(self, one: Instruction) -> None:
        new = [(self._word(name), self._word(value)) for name, value in pairs(one, self.escape)]
        for name, value in new:
            if not _IDENTIFIER.fullmatch(name):
                raise one.refused(f"sets {name!r}, which a shell cannot set; use only letters, digits and '_'")
            self.environment[name] = value
            self.own[name] = value
            self._temporary(one, value)
            if name in NOT_KEPT and self.final:
                owner = "the user" if name == "HOME" else "the shell"
                self.notes.setdefault(f"line {one.line}: ENV {name} is set for RUN, but in containers {owner} sets it")
        self._link(words(f"{name}={value}" for name, value in new))

    def _arg(self, one: Instruction) -> None:
        for name, default in argument_words(one, self.escape, self._lookup):
            if not _IDENTIFIER.fullmatch(name):
                raise one.refused(f"declares {name!r}; an argument of Apptainer must contain only letters, digits and '_'")
            if default is not None and name in self.templates and self.templates[name] != self.given.get(name, default):
                raise one.refused(f"declares {name} again with another value; use another name")
            self.known.setdefault(name, "")
            value = self.given.get(name, default)
            if value is None:
                outer = self.stages.arguments.get(name)
                value = outer if outer is not None else {**self.stages.automatic, "TARGETSTAGE": ""}.get(name)
            if value is None:
                continue
            self.arguments[name] = value
            self._argument(name, value)
            if name not in self.environment:
                self._link(f'"{name}=$arg_{name}"')

    def _argument(self, name: str, value: str) -> None:
        """Let ``apptainer build --build-arg`` change an argument, unless a definition cannot express its default value."""
        if name in self.templates:
            return
        try:
            guard.argument(name, value)
        except DefinitionError:
            self.shell.append((f"arg_{name}={word(value)}",))
            return
        self.templates[name] = value
        # Apptainer inserts a value verbatim, and only a quoted here-document keeps every value unchanged. The value follows
        # a '=', because a value that begins with '%' would start a section. '<<-' removes the tab before the '='.
        read = (f"arg_{name}=$(cat <<-'END_OF_ARGUMENT'", f"\t={{{{ {name} }}}}", "\tEND_OF_ARGUMENT", ")")
        self.shell.append((*read, f"arg_{name}=${{arg_{name}#=}}"))

    def _check(self, name: str, value: str) -> None:
        self.shell.extend((line,) for line in self._check_lines(name, value))

    def _check_lines(self, name: str, value: str | None = None) -> list[str]:
        """Return the shell line that stops a build if an argument differs from the value in the definition's text."""
        if name not in self.templates or name in self.checked:
            return []
        self.checked.add(name)
        return [f'same {name} "$arg_{name}" {word(self.arguments[name] if value is None else value)}']

    def _workdir(self, one: Instruction) -> None:
        text = self._word(one.rest)
        path = posixpath.normpath(text if text.startswith("/") else f"{self.workdir}/{text}").replace("//", "/")
        if under(HOST_FOLDERS, path):
            raise one.refused(f"is {path}, which belongs to the host during a build; use another folder")
        self.workdir = path
        self._temporary(one, path)
        self.shell.append((f"workdir={word(path)}", 'mkdir -p "$workdir"'))

    def _label(self, new: list[tuple[str, str]]) -> None:
        for key, value in new:
            guard.label(key, value)
            self.labels[key] = value

    def _argv(self, one: Instruction) -> tuple[str, ...]:
        return one.words if one.words is not None else (*self.shell_words, one.rest)

    def _link(self, assignments: str) -> None:
        """Add a shell function that runs a program with the current variables and working folder.

        Each function adds its assignments to those of the previous function. env(1) uses a variable's last assignment.
        """
        if not assignments:
            base = "".join(f"{word(f'{name}={value}')} " for name, value in self.own.items())
            self.shell.append((f"workdir={word(self.workdir)}", f'run_0() {{ cd "$workdir" && exec env {base}"$@"; }}'))
            return
        self.chain += 1
        self.shell.append((f'run_{self.chain}() {{ run_{self.chain - 1} {assignments} "$@"; }}',))
