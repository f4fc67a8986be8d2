"""What may stand in a definition file: every text that comes from outside passes here on its way into the template.

Apptainer's language has no escape, so a text is said in another way (shell words), or refused with the reason. The rules are
those of ``deffile.go`` (see `hpcdeploy.definition.grammar`) and of the Apptainer user guide, "Definition files".
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
    """Split an image's address into ``Bootstrap`` (``docker`` where it says none; a path: ``localimage``) and ``From``.

    A header's value ends at the first ``#`` and knows no quotes.
    """
    scheme, colon, rest = text.partition("://")
    bootstrap, source = (scheme, rest) if colon else ("localimage" if text.startswith("/") else "docker", text)
    if bootstrap not in _BOOTSTRAPS:
        raise DefinitionError(f"{what} is {text!r}, but only {', '.join(_BOOTSTRAPS)} images can be built on")
    bad = next((character for character in source if character in "#\\{}" or character.isspace()), "")
    if not source or bad:
        raise DefinitionError(
            f"{what} is {text!r}, but a definition's header takes an address without blanks, '#', '\\' or braces"
            f"{f' ({bad!r} found)' if bad else ''}; write it as registry/repository:tag"
        )
    return bootstrap, source


def environment_name(text: str) -> str:
    """Let the name of an environment pass, which becomes part of paths and shell text."""
    if not _ENVIRONMENT_NAME.fullmatch(text):
        raise DefinitionError(f"the environment's name {text!r} may hold only letters, digits, '-', '_' and '.'")
    return text


def platform_name(text: str) -> str:
    """Let the name of a Pixi platform pass, which becomes a word of shell text."""
    if text and not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", text):
        raise DefinitionError(f"the platform's name {text!r} may hold only letters, digits and dashes")
    return text


def override(name: str, value: str) -> tuple[str, str]:
    """Let a variable pass that stands for a virtual package: its value is a version, or the name of a microarchitecture."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._]*", value):
        raise DefinitionError(f"{name} is {value!r}; expected a version or the name of a microarchitecture")
    return name, value


def cuda_version(text: str) -> str:
    """Let a CUDA version pass: digits and dots, or nothing."""
    if text and not _VERSION.fullmatch(text):
        raise DefinitionError(f"the CUDA version {text!r} is none; write digits and dots, as in '12.9'")
    return text


def glibc_version(text: str) -> str:
    """Let the version of a C library pass: digits and dots, or nothing."""
    if text and not _VERSION.fullmatch(text):
        raise DefinitionError(f"the glibc version {text!r} is none; write digits and dots, as in '2.28'")
    return text


def argument(name: str, value: str) -> tuple[str, str]:
    """Let a build argument pass. Its value is put into the text as it stands: one line, blanks at the ends are lost."""
    if not _NAME.fullmatch(name):
        raise DefinitionError(f"the build argument's name {name!r} may hold only letters, digits and '_'")
    shown = shown_argument(name, value)
    if "\n" in value or "\r" in value or "\0" in value or value != value.strip():
        raise DefinitionError(
            f"the build argument {name} is {shown!r}, but Apptainer takes one line and drops blanks at its ends; "
            "leave the line breaks and outer blanks out"
        )
    if TEMPLATE.search(value):
        raise DefinitionError(
            f"the build argument {name} is {shown!r}, but a template inside a value is replaced only in part"
        )
    return name, value


def shell_lines(lines: Collection[str], what: str, arguments: Collection[str]) -> tuple[str, ...]:
    """Let a person's shell lines pass, unchanged, where every one of them reaches the shell as it stands.

    ``{{ NAME }}`` may be used for each of `arguments`. Refused: a line whose first word begins with ``%`` (it would end the
    section), a ``Bootstrap:`` in column 0 (a new stage), a template of another name (an error in Apptainer) or after a ``#``
    (left as it stands from Apptainer 1.3 on).
    """
    split = [line for text in lines for line in text.replace("\r\n", "\n").split("\n")]
    for line in split:
        if line.lstrip().startswith("%"):
            raise _refused(what, line, "its first word begins with '%', which starts a section, even in a here-document")
        if line.lower().startswith("bootstrap:"):
            raise _refused(what, line, "it begins with 'Bootstrap:', which starts a stage, even in a here-document")
        if "\0" in line or "\r" in line:
            raise _refused(what, line, "it holds a NUL or a carriage return")
        for match in TEMPLATE.finditer(line):
            if match[1] not in arguments:
                raise _refused(
                    what,
                    line,
                    f"{match[0]} is a build argument to Apptainer, and there is none named {match[1]} "
                    f"(known: {', '.join(sorted(arguments))}; to mean the braces themselves, break them for the shell: "
                    "'{''{')",
                )
            if "#" in line[: match.start()]:
                raise _refused(
                    what, line, f"{match[0]} comes after a '#', where Apptainer does not replace it; put it before"
                )
    return tuple(split)


def _refused(what: str, line: str, reason: str) -> DefinitionError:
    return DefinitionError(
        f"{what}: the line {line!r} cannot stand in a definition file: {reason}; "
        "or put these lines into a script of the project, name it in 'files' and call it here"
    )


def word(text: str) -> str:
    """Quote `text` as one word of bash in which no line break, no ``{{`` and no ``%`` at a line's beginning is left."""
    if "\0" in text:
        raise DefinitionError(f"{text!r} holds a NUL character, which no program can be given; leave it out")
    if _PLAIN_WORD.fullmatch(text):
        return text
    return "$'" + "".join(_ansi_c(character) for character in text) + "'"


def sh_word(text: str) -> str:
    """Quote `text` as one word for any sh, and for the interpreter that reads ``%environment``; no template may follow it.

    A line break stays one; the empty quotes after it keep Apptainer from taking the next line for a section or a stage,
    those between two braces from taking them for a template.
    """
    if "\0" in text:
        raise DefinitionError(f"{text!r} holds a NUL character, which no program can be given; leave it out")
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
    r"""Write the line that sets a container variable to `value` as it stands.

    PATH belongs to the environment's activation, unless `path` says that there is none.
    In double quotes: Apptainer 1.4.5, which reads this line itself, keeps the backslash of a ``\'`` outside of quotes.
    """
    if not _NAME.fullmatch(name):
        raise DefinitionError(f"the variable's name {name!r} may hold only letters, digits and '_'")
    if name == "PATH" and not path:
        raise DefinitionError(
            "PATH cannot be set in 'environment': its value would replace the activation's; extend it in 'setup', by a line "
            'that appends to "$APPTAINER_ENVIRONMENT"'
        )
    return f'export {name}="{_SPECIAL_IN_QUOTES.sub(_BACKSLASHED, value)}"'


def label(key: str, value: str) -> tuple[str, str]:
    """Let a label pass: a key ends at the first blank, a value at the line's end."""
    if not key or any(character.isspace() for character in key) or key.startswith("#"):
        raise DefinitionError(
            f"the label {key!r} holds blanks, begins with '#' or is empty; write it as in 'org.example.key'"
        )
    if "\n" in value or "\r" in value or "\0" in value or value != value.strip():
        raise DefinitionError(f"the label {key} is {value!r}, but a label is one line without blanks at its ends")
    return key, value


def destination(text: str) -> PurePosixPath:
    """Let a place in the image pass: absolute, no ``..``, no folder that is the host's, only what ``%files`` can name."""
    path = PurePosixPath(text)
    if not path.is_absolute() or ".." in path.parts or path == PurePosixPath("/"):
        raise DefinitionError(
            f"the place {text!r} in the image is not an absolute path without '..'; write it as in '/app/src'"
        )
    for folder in _NOT_IN_IMAGE:
        if path.is_relative_to(folder):
            raise DefinitionError(f"the place {text!r} is under {folder}, which is not the image's own while it is built")
    bad = next((character for character in text if character in _GLOB), "")
    if bad:
        raise DefinitionError(f"the place {text!r} holds {bad!r}, which %files cannot express; choose another name")
    return path


def file_word(path: PurePosixPath | str, *, folder: bool = False) -> str:
    """Write a path for ``%files``, where double quotes are the only ones; a folder ends with a slash."""
    text = str(path).rstrip("/") + ("/" if folder else "")
    return f'"{text}"' if " " in text else text
