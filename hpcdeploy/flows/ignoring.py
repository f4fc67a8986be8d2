"""Implement the exclusion rules of ``.gitignore`` and ``.hpcdeployignore`` (gitignore(5)) as pure functions."""

import os
import re
from collections.abc import Iterable, Sequence

from hpcdeploy.frozen import frozen
from hpcdeploy.wildcards import FOLDERS, STAR, joined

IGNORE_FILE = ".hpcdeployignore"
"""The name of the ignore file. It has the format of ``.gitignore``, and also excludes files that git tracks."""


_BRACKET = re.compile(r"\[([!^]?)(\]?(?:\\.|[^\]\\])*+)\]", re.DOTALL)


@frozen
class Rule:
    """One rule of an ignore file.

    Attributes:
        base: The path of the folder that contains the ignore file; ``""`` for the top folder.
        expression: The regular expression for paths relative to `base`.
        back: The rule starts with ``!``: it includes files that an earlier rule excludes.
        only_folders: The rule ends with ``/``: it only matches folders.
    """

    base: str
    expression: str
    back: bool
    only_folders: bool


def read_rules(text: str, base: str = "") -> tuple[Rule, ...]:
    """Parse the text of the ignore file in the folder `base`. Invalid lines are ignored, as in git."""
    rules = []
    for raw in text.removeprefix("\ufeff").split("\n"):
        line = _without_trailing_blanks(raw.removesuffix("\r"))
        if not line or line.startswith("#"):
            continue
        back = line.startswith("!")
        pattern = line[1:] if back else line
        only_folders = pattern.endswith("/")
        pattern = pattern.removesuffix("/")
        anchored = "/" in pattern
        expression = _expression(_by_byte(pattern.removeprefix("/")))
        if expression is not None and pattern:
            expression = expression if anchored else f"(?:.*/)?{expression}"
            rules.append(Rule(base=base, expression=expression, back=back, only_folders=only_folders))
    return tuple(rules)


def leaves_out(rules: Sequence[Rule], path: str, *, is_folder: bool) -> bool:
    """Tell whether the rules exclude `path`, without regard to the folders that contain it.

    The last matching rule decides. Therefore `rules` must be in the order of their folders, the deepest folder last.
    """
    for rule in reversed(rules):
        if rule.base and not path.startswith(f"{rule.base}/"):
            continue
        below = path[len(rule.base) + 1 :] if rule.base else path
        if (is_folder or not rule.only_folders) and re.fullmatch(rule.expression, _by_byte(below), re.DOTALL):
            return not rule.back
    return False


def kept(rules: Sequence[Rule], paths: Iterable[str]) -> list[str]:
    """Return the files in `paths` that are not excluded. A file is also excluded if a folder above it is excluded."""
    known: dict[str, bool] = {"": False}

    def out(folder: str) -> bool:
        if folder not in known:
            known[folder] = out(folder.rpartition("/")[0]) or leaves_out(rules, folder, is_folder=True)
        return known[folder]

    return [path for path in paths if not out(path.rpartition("/")[0]) and not leaves_out(rules, path, is_folder=False)]


def _by_byte(text: str) -> str:
    """Convert each byte to one character, because git's wildcards match bytes."""
    return os.fsencode(text).decode("latin-1")


def _without_trailing_blanks(line: str) -> str:
    bare = line.rstrip(" ")
    return f"{bare} " if bare.endswith("\\") and bare != line else bare


def _expression(pattern: str) -> str | None:
    """Return the regular expression of a pattern; None for an invalid one, which matches nothing (wildmatch.c)."""
    if pattern.endswith("\\") and not pattern.endswith("\\\\"):
        return None
    pieces: list[str] = []
    position = 0
    while position < len(pattern):
        rest = pattern[position : position + 3]
        at_folder = position == 0 or pattern[position - 1] == "/"
        if rest == "**/" and at_folder:
            pieces.append(FOLDERS)
            position += 3
        elif rest == "**" and at_folder:
            pieces.append(".+")
            position += 2
        elif rest[0] == "*":
            pieces.append(STAR)
            position += 1
        elif rest[0] == "?":
            pieces.append("[^/]")
            position += 1
        elif rest[0] == "[":
            bracket = _BRACKET.match(pattern, position)
            if bracket is None:
                return None
            pieces.append(f"(?!/)[{'^' if bracket[1] else ''}{_members(bracket[2])}]")
            position = bracket.end()
        else:
            character = rest[1] if rest[0] == "\\" else rest[0]
            pieces.append(re.escape(character))
            position += 2 if rest[0] == "\\" else 1
    result = joined(pieces)
    return result if _compiles(result) else None


def _members(inside: str) -> str:
    """Convert the content of a pattern's brackets for a regular expression: ranges stay, everything else is literal."""
    pieces = re.findall(r"\\?(.)(?:-\\?([^\]\\]))?", inside, re.DOTALL)
    return "".join(re.escape(low) + (f"-{re.escape(high)}" if high else "") for low, high in pieces)


def _compiles(expression: str) -> bool:
    try:
        re.compile(expression)
    except re.error:
        return False
    return True
