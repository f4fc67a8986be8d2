"""Turn values into shell text: words for any POSIX shell, and paths that the remote shell expands."""

import re
import shlex
from collections.abc import Mapping

from hpcdeploy.errors import ConfigError

_VARIABLE = re.compile(r"\$(?:\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<bare>[A-Za-z_][A-Za-z0-9_]*))")


def word(text: str) -> str:
    """Quote `text` so that any POSIX shell reads exactly one word, whatever `text` contains.

    Raises:
        ConfigError: The text contains a NUL, which no operating system accepts in an argument (execve(2)).
    """
    if "\0" in text:
        raise ConfigError(
            f"{text!r} contains a NUL character, which a program argument cannot contain; remove that character"
        )
    return shlex.quote(text)


def words(texts: tuple[str, ...]) -> str:
    """Quote several words, separated by spaces.

    Raises:
        ConfigError: A word contains a NUL.
    """
    return " ".join(map(word, texts))


def path(text: str) -> str:
    """Turn a path that may contain ``$VAR`` or ``${VAR}``, or begin with ``~/``, into one shell word for the remote shell.

    Other text, including other ``$``, stays literal. If a variable is unset or empty, the shell ends with a message that
    names the variable (``${VAR:?...}``, POSIX 2.6.2). So a missing variable cannot silently change the path.

    Raises:
        ConfigError: The path contains a line break or a NUL.
    """
    if "\n" in text or "\0" in text:
        raise ConfigError(f"the path {text!r} contains a line break or a NUL; use another folder")
    pieces: list[str] = []
    if text == "~" or text.startswith("~/"):
        text = "$HOME" + text[1:]
    position = 0
    for match in _VARIABLE.finditer(text):
        if match.start() > position:
            pieces.append(word(text[position : match.start()]))
        name = match["braced"] or match["bare"]
        pieces.append(f'"${{{name}:?is not set on this machine, but the path needs it: set it, or name another path}}"')
        position = match.end()
    if position < len(text):
        pieces.append(word(text[position:]))
    return "".join(pieces) or "''"


def variables(text: str) -> tuple[str, ...]:
    """Return the names of the variables that `path` makes the remote shell expand, except ``HOME`` for a leading ``~``."""
    return tuple(match["braced"] or match["bare"] for match in _VARIABLE.finditer(text))


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """Expand ``$VAR`` and ``${VAR}`` in a path on this machine, by the same rules as `path`.

    Raises:
        ConfigError: A variable is unset or empty in `environment`.
    """

    def value(match: re.Match[str]) -> str:
        name = match["braced"] or match["bare"]
        if not environment.get(name):
            raise ConfigError(
                f"the path {text!r} needs {name}, which is not set on this machine: set it, or use another path"
            )
        return environment[name]

    return _VARIABLE.sub(value, text)
