"""Compose bash scripts: a short header of assignments, then files of the constant library ``login/``, unchanged."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from hpcdeploy import __version__, shell
from hpcdeploy.frozen import frozen
from hpcdeploy.templates import shipped_root

FOLDER = "login"
"""The folder of the library, beside the template folders. Its files have no placeholders, and no project replaces them."""

UNTIL_ITS_END = "# bash reads the script to its end before it runs anything: a script that was cut off does nothing."

CALL = 'main "$@" </dev/null'
"""The last line of a script that reads nothing from its standard input."""


@dataclass(frozen=True)
class Raw:
    """Text that is shell code already, such as a path with a variable (`hpcdeploy.shell.path`)."""

    code: str


Value = str | int | Raw | tuple[str | Raw, ...] | Mapping[str, str]


def assignments(values: Mapping[str, Value]) -> str:
    """Return bash assignments, one per line: a tuple becomes an array, a mapping an associative array, a bool yes or no.

    Raises:
        ConfigError: A text contains a NUL.
    """
    return "\n".join(_assignment(name, value) for name, value in values.items())


def _assignment(name: str, value: Value) -> str:
    match value:
        case bool():
            return f"{name}={'yes' if value else 'no'}"
        case int():
            return f"{name}={value}"
        case str() | Raw():
            return f"{name}={_word(value)}"
        case tuple():
            return f"{name}=({' '.join(map(_word, value))})"
        case _:
            pairs = (f"[{shell.word(key)}]={shell.word(text)}" for key, text in value.items())
            return f"declare -A {name}=({' '.join(pairs)})"


def _word(value: str | Raw) -> str:
    return value.code if isinstance(value, Raw) else shell.word(value)


def library(names: Iterable[str]) -> str:
    """Return the text of library files, one after the other."""
    return "\n".join(library_file(name) for name in names)


@cache
def library_file(name: str) -> str:
    """Return the text of one library file."""
    return (shipped_root() / FOLDER / name).read_text(encoding="utf-8").rstrip("\n") + "\n"


def here_document(command: str, text: str, end: str) -> str:
    """Return a command that reads `text`, which the shell does not expand; no line of the text may be `end`."""
    return f"{command} <<'{end}'\n{text.rstrip(chr(10))}\n{end}"


@frozen
class Setup:
    """The cluster's setup lines in a script.

    Attributes:
        lines: The lines.
        must_succeed: A failed line ends the script; otherwise it is a note.
        on_failure: The command that ends the script.
    """

    lines: tuple[str, ...] = ()
    must_succeed: bool = False
    on_failure: tuple[str, ...] = ("exit", "10")

    @property
    def values(self) -> dict[str, Value]:
        """Return the values for ``login/setup.sh``; none if there are no lines."""
        if not self.lines:
            return {}
        return {"setup_lines": "\n".join(self.lines), "setup_must_succeed": self.must_succeed, "setup_exit": self.on_failure}

    @property
    def file(self) -> str:
        """Return the name of the library file that runs the lines, if there are any, and restores the shell's state."""
        return "setup.sh" if self.lines else "no_setup.sh"


@frozen
class Script:
    """A script for a login node.

    Attributes:
        title: A sentence that describes the script; it becomes the first comment.
        about: More comment lines about the usage, without their ``#``.
        values: The header: values by the names of variables.
        functions: More of the header: functions such as `paths_function`.
        before_setup: Names of library files that run before the setup.
        setup: The cluster's setup.
        files: Names of library files, in the order in which they run.
        reads_input: Data follows the script on standard input; the setup must not read it.
        call: The last line, which runs everything.
    """

    title: str
    about: str = ""
    values: Mapping[str, Value]
    functions: tuple[str, ...] = ()
    before_setup: tuple[str, ...] = ()
    setup: Setup
    files: tuple[str, ...]
    reads_input: bool = False
    call: str = CALL

    def text(self) -> str:
        """Return the text of the script.

        Raises:
            ConfigError: A value contains a NUL.
        """
        comment = [f"{self.title} Written by hpcdeploy {__version__}.", *self.about.splitlines()]
        setup = library([self.setup.file])
        parts = [
            "#!/bin/bash\n" + "".join(f"# {line}".rstrip() + "\n" for line in comment),
            library(["state.sh", "begin.sh"]),
            f"main() {{\n# --- values of this script\n{assignments({**self.setup.values, **self.values})}",
            *self.functions,
            library(self.before_setup),
            f"{{\n{setup}}} </dev/null\n" if self.reads_input else setup,
            library(self.files) + f"}}\n{UNTIL_ITS_END}\n{self.call}\n",
        ]
        return "\n".join(filter(None, parts))


def function(name: str, *lines: str) -> str:
    """Return a function that runs `lines`, which are shell code."""
    return "\n".join([f"{name}() {{", *(lines or ("  :",)), "}"])


def paths_function(name: str, paths: Mapping[str, str]) -> str:
    """Return a function that assigns paths, given as shell code. Call it after the setup, which may set their variables."""
    return function(name, *(f"  {variable}={code}" for variable, code in paths.items()))
