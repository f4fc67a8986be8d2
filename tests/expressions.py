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


def texts(pattern: re.Pattern[Any], length: int) -> Iterator[str]:
    """Give long texts that the expression nearly matches: what it repeats, repeated, behind what comes before, and alone."""
    flags = pattern.flags if isinstance(pattern.pattern, bytes) else pattern.flags & ~re.UNICODE
    tree = list(_parser.parse(pattern.pattern, flags))
    repeated = [place for place, (kind, _) in enumerate(tree) if kind in _REPEATS or _inner(kind, _)]
    made: dict[tuple[str, str], None] = {}
    for seed in range(3):
        chance = random.Random(seed)
        whole = _sample(tree, chance)
        beginnings = [*(_sample(tree[:place], chance) for place in repeated[:6]), whole]
        pieces = [*beginnings, *_repeated(tree, chance)]
        made |= dict.fromkeys((before, piece) for before in ("", *beginnings[-4:]) for piece in pieces[:16] if piece)
    for before, piece in made:
        for end in ("", "\0"):
            yield before + piece * (length // len(piece)) + end


def _repeated(tree: list[Any], chance: random.Random) -> Iterator[str]:
    """Give a sample of all that is repeated, at any depth."""
    for kind, argument in tree:
        if kind in _REPEATS:
            yield _sample(list(argument[2]), chance)
        for inner in _inner(kind, argument):
            yield from _repeated(inner, chance)


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


def _sample(tree: list[Any], chance: random.Random) -> str:
    return "".join(_one(kind, argument, chance) for kind, argument in tree)


def _one(kind: Any, argument: Any, chance: random.Random) -> str:
    if kind is _constants.LITERAL:
        return chr(argument)
    if kind is _constants.NOT_LITERAL:
        return next(letter for letter in chance.sample("a0 -/:", 6) if ord(letter) != argument)
    if kind is _constants.ANY:
        return chance.choice("a0 /")
    if kind is _constants.IN:
        return _of_set(argument, chance)
    if kind in _REPEATS:
        return _sample(list(argument[2]), chance) * int(max(1, argument[0]))
    inner = _inner(kind, argument)
    return _sample(chance.choice(inner), chance) if inner else ""


def _of_set(members: Any, chance: random.Random) -> str:
    fitting = [chr(code) for code in (*range(9, 14), *range(32, 127)) if _in_set(chr(code), members)]
    likely = [letter for letter in "a0 \n\t-./:=\\\"'_" if letter in fitting]
    return chance.choice(likely or fitting or ["é"])


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
