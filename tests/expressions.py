"""The regular expressions of hpcdeploy, and texts on which one that backtracks takes quadratic time or more."""

import ast
import importlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from re import _constants, _parser  # type: ignore[attr-defined]  # how Python itself reads an expression
from types import ModuleType
from typing import Any

PACKAGE = Path(__file__).parent.parent / "hpcdeploy"
FUNCTIONS = frozenset({"compile", "match", "search", "sub", "subn", "split", "findall", "finditer", "fullmatch"})
NOT_OURS = ("lab",)
"""Parts that read what the lab itself has written."""


@dataclass(frozen=True)
class Expression:
    """An expression, where it stands, and how it is used: ``match``, ``fullmatch``, ``search``.

    ``pattern`` is None where it is made of something at run time.
    """

    place: str
    pattern: re.Pattern[Any] | None
    uses: frozenset[str]

    def __str__(self) -> str:
        return self.place


def expressions() -> Iterator[Expression]:
    """Find every call of the module re, evaluate its first argument, and see how what it made is used."""
    uses = _uses_of_names()
    for file in sorted(PACKAGE.rglob("*.py")):
        name = file.relative_to(PACKAGE.parent).with_suffix("")
        if name.parts[1] in NOT_OURS or "import re\n" not in file.read_text():
            continue
        module = importlib.import_module(".".join(name.parts))
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and _calls_re(node) and node.func.attr != "compile":  # type: ignore[attr-defined]
                used = frozenset({_use(node.func.attr)})  # type: ignore[attr-defined]
                yield Expression(f"{name}.py:{node.lineno}", _evaluated(node, module), used)
        for called, value in _values(module):
            if isinstance(value, re.Pattern):
                private = f"{name}.py" if called.startswith("_") else ""
                yield Expression(f"{name}.py: {called}", value, frozenset(uses.get((private, called), {"search"})))


def _use(function: str) -> str:
    return function if function in ("match", "fullmatch") else "search"


def _uses_of_names() -> dict[tuple[str, str], set[str]]:
    """Tell of each name which functions of an expression are called on it: a private one in its file, others anywhere."""
    found: dict[tuple[str, str], set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in FUNCTIONS
                and isinstance(node.value, ast.Name | ast.Attribute)
            ):
                called = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
                private = str(file.relative_to(PACKAGE.parent)) if called.startswith("_") else ""
                found.setdefault((private, called), set()).add(_use(node.attr))
    return found


def _values(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Give the module's own values by name, and those that stand in its tuples of values."""
    for name, value in vars(module).items():
        yield name, value
        if isinstance(value, tuple):
            yield from (pair for one in value for pair in getattr(one, "__dict__", {}).items())


def _calls_re(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "re"
        and node.func.attr in FUNCTIONS
    )


def _evaluated(node: ast.Call, module: ModuleType) -> re.Pattern[Any] | None:
    flags = [word.value for word in node.keywords if word.arg == "flags"]
    flags += node.args[{"compile": 1, "sub": 4, "subn": 4, "split": 3}.get(node.func.attr, 2) :]  # type: ignore[attr-defined]
    try:
        pattern, *given = (eval(compile(ast.Expression(one), "", "eval"), vars(module)) for one in (node.args[0], *flags))
        return re.compile(pattern, *(flag for flag in given if isinstance(flag, re.RegexFlag)))
    except NameError:
        return None


@dataclass(frozen=True)
class Nearly:
    """A text of any length that an expression nearly matches: its ``beginning``, a ``piece`` again and again, an ``end``."""

    beginning: str
    piece: str
    end: str

    def of_length(self, length: int) -> str:
        """Return the text of about so many characters."""
        return self.beginning + self.piece * (length // len(self.piece)) + self.end


def texts(pattern: re.Pattern[Any]) -> Iterator[Nearly]:
    """Give texts on which the expression may go back: it is walked through, and any stretch of the walk is repeated.

    The stretch stands alone, behind all that comes before it, and behind itself: so what begins a match, what is repeated,
    and what several repetitions match, each is there in great number.
    """
    flags = pattern.flags if isinstance(pattern.pattern, bytes) else pattern.flags & ~re.UNICODE
    tree = list(_parser.parse(pattern.pattern, flags))
    made: dict[tuple[str, str], None] = {}
    for seed in range(SEEDS):
        chance = random.Random(seed)
        walk = list(_walk(tree, chance, sorted(_letters(tree))))[:LONGEST_WALK]
        for start in range(len(walk)):
            for end in range(start + 1, len(walk) + 1):
                piece = "".join(walk[start:end])
                made |= dict.fromkeys(("".join(walk[:place]), piece) for place in {0, start, end})
    for beginning, piece in made:
        for end_of_text in ("", "\n\0"):  # the second fits neither $ nor most sets
            yield Nearly(beginning, piece, end_of_text)


SEEDS = 8
LONGEST_WALK = 12
"""Stretches of one walk."""


def _walk(tree: list[Any], chance: random.Random, letters: list[str]) -> Iterator[str]:
    """Give a text that the expression matches, as far as that is easy, in pieces that are repeated or not."""
    plain = ""
    for kind, argument in tree:
        if kind is _constants.LITERAL:
            plain += chr(argument)
            continue
        if plain:
            yield plain
            plain = ""
        inner = _inner(kind, argument)
        if kind in _REPEATS:
            for _ in range(min(max(1, int(argument[0])), 4)):
                yield from _walk(inner[0], chance, letters)
        elif inner:
            yield from _walk(chance.choice(inner), chance, letters)
        elif one := _one(kind, argument, chance, letters):
            yield one
    if plain:
        yield plain


def _letters(tree: list[Any]) -> set[str]:
    """Return the single letters that the expression itself names."""
    found: set[str] = set()
    for kind, argument in tree:
        if kind in (_constants.LITERAL, _constants.NOT_LITERAL):
            found.add(chr(argument))
        elif kind is _constants.IN:
            found |= {chr(member) for what, member in argument if what is _constants.LITERAL}
        for inner in _inner(kind, argument):
            found |= _letters(inner)
    return found


_REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT)


def _inner(kind: Any, argument: Any) -> list[list[Any]]:
    if kind in _REPEATS:
        return [list(argument[2])]
    if kind is _constants.SUBPATTERN:
        return [list(argument[3])]
    if kind is _constants.ATOMIC_GROUP:
        return [list(argument)]
    if kind is _constants.BRANCH:
        return [list(one) for one in argument[1]]
    return []


def _one(kind: Any, argument: Any, chance: random.Random, letters: list[str]) -> str:
    """Return one character that fits: often one that stands elsewhere in the expression."""
    likely: list[str] = [*"a0 /", *(letters if chance.random() < 0.5 else ())]
    if kind is _constants.NOT_LITERAL:
        return chance.choice([letter for letter in likely if ord(letter) != argument])
    if kind is _constants.ANY:
        return chance.choice(likely)
    if kind is _constants.IN:
        fitting: list[str] = [chr(code) for code in (*range(9, 14), *range(32, 127)) if _in_set(chr(code), argument)]
        usual = [letter for letter in (*likely, *"\n\t-.:=\\\"'_") if letter in fitting]
        return str(chance.choice(usual or fitting or ["é"]))
    return ""


def _in_set(letter: str, members: Any) -> bool:
    negated = members[0][0] is _constants.NEGATE
    return negated != any(_is_member(letter, kind, argument) for kind, argument in members)


def _is_member(letter: str, kind: Any, argument: Any) -> bool:
    if kind is _constants.LITERAL:
        return bool(ord(letter) == argument)
    if kind is _constants.RANGE:
        return bool(argument[0] <= ord(letter) <= argument[1])
    if kind is _constants.CATEGORY:
        name = str(argument).removeprefix("CATEGORY_")
        fits = {"DIGIT": letter.isdigit(), "SPACE": letter.isspace(), "WORD": letter.isalnum() or letter == "_"}
        return fits[name.removeprefix("NOT_")] != name.startswith("NOT_")
    return False
