"""YAML text of a project into plain values, for every YAML file of a project that is read.

YAML lets few bytes stand for a value without an end: an alias may name what holds it, and aliases of aliases double what is
walked (YAML 1.2.2, 7.1, "Alias Nodes"). So the nodes of a text are counted before a value is made of them: each as often as
aliases name it, and the characters of each as often.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import yaml

DEEPEST = 100
"""Levels of lists and tables. Spack's and Pixi's own files have about ten."""

MOST = 1_000_000
"""Values in one file, those behind an alias counted at each alias. The largest lock files have some 300,000."""

MOST_CHARACTERS = 64 * 1024 * 1024
"""Characters of all scalars in one file, those behind an alias counted at each alias. The largest lock files have 20 MB."""

LONGEST_NUMBER = 400
"""Characters of a scalar that is read as a number: the longest float64 has 309 digits before the point. PyYAML reads
``1:1:1...`` to the base of 60 (YAML 1.1), which takes time that grows as the square."""

_LONGEST = 200
"""Characters of another library's reason that a message shows."""


class YamlError(ValueError):
    """The text is not YAML, or exceeds a limit. ``line`` counts from 1 and is 0 if unknown."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.line = line


def load_yaml(text: str, *, typed: bool = True) -> object:
    """Return the value of YAML text; unless `typed`, every scalar but ``null`` is the text that stands there.

    Raises `YamlError` where it is not YAML, refers to itself, or exceeds a limit.
    """
    import yaml

    try:
        return _load(text, _loader(typed=typed))
    except YamlError:
        raise
    except yaml.MarkedYAMLError as error:
        raise YamlError(str(error.problem)[:_LONGEST], error.problem_mark.line + 1 if error.problem_mark else 0) from error
    except RecursionError as error:
        raise YamlError(_TOO_DEEP) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # an invalid date, for example
        raise YamlError(str(error)[:_LONGEST]) from error


def _load(text: str, kind: "type[yaml.SafeLoader | yaml.CSafeLoader]") -> object:
    """Do what ``yaml.load`` does, and look at the nodes before they become a value."""
    loader = kind(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_nodes(node)
        value: object = loader.construct_document(node)
        return value
    finally:
        loader.dispose()


_NUMBERS = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})

_TOO_DEEP = f"it is nested deeper than {DEEPEST} levels, or an alias (*NAME) refers to what holds it"


def _loader(*, typed: bool) -> "type[yaml.SafeLoader | yaml.CSafeLoader]":
    """Return a safe loader: the one in C if there is one, which is ten times as fast, or one that guesses no types."""
    import yaml

    if typed:
        return getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Plain(yaml.SafeLoader):
        """The safe loader without its guesses at types; merge keys (``<<``) and ``null`` keep their meaning."""

        yaml_implicit_resolvers = {  # noqa: RUF012 - the base class looks it up under this name
            "<": [("tag:yaml.org,2002:merge", re.compile("^<<$"))],
            **{first: [("tag:yaml.org,2002:null", re.compile("^(?:~|null|Null|NULL)$"))] for first in "~nN"},
        }

    return Plain


class _Size(NamedTuple):
    """What a node holds, itself included: nodes, characters and levels."""

    nodes: int
    characters: int
    depth: int


def _check_nodes(top: "yaml.Node") -> None:
    """Raise `YamlError` where a limit is exceeded. Each node is looked at once, however many aliases name it."""
    sizes: dict[int, _Size | None] = {}
    stack: list[tuple[yaml.Node, bool]] = [(top, False)]
    while stack:
        node, inner_are_known = stack.pop()
        if inner_are_known:
            sizes[id(node)] = _sum(node, sizes)
            continue
        if id(node) in sizes:
            if sizes[id(node)] is None:  # it is still open: it holds itself
                raise YamlError(_TOO_DEEP)
            continue
        sizes[id(node)] = None
        stack.append((node, True))
        stack += ((inner, False) for inner in _inner(node))


def _sum(node: "yaml.Node", sizes: "dict[int, _Size | None]") -> _Size:
    nodes, characters, depth = 1, 0, 0
    for inner in _inner(node):
        size = sizes[id(inner)]
        if size is None:
            raise YamlError(_TOO_DEEP)
        nodes, characters, depth = nodes + size.nodes, characters + size.characters, max(depth, size.depth)
    if isinstance(node.value, str):
        characters = len(node.value)
        if characters > LONGEST_NUMBER and node.tag in _NUMBERS:
            raise YamlError(
                f"it holds a number of {characters} characters, and at most {LONGEST_NUMBER} are read", _line(node)
            )
    else:
        depth += 1
    if nodes > MOST:
        raise YamlError(f"its aliases (*NAME) make more than {MOST} values of it")
    if characters > MOST_CHARACTERS:
        raise YamlError(f"its aliases (*NAME) make more than {MOST_CHARACTERS} characters of it")
    if depth > DEEPEST:
        raise YamlError(_TOO_DEEP)
    return _Size(nodes, characters, depth)


def _inner(node: "yaml.Node") -> "Iterator[yaml.Node]":
    """Give the nodes that a list or a table holds, the keys among them."""
    if isinstance(node.value, list):
        for one in node.value:
            yield from one if isinstance(one, tuple) else (one,)


def _line(node: "yaml.Node") -> int:
    return node.start_mark.line + 1 if node.start_mark else 0
