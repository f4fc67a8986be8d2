"""Validate and escape every external text before it enters a definition template.

A definition has no escape character. So each function either returns a text that reaches its place in the image unchanged,
quoted for a shell if necessary, or rejects the text with the reason. The rules are those of ``deffile.go`` (see
`hpcdeploy.definition.grammar`) and of the Apptainer user guide, "Definition files".
"""

import re
from collections.abc import Collection
from pathlib import PurePosixPath

from hpcdeploy.definition.grammar import TEMPLATE
from hpcdeploy.environments.channel_address import shown_argument
from hpcdeploy.errors import DefinitionError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SPECIAL_IN_QUOTES = re.compile(r'([\\"`$])')
_BACKSLASHED = r"\\\1"
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_@+=:,./-]+", re.ASCII)
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
_VERSION = re.compile(r"\d+(\.\d+)*", re.ASCII)
_GLOB = frozenset("*?[]{}()|!\\$`'\"\n\r\t#~")
_NOT_IN_IMAGE = ("/tmp", "/var/tmp", "/proc", "/sys", "/dev", "/.singularity.d")  # noqa: S108 - refused, not used
_BOOTSTRAPS = ("docker", "oras", "library", "localimage")


def header(text: str, what: str) -> tuple[str, str]:
    """Split an image address into the headers ``Bootstrap`` and ``From``.

    The agent is ``docker`` if the address names none, and ``localimage`` for an absolute path. A header value ends at the
    first ``#`` and cannot be quoted.

    Args:
        text: The address.
        what: The name of the setting, for the message.

    Raises:
        DefinitionError: The agent is unsupported, or the header cannot hold the address.
    """
    scheme, colon, rest = text.partition("://")
    bootstrap, source = (scheme, rest) if colon else ("localimage" if text.startswith("/") else "docker", text)
    if bootstrap not in _BOOTSTRAPS:
        raise DefinitionError(f"{what} is {text!r}, but the part before '://' must be one of {', '.join(_BOOTSTRAPS)}")
    bad = next((character for character in source if character in "#\\{}" or character.isspace()), "")
    if not source or bad:
        raise DefinitionError(
            f"{what} is {text!r}, but an address in a definition's header cannot contain spaces, '#', '\\' or braces"
            f"{f' ({bad!r} found)' if bad else ''}; use registry/repository:tag"
        )
    return bootstrap, source


def environment_name(text: str) -> str:
    """Validate the name of an environment, which becomes part of paths and shell text.

    Raises:
        DefinitionError: The name contains other characters than letters, digits, ``-``, ``_`` and ``.``.
    """
    if not _ENVIRONMENT_NAME.fullmatch(text):
        raise DefinitionError(f"the environment's name {text!r} must contain only letters, digits, '-', '_' and '.'")
    return text


def platform_name(text: str) -> str:
    """Validate the name of a Pixi platform, which becomes a word of shell text; empty is allowed.

    Raises:
        DefinitionError: The name contains other characters than letters, digits and dashes.
    """
    if text and not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", text):
        raise DefinitionError(f"the platform's name {text!r} must contain only letters, digits and dashes")
    return text


def override(name: str, value: str) -> tuple[str, str]:
    """Validate a variable that overrides a virtual package with a version or the name of a microarchitecture.

    Raises:
        DefinitionError: The value contains other characters than letters, digits, ``.`` and ``_``, or is empty.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._]*", value):
        raise DefinitionError(f"{name} is {value!r}; expected a version or the name of a microarchitecture")
    return name, value


def cuda_version(text: str) -> str:
    """Validate a CUDA version: digits and dots, or empty.

    Raises:
        DefinitionError: The text is not a version.
    """
    if text and not _VERSION.fullmatch(text):
        raise DefinitionError(f"the CUDA version {text!r} is invalid; use digits and dots, such as '12.9'")
    return text


def glibc_version(text: str) -> str:
    """Validate the version of a C library: digits and dots, or empty.

    Raises:
        DefinitionError: The text is not a version.
    """
    if text and not _VERSION.fullmatch(text):
        raise DefinitionError(f"the glibc version {text!r} is invalid; use digits and dots, such as '2.28'")
    return text


def argument(name: str, value: str) -> tuple[str, str]:
    """Validate a build argument: its name, and its value, which must be one line without spaces at the ends.

    Raises:
        DefinitionError: Apptainer would not insert the value unchanged, or the name is not a valid identifier.
    """
    if not _NAME.fullmatch(name):
        raise DefinitionError(f"the build argument's name {name!r} must contain only letters, digits and '_'")
    shown = shown_argument(name, value)
    if "\n" in value or "\r" in value or "\0" in value or value != value.strip():
        raise DefinitionError(
            f"the build argument {name} is {shown!r}, but Apptainer reads one line and drops spaces at its ends; "
            "remove line breaks, NUL characters and outer spaces"
        )
    if TEMPLATE.search(value):
        raise DefinitionError(
            f"the build argument {name} is {shown!r}, but Apptainer does not fully replace a template inside a value"
        )
    return name, value


def shell_lines(lines: Collection[str], what: str, arguments: Collection[str]) -> tuple[str, ...]:
    """Split the user's shell text into lines, and check that a definition passes each line to the shell unchanged.

    Args:
        lines: Texts of one or several lines.
        what: The name of the setting, for the message.
        arguments: The names of the build arguments; templates (``{{ NAME }}``) may only use these names.

    Raises:
        DefinitionError: One of these conditions holds for a line:

            - It begins with ``%``, which would start a section, or with ``Bootstrap:``, which would start a stage.
            - It contains a NUL character, or a carriage return that is not followed by a line break.
            - It has a template with an unknown name, which Apptainer rejects.
            - It has a template after a ``#``, which Apptainer 1.3 and later does not replace.
    """
    split = [line for text in lines for line in text.replace("\r\n", "\n").split("\n")]
    for line in split:
        if line.lstrip().startswith("%"):
            raise _refused(what, line, "it begins with '%', which starts a section, even in a here-document")
        if line.lower().startswith("bootstrap:"):
            raise _refused(what, line, "it begins with 'Bootstrap:', which starts a stage, even in a here-document")
        if "\0" in line or "\r" in line:
            raise _refused(what, line, "it contains a NUL or a carriage return")
        for match in TEMPLATE.finditer(line):
            if match[1] not in arguments:
                raise _refused(
                    what,
                    line,
                    f"{match[0]} is a build argument to Apptainer, but no argument is named {match[1]} "
                    f"(known: {', '.join(sorted(arguments))}; for literal braces, split them in the shell: "
                    "'{''{')",
                )
            if "#" in line[: match.start()]:
                raise _refused(
                    what, line, f"{match[0]} follows a '#', where Apptainer replaces no template; write it before the '#'"
                )
    return tuple(split)


def _refused(what: str, line: str, reason: str) -> DefinitionError:
    """Return the error for a line of the setting `what` that a definition cannot contain."""
    return DefinitionError(
        f"{what}: a definition file cannot contain the line {line!r}: {reason}; "
        "you can put these lines into a script of the project, list the script in 'files' and run it here"
    )


def word(text: str) -> str:
    """Quote `text` as one word for bash. The result has no line break and no ``{{``, and does not begin with ``%``.

    Raises:
        DefinitionError: The text contains a NUL character.
    """
    if "\0" in text:
        raise DefinitionError(f"{text!r} contains a NUL character, which a program argument cannot hold; remove it")
    if _PLAIN_WORD.fullmatch(text):
        return text
    return "$'" + "".join(_ansi_c(character) for character in text) + "'"


def sh_word(text: str) -> str:
    """Quote `text` as one word for any sh, and for the interpreter that reads ``%environment``.

    Line breaks stay in the result. The empty quotes after a line break keep Apptainer from reading the next line as a
    section or a stage. Empty quotes between two braces keep Apptainer from reading a template. A caller must not put ``{``
    after the result.

    Raises:
        DefinitionError: The text contains a NUL character.
    """
    if "\0" in text:
        raise DefinitionError(f"{text!r} contains a NUL character, which a program argument cannot hold; remove it")
    if _PLAIN_WORD.fullmatch(text):
        return text
    quoted = _SPECIAL_IN_QUOTES.sub(_BACKSLASHED, text)
    return '"' + re.sub(r"([\r\n])|\{(?=\{)", lambda match: match[0] + '""', quoted) + '"'


def _ansi_c(character: str) -> str:
    if character in "\\'":
        return "\\" + character
    if character in "{}#%" or ord(character) < 32 or ord(character) == 127:
        return f"\\{ord(character):03o}"
    return character


def export(name: str, value: str, *, path: bool = False) -> str:
    r"""Return the shell line that sets a container variable to the literal `value`.

    The value is in double quotes, because Apptainer 1.4.5 reads this line with its own interpreter, which keeps the
    backslash of an unquoted ``\'``.

    Args:
        name: The variable.
        value: The variable's value.
        path: Accept the name ``PATH``, for images without an activation that sets PATH.

    Raises:
        DefinitionError: The name is not a shell identifier, or is ``PATH`` without `path`.
    """
    if not _NAME.fullmatch(name):
        raise DefinitionError(f"the variable's name {name!r} must contain only letters, digits and '_'")
    if name == "PATH" and not path:
        raise DefinitionError(
            "PATH cannot be set in 'environment': it would replace the PATH of the activation; extend PATH in 'setup', with "
            'a line that appends to "$APPTAINER_ENVIRONMENT"'
        )
    return f'export {name}="{_SPECIAL_IN_QUOTES.sub(_BACKSLASHED, value)}"'


def label(key: str, value: str) -> tuple[str, str]:
    """Validate a label. Apptainer ends the key at the first space, and the value at the end of the line.

    Raises:
        DefinitionError: The key or the value would not reach the image unchanged.
    """
    if not key or any(character.isspace() for character in key) or key.startswith("#"):
        raise DefinitionError(
            f"the label {key!r} is empty, contains spaces or begins with '#'; use a key such as 'org.example.key'"
        )
    if "\n" in value or "\r" in value or "\0" in value or value != value.strip():
        raise DefinitionError(f"the label {key} is {value!r}, but a label must be one line without outer spaces or NUL")
    return key, value


def destination(text: str) -> PurePosixPath:
    """Validate a path in the image: absolute, not ``/``, without ``..``, not in a host's folder, and valid in ``%files``.

    Raises:
        DefinitionError: The path does not meet one of these conditions.
    """
    path = PurePosixPath(text)
    if not path.is_absolute() or ".." in path.parts or path == PurePosixPath("/"):
        raise DefinitionError(
            f"the path {text!r} in the image must be absolute, not '/', and without '..'; use a path like '/app/src'"
        )
    for folder in _NOT_IN_IMAGE:
        if path.is_relative_to(folder):
            raise DefinitionError(f"the path {text!r} is under {folder}, which belongs to the host during a build")
    bad = next((character for character in text if character in _GLOB), "")
    if bad:
        raise DefinitionError(f"the path {text!r} contains {bad!r}, which %files cannot express; choose another name")
    return path


def file_word(path: PurePosixPath | str, *, folder: bool = False) -> str:
    """Quote a path for ``%files``, which only supports double quotes. With `folder`, the result ends with a slash."""
    text = str(path).rstrip("/") + ("/" if folder else "")
    return f'"{text}"' if " " in text else text
