"""The one place where values become shell text: words for any POSIX shell, and paths that the far side expands."""

import re
import shlex
from collections.abc import Mapping

from hpcdeploy.errors import ConfigError

_VARIABLE = re.compile(r"\$(?:\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<bare>[A-Za-z_][A-Za-z0-9_]*))")


def word(text: str) -> str:
    """Quote `text` so that any POSIX shell reads exactly one word, whatever it holds.

    Raises `ConfigError` for a NUL: no operating system can hand such a word to a program (execve(2)).
    """
    if "\0" in text:
        raise ConfigError(f"{text!r} holds a NUL character, which no program can be given; leave it out")
    return shlex.quote(text)


def words(texts: tuple[str, ...]) -> str:
    """Quote several words, with a space between."""
    return " ".join(map(word, texts))


def path(text: str) -> str:
    """Turn a path that may hold ``$VAR`` or ``${VAR}``, or begin with ``~/``, into one shell word expanded over there.

    Everything else stays as it is, other ``$`` included. An unset or empty variable ends the shell with a message that
    names it (``${VAR:?...}``, POSIX 2.6.2) instead of quietly naming another folder.
    """
    if "\n" in text or "\0" in text:
        raise ConfigError(f"the path {text!r} holds a line break or a NUL; name a folder without one")
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
    """Return the names of the variables that `path` has expanded over there, ``HOME`` for a leading ``~`` not among them."""
    return tuple(match["braced"] or match["bare"] for match in _VARIABLE.finditer(text))


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """Expand ``$VAR`` and ``${VAR}`` in a path here and now, by the rules by which `path` has them expanded elsewhere.

    Raises `ConfigError` for a variable that `environment` has not, or has empty.
    """

    def value(match: re.Match[str]) -> str:
        name = match["braced"] or match["bare"]
        if not environment.get(name):
            raise ConfigError(
                f"the path {text!r} needs {name}, which is not set on this machine: set it, or name another path"
            )
        return environment[name]

    return _VARIABLE.sub(value, text)
