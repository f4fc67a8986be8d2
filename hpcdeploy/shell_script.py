"""Compose bash scripts: assignments of values, followed by unchanged files of the folder ``login/``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from hpcdeploy import __version__, shell
from hpcdeploy.frozen import frozen
from hpcdeploy.templates import shipped_root

FOLDER = "login"
"""The folder of the library files. They have no placeholders, and a project cannot replace them."""

UNTIL_ITS_END = "# bash reads main completely before it runs main. So a script that was cut off runs no part of main."

CALL = 'main "$@" </dev/null'
"""The last line of a script whose commands must not read the script's standard input."""


@dataclass(frozen=True)
class Raw:
    """Shell code, which must not be quoted, such as a path with a variable (`hpcdeploy.shell.path`)."""

    code: str


Value = str | int | Raw | tuple[str | Raw, ...] | Mapping[str, str]


def assignments(values: Mapping[str, Value]) -> str:
    """Return bash assignments of `values` to the variables with their names, one per line.

    A tuple becomes an array, a mapping becomes an associative array, and a bool becomes ``yes`` or ``no``.

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
    """Return the texts of the library files with these `names` as one text."""
    return "\n".join(library_file(name) for name in names)


@cache
def library_file(name: str) -> str:
    """Return the text of one library file."""
    return (shipped_root() / FOLDER / name).read_text(encoding="utf-8").rstrip("\n") + "\n"


def here_document(command: str, text: str, end: str) -> str:
    """Return shell code that runs `command` with `text` as standard input (a here-document without expansion).

    `end` is the line that ends the here-document. No line of `text` may be equal to `end`.
    """
    return f"{command} <<'{end}'\n{text.rstrip(chr(10))}\n{end}"


@frozen
class Setup:
    """The cluster's setup lines in a script.

    Attributes:
        lines: The shell lines; empty for none.
        must_succeed: Whether the script ends if a line fails. Otherwise it prints a note and continues.
        on_failure: The command that ends the script, as a program and its arguments.
    """

    lines: tuple[str, ...] = ()
    must_succeed: bool = False
    on_failure: tuple[str, ...] = ("exit", "10")

    @property
    def values(self) -> dict[str, Value]:
        """Return the values that ``login/setup.sh`` needs; empty if there are no lines."""
        if not self.lines:
            return {}
        return {"setup_lines": "\n".join(self.lines), "setup_must_succeed": self.must_succeed, "setup_exit": self.on_failure}

    @property
    def file(self) -> str:
        """Return the name of the library file that runs the lines and then restores the state of the shell.

        If there are no lines, it is the name of a file that runs nothing.
        """
        return "setup.sh" if self.lines else "no_setup.sh"


@frozen
class Script:
    """A script for a login node.

    Attributes:
        title: A sentence that describes the script. It becomes the first comment.
        about: Further comment lines about the usage, without their ``#``.
        values: The values of the script, by the name of their shell variable.
        functions: The texts of shell functions with values, such as those of `paths_function`.
        before_setup: The names of the library files that run before the setup.
        setup: The cluster's setup lines.
        files: The names of the library files that run after the setup, in this order.
        reads_input: Whether data follows the script on standard input. If so, the setup gets an empty standard input.
        call: The last line, which calls the function ``main`` with all of the above.
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
    """Return the text of a shell function `name` that runs `lines`, which are shell code."""
    return "\n".join([f"{name}() {{", *(lines or ("  :",)), "}"])


def paths_function(name: str, paths: Mapping[str, str]) -> str:
    """Return the text of a shell function `name` that assigns `paths` to the variables with their names.

    The paths are shell code that may contain variables. The script must call the function after the setup, because the setup
    may set these variables.
    """
    return function(name, *(f"  {variable}={code}" for variable, code in paths.items()))
