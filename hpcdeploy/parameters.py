r"""Define the parameters of a sweep: a table with one row of values per task, and placeholders in the texts of a job.

The row of a task is sent to its compute node as one line, ``TASK NAME=VALUE NAME=VALUE ...``. The characters in `_PLAIN` are
sent unchanged. Each other byte of a value is sent as ``\0`` and three octal digits, which ``printf %b`` of any POSIX shell
converts (XCU, printf, "b" conversion). So the quoting rules of a scheduler cannot change a value.
"""

import re
from collections.abc import Iterable, Iterator

from hpcdeploy.errors import ConfigError
from hpcdeploy.frozen import frozen
from hpcdeploy.plain_text import meant

VARIABLE = "HPCDEPLOY_PARAM_"
"""Prefix of the environment variable with the value of a parameter. The name of the parameter follows."""

_LONGEST = 128 * 1024 - 1  # execve(2), MAX_ARG_STRLEN
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/:@+-")
_BRACES = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}|[{}]")


@frozen
class Parameters:
    """The values of a sweep's parameters.

    Attributes:
        names: The names of the parameters.
        rows: One row per task, with the values in the order of `names`. A value may contain any character except NUL.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def of(self, row: int) -> dict[str, str]:
        """Return the values of one row by name."""
        return dict(zip(self.names, self.rows[row], strict=True))


@frozen
class Placeholder:
    """The position of ``{name}`` in a text, which the value of a parameter replaces."""

    name: str


def pieces(text: str, names: Iterable[str]) -> Iterator[str | Placeholder]:
    """Yield the parts of `text`: placeholders ``{name}``, and the text between them.

    ``{{`` and ``}}`` in `text` are literal braces, as in Python's ``str.format``.

    Raises:
        ConfigError: A name is not in `names`, or a brace is unmatched.
    """
    known = tuple(names)
    position = 0
    for match in _BRACES.finditer(text):
        yield text[position : match.start()]
        position = match.end()
        sign, name = match[0], match[1]
        if sign in {"{{", "}}"}:
            yield sign[0]
        elif name is None:
            raise ConfigError(
                f"found an unmatched brace in {_near(text, match.start())}; expected {{NAME}} of a parameter, "
                f"or {sign * 2} for a literal brace, because the job has a sweep"
            )
        elif name not in known:
            close = meant(name, known)
            advice = f"did you mean {{{close}}}?" if close else f"known: {', '.join(f'{{{word}}}' for word in known)}."
            raise ConfigError(
                f"found {{{name}}} in {_near(text, match.start())}; no parameter of the sweep has that name; {advice} "
                f"Use {{{{{name}}}}} for literal braces"
            )
        else:
            yield Placeholder(name=name)
    yield text[position:]


def filled(text: str, values: dict[str, str]) -> str:
    """Return `text` with its placeholders replaced by `values`.

    Raises:
        ConfigError: A name is not in `values`, or a brace is unmatched.
    """
    return "".join(values[piece.name] if isinstance(piece, Placeholder) else piece for piece in pieces(text, values))


def task_line(number: int, values: dict[str, str]) -> str:
    """Return the line with the number of a task and its parameters, as described in this module's docstring.

    Raises:
        ConfigError: A parameter is longer than Linux allows for an argument or environment variable.
    """
    assignments = [f"{name}={_plain(value)}" for name, value in values.items()]
    for name, word in zip(values, assignments, strict=True):
        if len(VARIABLE) + len(word) > _LONGEST:
            raise ConfigError(
                f"task {number}: the value of {name} takes {len(word)} bytes as an argument, but Linux allows "
                f"at most {_LONGEST} per argument. Put it into a file, and sweep over the file's name"
            )
    return " ".join([str(number), *assignments])


def _plain(value: str) -> str:
    return "".join(chr(byte) if byte in _PLAIN else f"\\0{byte:03o}" for byte in value.encode("utf-8", "surrogateescape"))


def _near(text: str, position: int) -> str:
    start = max(position - 20, 0)
    return repr(("…" if start else "") + text[start : position + 30] + ("…" if position + 30 < len(text) else ""))
