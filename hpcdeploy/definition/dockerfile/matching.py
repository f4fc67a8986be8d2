"""Which paths a pattern means: Go's ``filepath.Match`` for COPY, moby/patternmatcher for ``.dockerignore``."""

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hpcdeploy.errors import DefinitionError
from hpcdeploy.wildcards import FOLDERS, STAR, joined

_WITHIN = "(?:.*/)?"
"""What ``**`` means beside other characters than a slash, as in ``a**b``; here a later fit may be the only one."""

_PLAIN = {STAR: "[^/]*", FOLDERS: "(?:.*/)?", _WITHIN: _WITHIN}
_MOST_WITHIN = 4
"""Wildcards of a pattern that holds such a one: each multiplies the time by the length of the path."""

WILDCARDS = frozenset("*?[\\")


def has_wildcard(path: str) -> bool:
    """Tell whether a COPY source is a pattern."""
    return any(character in WILDCARDS for character in path)


def match_source(pattern: str, path: str) -> bool:
    """Tell whether `pattern` means the whole of `path`, as Go's ``filepath.Match`` (a wildcard never meets a slash)."""
    return re.fullmatch(_regex(pattern, doublestar=False), path, re.DOTALL) is not None


@dataclass(frozen=True, kw_only=True)
class Ignore:
    """A ``.dockerignore``: patterns in order, each with whether it takes back (``!``)."""

    patterns: tuple[tuple[bool, str], ...] = ()

    @property
    def takes_back(self) -> bool:
        """Tell whether something inside an ignored folder may be wanted after all."""
        return any(back for back, _ in self.patterns)

    def ignores(self, path: str) -> bool:
        """Tell whether `path`, relative to the context, stays out. A pattern that means a folder means all in it."""
        parents = ["/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 2)]
        ignored = False
        for back, expression in self.patterns:
            if ignored == back and any(re.fullmatch(expression, parent, re.DOTALL) for parent in parents):
                ignored = not back
        return ignored


def read_ignore(text: str) -> Ignore:
    """Read a ``.dockerignore``: one pattern a line, ``#`` in column 0 a comment; `DefinitionError` for a broken pattern."""
    patterns: list[tuple[bool, str]] = []
    for raw in text.removeprefix("\ufeff").split("\n"):
        if raw.startswith("#"):
            continue
        line = raw.strip()
        back = line.startswith("!")
        line = line[1:].strip() if back else line
        if not line:
            if back:
                raise DefinitionError(".dockerignore holds a '!' without a pattern")
            continue
        cleaned = posixpath.normpath(line).lstrip("/") if line != "/" else ""
        if cleaned and cleaned != ".":
            patterns.append((back, _regex(cleaned, doublestar=True)))
    return Ignore(patterns=tuple(patterns))


def _regex(pattern: str, *, doublestar: bool) -> str:
    pieces: list[str] = []
    position = within = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*" and doublestar and pattern.startswith("*", position):
            at_folder = position == 1 or pattern[position - 2] == "/"
            position += 1
            if pattern.startswith("/", position):
                position += 1
            elif position < len(pattern):
                at_folder = False
            pieces.append(".*" if position == len(pattern) else FOLDERS if at_folder else _WITHIN)
            within += pieces[-1] == _WITHIN
        elif character == "*":
            pieces.append(STAR)
        elif character == "?":
            pieces.append("[^/]")
        elif character == "[":
            text, position = _range(pattern, position)
            pieces.append(text)
        elif character == "\\":
            if position == len(pattern):
                raise DefinitionError(f"the pattern {pattern!r} ends with a backslash that escapes nothing")
            pieces.append(re.escape(pattern[position]))
            position += 1
        else:
            pieces.append(re.escape(character))
    if not within:
        return joined(pieces)
    if sum(piece in _PLAIN for piece in pieces) > _MOST_WITHIN:
        raise DefinitionError(
            f"the pattern {pattern!r} has ** inside of a name and more than {_MOST_WITHIN} wildcards; write ** as a whole "
            "part: a/**/b"
        )
    return "".join(_PLAIN.get(piece, piece) for piece in pieces)


def _range(pattern: str, position: int) -> tuple[str, int]:
    """Read ``[a-z]`` or ``[^a-z]`` after its bracket."""
    negated = pattern.startswith("^", position)
    position += negated
    parts = ""
    while position < len(pattern):
        if pattern[position] == "]" and parts:
            return f"[{'^/' if negated else ''}{parts}]", position + 1
        if pattern[position] in "]-":
            break
        low, position = _one(pattern, position)
        parts += re.escape(low)
        if pattern.startswith("-", position):
            high, position = _one(pattern, position + 1)
            if high < low or high == "]":
                break
            parts += f"-{re.escape(high)}"
    raise DefinitionError(f"the pattern {pattern!r} holds a '[' that begins no range such as [a-z]")


def _one(pattern: str, position: int) -> tuple[str, int]:
    if pattern.startswith("\\", position):
        position += 1
    if position >= len(pattern):
        raise DefinitionError(f"the pattern {pattern!r} ends inside a range")
    return pattern[position], position + 1


def under(patterns: Sequence[str], path: str) -> bool:
    """Tell whether `path` is one of `patterns`' folders, or lies in one."""
    return any(path == folder or path.startswith(f"{folder}/") for folder in patterns)
