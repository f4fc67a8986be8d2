"""Check single values of settings files and options, and convert them to plain values.

Every check raises `ConfigError` for an invalid value; the docstrings do not repeat this. The message has the value found
and the value expected. The caller adds the key path or the option.
"""

import re
from collections.abc import Callable, Sequence

from hpcdeploy.config.reading import Leaf, found
from hpcdeploy.config.units import MEMORY, TIME, no_memory, no_time, parse_memory, parse_time
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Array, Bind
from hpcdeploy.plain_text import meant

LARGEST = 10**9
"""Maximum of whole numbers, such as nodes, GPUs, CPUs or tasks; a larger number is probably a typing error."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_RESERVED_VARIABLE = re.compile(r"(HPCDEPLOY_|APPTAINER|SINGULARITY)", re.IGNORECASE)
SHELLS_OWN = (
    "BASHOPTS", "BASHPID", "BASH_ALIASES", "BASH_ARGC", "BASH_ARGV", "BASH_ARGV0", "BASH_CMDS", "BASH_COMMAND",
    "BASH_LINENO", "BASH_MONOSECONDS", "BASH_REMATCH", "BASH_SOURCE", "BASH_SUBSHELL", "BASH_TRAPSIG", "BASH_VERSINFO",
    "DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "EUID", "FUNCNAME", "GROUPS", "HISTCMD", "LINENO", "OPTIND", "PIPESTATUS",
    "PPID", "RANDOM", "SECONDS", "SHELLOPTS", "SHLVL", "SRANDOM", "UID", "_",
)  # fmt: skip
"""Variables that a shell manages itself (bash(1), "Shell Variables", up to bash 5.3), which users must not set.

- Some are read-only: a ``/bin/sh`` script that sets one of them ends with an error.
- ``OPTIND`` may only be a number: dash ends with an error if a script sets it to other text.
- For the other variables, the program gets the shell's value instead of the user's.

Tested with bash 5.2 and dash 0.5.12.
"""

BIND = 'a path on the cluster, as "SOURCE", "SOURCE:DESTINATION" or "SOURCE:DESTINATION:ro"'
ARRAY = 'a number of tasks, or "0-99%10" for tasks 0 to 99, ten at once'


def text(value: object) -> str:
    """Return `value` if it is a string without NUL, because a NUL cannot be passed to a program."""
    if not isinstance(value, str):
        quoted = f': write "{found(value)}"' if isinstance(value, int | float) else ""
        raise ConfigError(f"found {found(value)}; expected a string{quoted}")
    if "\0" in value:
        raise ConfigError(
            f"found {found(value)}; expected a string without NUL characters, which cannot be passed to a program"
        )
    return value


def line(value: object) -> str:
    """Return `value` if it is one line of text: not blank, and without control characters.

    A line break in a directive would start another directive.
    """
    words = text(value)
    if not words.strip():
        raise ConfigError(f"found {found(value)}; expected text that is not blank; or omit the key")
    if _CONTROL.search(words):
        raise ConfigError(f"found {found(value)}; expected one line without control characters")
    return words


def name(value: object) -> str:
    """Return the name of a job, an image or a cluster.

    The characters are restricted because the name becomes a part of file names and of the scheduler's job name.
    """
    words = text(value)
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", words) or words in {".", ".."}:
        raise ConfigError(f"found {found(value)}; expected a name of 1 to 64 letters, digits, dots, dashes and underscores")
    return words


def label(value: object) -> str:
    """Return the type of a GPU, which must be one word, because options contain it between colons or quotes."""
    words = text(value)
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", words):
        raise ConfigError(f"found {found(value)}; expected one word of letters, digits, dots, dashes and underscores")
    return words


def user_name(value: object) -> str:
    """Return the name or id of a user on a cluster.

    ``@``, ``+`` and ``\\`` are allowed, because names from a directory service may contain them.
    """
    words = text(value)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._@+\\-]{0,99}", words):
        raise ConfigError(f'found {found(value)}; expected the name or id of a user, such as "alice" or "1042"')
    return words


def variable(value: str) -> str:
    """Return the name of an environment variable that a shell can set, and that hpcdeploy and Apptainer do not use."""
    identifier(value)
    if _RESERVED_VARIABLE.match(value):
        raise ConfigError(
            f"found {found(value)}; expected another name, because hpcdeploy and Apptainer use variables whose names start "
            "like this one"
        )
    if value in SHELLS_OWN:
        raise ConfigError(
            f"found {found(value)}; expected a variable that shells do not manage themselves, so none of "
            f"{', '.join(SHELLS_OWN)}. "
            'Use another name, or set the variable in the command: ["env", "NAME=VALUE", "PROGRAM"]'
        )
    return value


def identifier(value: str) -> str:
    """Return a name that shells accept for a variable."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ConfigError(
            f"found {found(value)}; expected a name of letters, digits and underscores that does not start with a digit"
        )
    return value


def whole(least: int) -> Callable[[object], int]:
    """Return a parser of whole numbers with the minimum `least`."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= LARGEST:
            raise ConfigError(f"found {found(value)}; expected a whole number from {least} to {LARGEST}")
        return value

    return read


def number(least: int) -> Leaf:
    """Return the kind of a value (`Leaf`) that is a whole number with the minimum `least`."""
    return Leaf(whole(least), {"type": "integer", "minimum": least, "maximum": LARGEST})


def true_or_false(value: object) -> bool:
    """Return `value` if it is a boolean."""
    if not isinstance(value, bool):
        raise ConfigError(f"found {found(value)}; expected true or false")
    return value


FLAG = Leaf(true_or_false, {"type": "boolean"})


def choice(known: Sequence[str]) -> Callable[[object], str]:
    """Return a function that returns its argument if this is one of the words `known`."""

    def read(value: object) -> str:
        if isinstance(value, str) and value in known:
            return value
        close = meant(value, known) if isinstance(value, str) else None
        advice = f'; did you mean "{close}"?' if close else ""
        raise ConfigError(f"found {found(value)}; expected {' or '.join(found(word) for word in known)}{advice}")

    return read


def one_of(known: Sequence[str]) -> Leaf:
    """Return the kind of a value (`Leaf`) that is one of the words `known`."""
    return Leaf(choice(known), {"enum": list(known)})


def memory(value: object) -> int:
    """Return an amount of memory or disk space in MiB (see `parse_memory`)."""
    if not isinstance(value, str):
        raise no_memory(value)
    return parse_memory(value)


def node_memory(value: object) -> int:
    """Return a node's memory in MiB (see `parse_memory`).

    0 is rejected, because only for Slurm it means all memory of the node.
    """
    if _is_none(value, r"([kmgtp](i?b)?)?"):
        raise ConfigError(
            f'found {found(value)}; expected {MEMORY}. To request all memory of a node, use slurm = {{ mem = "0" }} '
            "instead of this key"
        )
    return memory(value)


def time_limit(value: object) -> int:
    """Return a time limit in seconds (see `parse_time`).

    0 is rejected, because only for Slurm it means no limit.
    """
    if _is_none(value, r"[a-z]*|(:00?){1,2}"):
        raise ConfigError(
            f'found {found(value)}; expected {TIME}. For a job without a time limit, use slurm = {{ time = "0" }} instead '
            "of this key"
        )
    return time(value)


def _is_none(value: object, units: str) -> bool:
    """Tell whether `value` is an amount of zero, with or without one of `units`."""
    return not isinstance(value, bool) and re.fullmatch(rf"\s*0+(\.0*)?\s*({units})\s*", str(value).lower()) is not None


def gpu_count(value: object) -> int:
    """Return a number of GPUs; `value` may be a string of digits, as options of the command line are."""
    if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value):
        return int(value)
    return whole(0)(value)


def time(value: object) -> int:
    """Return a time in seconds (see `parse_time`)."""
    if not isinstance(value, str):
        raise no_time(value)
    return parse_time(value)


def version(value: object) -> str:
    """Return a version of CUDA, such as ``"12.4"``, that a driver must support."""
    words = text(value).strip(" \t")
    if not re.fullmatch(r"[0-9]{1,3}\.[0-9]{1,3}", words):
        raise ConfigError(f'found {found(value)}; expected a version of CUDA with two numbers, such as "12.4"')
    return words


def capability(value: object) -> tuple[str, str]:
    """Return the minimum and the maximum of compute capabilities, as in ``"8.0"`` (no maximum: empty) or ``"7.5-9.0"``."""
    words = text(value)
    match = re.fullmatch(r"[ \t]*([0-9]{1,3}\.[0-9])(?:[ \t]*-[ \t]*([0-9]{1,3}\.[0-9]))?[ \t]*", words)
    if match is None or (match[2] and float(match[2]) < float(match[1])):
        raise ConfigError(
            f"found {found(value)}; expected a minimum compute capability, "
            'such as "8.0", or a minimum and a maximum, such as "7.5-9.0"'
        )
    return match[1], match[2] or ""


def cluster_path(value: object) -> str:
    """Return a path on a cluster: absolute, or starting with a variable, which is expanded on the cluster.

    ``~`` at the start becomes ``$HOME``.
    """
    words = re.sub(r"^~(?=/|$)", "$HOME", line(value))
    if not re.match(r"/|\$[A-Za-z_{]", words):
        raise ConfigError(
            f"found {found(value)}; expected an absolute path on the cluster, or one that starts with ~/ or $VAR"
        )
    return words


def image_path(value: object) -> str:
    """Return an absolute path inside an image."""
    words = line(value)
    if not words.startswith("/"):
        raise ConfigError(f'found {found(value)}; expected an absolute path in the image, such as "/app"')
    return words


def project_path(value: object) -> str:
    """Return a path relative to the project's folder."""
    words = line(value)
    if words.startswith(("/", "~")):
        raise ConfigError(f"found {found(value)}; expected a path relative to the project's folder")
    return words


def bind(source: object, destination: object = "", *, read_only: bool = False) -> Bind:
    """Return a bind of a path on the cluster to a path in the container; an empty destination means the same path."""
    place = image_path(destination) if destination != "" else ""
    return Bind(source=cluster_path(source), destination=place, read_only=read_only)


def parse_bind(words: str) -> Bind:
    """Parse a bind: ``SOURCE[:DESTINATION[:ro|rw]]``, as for ``apptainer exec --bind``.

    A path with a colon can only be given as a table. A comma is rejected, because Apptainer uses it to separate two binds.
    """
    source, *more = words.split(":")
    if "," in words or len(more) > 2 or (len(more) == 2 and more[1] not in {"ro", "rw"}):
        raise ConfigError(f'found {found(words)}; expected {BIND}, or {{ source = "…", destination = "…" }}')
    return bind(source, more[0] if more else "", read_only=more[1:] == ["ro"])


def parse_array(words: str) -> Array:
    """Parse an array: ``"100"`` (100 tasks), ``"0-99"``, ``"0-99%10"``, or ``"0"`` (the single task 0)."""
    match = re.fullmatch(r"(?:([0-9]{1,10})-)?([0-9]{1,10})(?:%([0-9]{1,10}))?", words.strip())
    if match is None:
        raise ConfigError(f"found {found(words)}; expected {ARRAY}")
    if match[1] is not None and int(match[1]) != 0:
        count = max(int(match[2]) - int(match[1]), 0)
        raise ConfigError(f'found {found(words)}; expected {ARRAY}: task numbers start at 0, so use "0-{count}"')
    last = match[1] is not None or int(match[2]) == 0
    return array(int(match[2]) + last, int(match[3]) if match[3] else 0)


def array(size: object, throttle: object = 0) -> Array:
    """Return an array of `size` tasks, of which at most `throttle` run at once (0: no limit)."""
    return Array(size=whole(1)(size), throttle=whole(0)(throttle))
