"""Evaluate ``[activation.env]`` of a Pixi environment when a container starts, for values with variables.

Pixi writes a value with ``$`` in double quotes, with a backslash before each double quote; other values are written
unchanged (conda/rattler, ``Bash::set_env_var`` in crates/rattler_shell/src/shell/mod.rs). The variables follow the scripts,
in the manifest's order (prefix-dev/pixi, ``get_activator`` in crates/pixi_core/src/activation.rs). So a value is parsed here
as bash parses text in double quotes (bash(1), QUOTING and Parameter Expansion).
"""

import re
from collections.abc import Iterable, Mapping

from hpcdeploy.frozen import frozen

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NAMED = re.compile(r"\$\{?[!#]?([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_OPERATOR = re.compile(r":?[-+]")
_SPECIAL = re.compile(r'([\\"`$])')
_PARAMETERS = frozenset("0123456789@*#?-$!([")
_NOT_KEPT = re.compile(
    r"PIXI_EXE|PIXI_PROMPT|_|S?RANDOM|SECONDS|LINENO|EPOCH\w+|BASH\w*|PPID|SHLVL|IFS|FUNCNAME|GROUPS|DIRSTACK"
)
"""Variables that Pixi sets for its activation and that the image lacks, and variables that bash sets itself."""

_OF_SHELLS = re.compile(
    r"PATH|PWD|OLDPWD|HOME|IFS|PS[0-4]|SHLVL|SHELL|_|U?E?UID|E?GID|PPID|GROUPS|RANDOM|SRANDOM|SECONDS|LINENO|EPOCH\w+|OPT\w+"
    r"|FUNCNAME|PIPESTATUS|REPLY|COMP_\w+|COMPREPLY|HIST\w+|BASH\w*|SHELLOPTS|POSIXLY_CORRECT|ENV|DIRSTACK|COLUMNS|LINES"
    r"|LD_PRELOAD|LD_AUDIT|PYTHONHOME|CONDA_\w+|_CONDA_\w+|PIXI_\w+|ZSH_\w+"
)
"""Variables with a meaning for the shell, the loader or Pixi. The build does not change them in the second activation."""

SURROUNDINGS = (
    *("USER", "LOGNAME", "HOSTNAME", "SCRATCH", "WORK", "PROJECT", "TMPDIR", "OMP_NUM_THREADS"),
    *("SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_CPUS_ON_NODE"),
    *("SLURM_NNODES", "SLURM_NODEID", "SLURM_GPUS_ON_NODE", "SLURM_TMPDIR", "SLURM_MEM_PER_NODE", "_CONDOR_SCRATCH_DIR"),
)
"""Variables that differ between a job and the build of an image."""


@frozen
class Started:
    """A variable that is evaluated when a container starts.

    Attributes:
        name: The variable's name.
        text: The variable's value as text between double quotes, for any POSIX shell.
        extends: The value uses the earlier value of the same variable.
    """

    name: str
    text: str
    extends: bool = False


@frozen
class Evaluation:
    """The result for all values.

    Attributes:
        started: The variables to evaluate when a container starts, in the manifest's order.
        outside: Names of the variables that the values of `started` use, except ``PATH``, ``CONDA_*`` and ``PIXI_*``.
        kept: Names of variables that cannot be evaluated when a container starts.
    """

    started: tuple[Started, ...] = ()
    outside: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def evaluate(variables: Mapping[str, str]) -> Evaluation:
    """Select the values to evaluate when a container starts: those that use other variables than Pixi's and ``PATH``.

    Pixi's variables are ``CONDA_*`` and ``PIXI_*``. Variables in `variables` are other variables, too.
    """
    started: list[Started] = []
    kept: list[str] = []
    named: set[str] = set()
    for name, value in variables.items():
        found = _for_any_shell(value)
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
    """Return the names of variables on which an activation may depend, except variables of shells, loaders and Pixi.

    These are the names in its scripts and values, and the names in `SURROUNDINGS`.
    """
    named = {name for text in (*scripts, *variables.values()) for name in _NAMED.findall(text)}
    return tuple(sorted(name for name in {*SURROUNDINGS, *named} if not _OF_SHELLS.fullmatch(name)))


def _for_any_shell(value: str) -> tuple[str, set[str]] | None:
    """Return a value as text between double quotes, and its variables; None if only a shell can evaluate the value.

    Commands, arithmetic, positional parameters, and all operators except ``-``, ``:-``, ``+`` and ``:+`` need a shell. The
    text is empty if the value uses no variable.
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
    """Only a shell can evaluate this value."""


def _text(value: str, start: int, names: set[str], *, inner: bool) -> tuple[str, int]:
    """Parse to the end of the value, or of the operand (`inner`) at `start`; return the text and its end."""
    result, place = "", start
    while place < len(value) and not (inner and value[place] == "}"):
        literal, reference, place = _piece(value, place, names)
        if inner and literal in tuple("\\\"'`$"):
            raise _NeedsShellError  # shells differ in escaping these in an operand
        result += reference or _SPECIAL.sub(r"\\\1", literal)
    if inner and place >= len(value):
        raise _NeedsShellError
    return result, place


def _piece(value: str, place: int, names: set[str]) -> tuple[str, str, int]:
    """Return the next literal character, or the next reference as text to write, and the position after it."""
    character, following = value[place], value[place + 1 : place + 2]
    if character == "`" or (character == "\\" and following in ('"', "")):
        raise _NeedsShellError  # a command, or a backslash before the quote with which Pixi's line ends the value
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
