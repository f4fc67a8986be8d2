"""``[activation.env]`` of a Pixi environment: values that name variables, and how a starting container evaluates them.

Pixi writes a value that holds a ``$`` between double quotes into its activation, with a backslash before each double quote;
every other value stands there as it is (conda/rattler, ``Bash::set_env_var`` in crates/rattler_shell/src/shell/mod.rs). The
variables come after the scripts, in the manifest's order (prefix-dev/pixi, ``get_activator`` in
crates/pixi_core/src/activation.rs). So a value is read here as bash reads it between double quotes (bash(1), QUOTING and
Parameter Expansion).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NAMED = re.compile(r"\$\{?[!#]?([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_OPERATOR = re.compile(r":?[-+]")
_SPECIAL = re.compile(r'([\\"`$])')
_PARAMETERS = frozenset("0123456789@*#?-$!([")
_NOT_KEPT = re.compile(
    r"PIXI_EXE|PIXI_PROMPT|_|S?RANDOM|SECONDS|LINENO|EPOCH\w+|BASH\w*|PPID|SHLVL|IFS|FUNCNAME|GROUPS|DIRSTACK"
)
"""What Pixi sets and the image does not, being about the pixi that activated; and what is bash's own."""

_OF_SHELLS = re.compile(
    r"PATH|PWD|OLDPWD|HOME|IFS|PS[0-4]|SHLVL|SHELL|_|U?E?UID|E?GID|PPID|GROUPS|RANDOM|SRANDOM|SECONDS|LINENO|EPOCH\w+|OPT\w+"
    r"|FUNCNAME|PIPESTATUS|REPLY|COMP_\w+|COMPREPLY|HIST\w+|BASH\w*|SHELLOPTS|POSIXLY_CORRECT|ENV|DIRSTACK|COLUMNS|LINES"
    r"|LD_PRELOAD|LD_AUDIT|PYTHONHOME|CONDA_\w+|_CONDA_\w+|PIXI_\w+|ZSH_\w+"
)
"""Variables that mean something to the shell, the loader or Pixi itself, which no surroundings can change at will."""

SURROUNDINGS = (
    *("USER", "LOGNAME", "HOSTNAME", "SCRATCH", "WORK", "PROJECT", "TMPDIR", "OMP_NUM_THREADS"),
    *("SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_CPUS_ON_NODE"),
    *("SLURM_NNODES", "SLURM_NODEID", "SLURM_GPUS_ON_NODE", "SLURM_TMPDIR", "SLURM_MEM_PER_NODE", "_CONDOR_SCRATCH_DIR"),
)
"""Variables that are other ones in a job than where an image is built."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """A variable that is evaluated when a container starts.

    ``text`` is what stands between double quotes for any POSIX shell, ``extends`` tells whether it names its own old value.
    """

    name: str
    text: str
    extends: bool = False


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What becomes of the values: ``started`` in the manifest's order, ``kept`` are names of those that cannot be so.

    ``outside`` are the variables that the former name and that neither Pixi nor PATH says.
    """

    started: tuple[Started, ...] = ()
    outside: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def evaluate(variables: Mapping[str, str]) -> Evaluation:
    """Choose the values that a container evaluates as it starts: those that name what neither Pixi nor PATH says.

    A value that names another such value is one too.
    """
    started: list[Started] = []
    kept: list[str] = []
    named: set[str] = set()
    for name, value in variables.items():
        found = _read(value)
        if found is None:
            kept.append(name)
            continue
        text, names = found
        outside = {one for one in names if not (one == "PATH" or one.startswith(("CONDA_", "PIXI_")))}
        if outside and any(map(_NOT_KEPT.fullmatch, names)):
            kept.append(name)
        elif outside and _NAME.fullmatch(name):
            started.append(Started(name=name, text=text, extends=name in names))
            named |= outside
    return Evaluation(started=tuple(started), outside=tuple(sorted(named)), kept=tuple(kept))


def surroundings(scripts: Iterable[str], variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables that an activation may depend on: those that its scripts and values name, and a job's own."""
    named = {name for text in (*scripts, *variables.values()) for name in _NAMED.findall(text)}
    return tuple(sorted(name for name in {*SURROUNDINGS, *named} if not _OF_SHELLS.fullmatch(name)))


def _read(value: str) -> tuple[str, set[str]] | None:
    """Return a value's text for the inside of double quotes, and the variables it names; None if it needs more than that.

    More are commands, arithmetic, positional parameters, and all operators but ``-``, ``:-``, ``+`` and ``:+``.
    """
    if "$" not in value:
        return "", set()
    names: set[str] = set()
    try:
        text, end = _text(value, 0, names, inner=False)
    except _NeedsShellError:
        return None
    assert end == len(value)
    return text, names


class _NeedsShellError(Exception):
    """Only a whole shell can evaluate this."""


def _text(value: str, start: int, names: set[str], *, inner: bool) -> tuple[str, int]:
    """Read up to the end of the value, or of the operand (`inner`) that begins at `start`; return where that is, too."""
    result, place = "", start
    while place < len(value) and not (inner and value[place] == "}"):
        literal, reference, place = _piece(value, place, names)
        if inner and literal in tuple("\\\"'`$"):
            raise _NeedsShellError  # shells differ in how these are escaped in an operand
        result += reference or _SPECIAL.sub(r"\\\1", literal)
    if inner and place >= len(value):
        raise _NeedsShellError
    return result, place


def _piece(value: str, place: int, names: set[str]) -> tuple[str, str, int]:
    """Return the next literal character, or the next reference as it is to be written, and the place behind it."""
    character, following = value[place], value[place + 1 : place + 2]
    if character == "`" or (character == "\\" and following in ('"', "")):
        raise _NeedsShellError  # a command; or Pixi's own line ends its quotes in another place
    if character == "\\" and following in ("$", "`", "\\", "\n"):
        return following.strip("\n"), "", place + 2
    if character != "$":
        return character, "", place + 1
    if match := _NAME.match(value, place + 1):
        names.add(match[0])
        return "", f"${{{match[0]}}}", match.end()
    if following == "{":
        return "", *_braced(value, place + 2, names)
    if following in _PARAMETERS:
        raise _NeedsShellError
    return "$", "", place + 1


def _braced(value: str, place: int, names: set[str]) -> tuple[str, int]:
    match = _NAME.match(value, place)
    if match is None:
        raise _NeedsShellError
    names.add(match[0])
    place = match.end()
    if value[place : place + 1] == "}":
        return f"${{{match[0]}}}", place + 1
    operator = _OPERATOR.match(value, place)
    if operator is None:
        raise _NeedsShellError
    operand, end = _text(value, operator.end(), names, inner=True)
    return f"${{{match[0]}{operator[0]}{operand}}}", end + 1
