"""Translate a RUN and its mounts into lines of ``%post``: both forms, here-documents, scripts with a ``#!`` line."""

import csv
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence

from hpcdeploy.definition.dockerfile.context import under
from hpcdeploy.definition.dockerfile.copying import HOST_FOLDERS
from hpcdeploy.definition.dockerfile.parsing import Instruction, here_word
from hpcdeploy.definition.dockerfile.words import word, words, written
from hpcdeploy.frozen import frozen

_HARMLESS = {"network": "default", "security": "sandbox"}
"""Flags of RUN whose default value is accepted, because it changes nothing."""


def run_lines(one: Instruction, shell: Sequence[str], begin: str) -> tuple[str, ...]:
    """Return the lines that run `one`.

    Args:
        one: The RUN, without mounts.
        shell: The program and options of SHELL.
        begin: Shell text that runs the arguments after it with the mounts, variables and working folder of the RUN.

    Raises:
        DefinitionError: Apptainer has no equivalent for a flag, or the arguments are malformed.
    """
    for flag, value in one.flags:
        if _HARMLESS.get(flag) != value:
            raise one.refused(
                f"has --{flag}{value and '='}{value}, which Apptainer does not support; remove the option"
                f"{', and copy the files with COPY' if flag == 'mount' else ''}"
            )
    log = f"say {word(f'line {one.line}: RUN {one.rest[:100]}')}"
    if not one.here:
        argv = one.words if one.words is not None else (*shell, one.rest)
        if not argv:
            raise one.refused("has an empty array; name a program")
        return log, f"( {begin} {words(argv)} )"
    first = one.here[0]
    if here_word(one.rest) and first.text.startswith("#!"):
        if "/" in first.name:
            raise one.refused(f"has a here-document named {first.name!r}, which is not a file name")
        script = f'"$private"/{word(first.name)}'
        lines = ("printf '%s\\n' \\", *written(first.content), f"    > {script}", f"chmod 0755 {script}")
        return log, *lines, f"( {begin} {script} )", f"rm -f {script}"
    text = first.content if here_word(one.rest) else one.rest + "".join(f"\n{each.text}{each.name}" for each in one.here)
    return log, "script=$(printf '%s\\n' \\", *written(text), "    )", f'( {begin} {words(shell)} "$script" )'


_TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARING = ("shared", "private", "locked")
_WAY_OUT = {
    "secret": "use the secret before the build, or in the definition that 'hpcdeploy generate' prints (docs/secrets.md)",
    "ssh": "fetch the files before the build, and COPY them",
}
_SYNONYMS = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
_NUMBER = re.compile(r"\d+", re.ASCII)
_OCTAL = re.compile(r"0*[0-7]{1,4}", re.ASCII)
_SIZE = re.compile(r"\d+(\.\d+)? ?([kKmMgGtTpP]?[iI]?[bB]?)", re.ASCII)
_BOOLEANS = frozenset({"1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"})
"""Values that Go's strconv.ParseBool accepts."""

_FITS: Mapping[str, Callable[[str], object]] = {
    "type": lambda value: value.lower() in _TYPES,
    "readonly": _BOOLEANS.__contains__,
    "readwrite": _BOOLEANS.__contains__,
    "required": _BOOLEANS.__contains__,
    "sharing": lambda value: value.lower() in _SHARING,
    "mode": _OCTAL.fullmatch,
    "uid": _NUMBER.fullmatch,
    "gid": _NUMBER.fullmatch,
    "size": _SIZE.fullmatch,
    **dict.fromkeys(("from", "source", "target", "id", "env"), lambda value: True),  # noqa: ARG005 - same signature
}
_OF_TYPE: Mapping[str, tuple[str, ...]] = {
    "sharing": ("cache",),
    "size": ("tmpfs",),
    "required": ("secret", "ssh"),
    **dict.fromkeys(("mode", "uid", "gid"), ("cache", "secret", "ssh")),
}


@frozen
class Mount:
    """A mount of one RUN: an empty folder, or a copy of a source.

    Attributes:
        target: The absolute path of the mount.
        mode: The folder's permissions in octal digits; empty to keep them.
        source: A path in the context or in `origin`; empty for an empty folder.
        origin: A stage or image; empty for the context.
    """

    target: str
    mode: str = ""
    source: str = ""
    origin: str = ""


def read_mounts(instruction: Instruction, expand: Callable[[str], str], workdir: str) -> tuple[Mount, ...]:
    """Return the mounts of a RUN, outer folders first.

    A cache is empty at the start, because a RUN must work with a cache of any content (Dockerfile reference). Files that a
    RUN writes to a mount are removed afterwards, even if the mount is not read-only. So ``id``, ``sharing`` and ``size``
    have no effect. ``uid`` and ``gid`` have no effect because everything runs as root.

    Args:
        instruction: The RUN.
        expand: Replaces the variables in a value.
        workdir: The base of relative targets.

    Raises:
        DefinitionError: A mount is malformed, or has the type secret or ssh.
    """
    mounts = {
        mount.target: mount
        for flag, value in instruction.flags
        if flag == "mount"
        for mount in (_mount(instruction, value, expand, workdir),)
    }
    return tuple(mounts[target] for target in sorted(mounts))


def _mount(instruction: Instruction, text: str, expand: Callable[[str], str], workdir: str) -> Mount:
    fields = _fields(instruction, text, expand)
    kind = fields.get("type", "bind").lower()
    if kind in _WAY_OUT:
        raise instruction.refused(
            f"has --mount={text}, which Apptainer does not support; remove the option, and {_WAY_OUT[kind]}"
        )
    if kind != "bind" and ("from" in fields or posixpath.normpath("/" + fields.get("source", "")).strip("/")):
        raise instruction.refused(
            f"has --mount={text}, a {kind} with initial content; COPY that content to the folder first"
        )
    for key, kinds in _OF_TYPE.items():
        if key in fields and kind not in kinds:
            raise instruction.refused(
                f"has --mount={text}, but {key!r} is only valid for mounts of type {' and '.join(kinds)}"
            )
    target = posixpath.normpath(posixpath.join("/", workdir, fields.get("target", ""))).replace("//", "/")
    if target == "/" or under(HOST_FOLDERS, target):
        raise instruction.refused(
            f"has --mount={text}, but {target} cannot be a mount's target during a build; use another folder"
        )
    if kind == "bind":
        return Mount(target=target, source=fields.get("source") or "/", origin=fields.get("from", ""))
    return Mount(target=target, mode=fields.get("mode", ""))


def _fields(instruction: Instruction, text: str, expand: Callable[[str], str]) -> dict[str, str]:
    """Parse ``KEY=VALUE,...``, which is a line of CSV. The keys of the result are in lower case and without synonyms."""
    try:
        [row] = csv.reader([text], strict=True)
    except (csv.Error, ValueError) as error:
        raise instruction.refused(f"has --mount={text}, which is malformed: {error}; use KEY=VALUE,...") from error
    fields: dict[str, str] = {}
    for field in row:
        name, sign, value = field.partition("=")
        key = _SYNONYMS.get(name.lower(), name.lower())
        if key not in _FITS:
            raise instruction.refused(f"has --mount={text}, with the unknown key {name!r}; known keys: {', '.join(_FITS)}")
        if not sign and key not in ("readonly", "readwrite", "required"):
            raise instruction.refused(f"has --mount={text}, where {field!r} has no value; use {field}=VALUE")
        if key == "from" and "$" in value:
            raise instruction.refused(f"has --mount={text}; use a literal stage or image for 'from'")
        value = expand(value) if key != "from" else value
        if sign and not _FITS[key](value):
            raise instruction.refused(f"has --mount={text}, where {value!r} is not valid for {name!r}")
        fields[key] = value
    return fields
