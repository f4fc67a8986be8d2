"""Parse the YAML files of a project into plain values, with limits.

A short YAML text can have an endless or very large value, because an alias may refer to its own container, and aliases of
aliases grow exponentially (YAML 1.2.2, 7.1, "Alias Nodes"). So `load_yaml` counts nodes and characters before it creates a
value. A node counts once for each alias that refers to it.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import yaml

DEEPEST = 100
"""Maximum depth of lists and tables. Spack's and Pixi's own files have about ten levels."""

MOST = 1_000_000
"""Maximum number of values in one file; an alias's values are counted at each use. The largest lock files have 300,000."""

MOST_CHARACTERS = 64 * 1024 * 1024
"""Maximum number of characters of all scalars in one file; an alias's characters are counted at each use.

The largest lock files have 20 MB.
"""

LONGEST_NUMBER = 400
"""Maximum number of characters of a scalar that is parsed as a number.

The largest float64 has 309 digits before the point. PyYAML parses ``1:1:1...`` with the base 60 (YAML 1.1), which takes
quadratic time.
"""

_LONGEST = 200
"""Maximum number of characters of another library's error in a message."""


class YamlError(ValueError):
    """The text is not YAML, or exceeds a limit. ``line`` starts at 1, and is 0 if unknown."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.line = line


def load_yaml(text: str, *, typed: bool = True) -> object:
    """Return the value of a YAML text. Unless `typed`, every scalar except ``null`` stays text.

    Raises:
        YamlError: The text is not YAML, an alias refers to its own container, or a limit is exceeded.
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
    """Parse a text like ``yaml.load``, but check the size of the nodes before values are created from them."""
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

_TOO_DEEP = f"the values are nested deeper than {DEEPEST} levels, or an alias (*NAME) refers to its own container"


def _loader(*, typed: bool) -> "type[yaml.SafeLoader | yaml.CSafeLoader]":
    """Return a safe loader.

    With `typed`, the loader in C is returned if it is available, because it is ten times as fast. Without `typed`, the
    loader detects no types.
    """
    import yaml

    if typed:
        return getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Plain(yaml.SafeLoader):
        """The safe loader without type detection; merge keys (``<<``) and ``null`` keep their meaning."""

        yaml_implicit_resolvers = {  # noqa: RUF012 - the base class looks it up under this name
            "<": [("tag:yaml.org,2002:merge", re.compile("^<<$"))],
            **{first: [("tag:yaml.org,2002:null", re.compile("^(?:~|null|Null|NULL)$"))] for first in "~nN"},
        }

    return Plain


class _Size(NamedTuple):
    """The content of a node, including itself: nodes, characters and levels."""

    nodes: int
    characters: int
    depth: int


def _check_nodes(top: "yaml.Node") -> None:
    """Raise `YamlError` if a limit is exceeded. A node with several aliases is visited only once."""
    sizes: dict[int, _Size | None] = {}
    stack: list[tuple[yaml.Node, bool]] = [(top, False)]
    while stack:
        node, inner_are_known = stack.pop()
        if inner_are_known:
            sizes[id(node)] = _sum(node, sizes)
            continue
        if id(node) in sizes:
            if sizes[id(node)] is None:  # its inner nodes are not complete, so the node contains itself
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
            raise YamlError(f"a number has {characters} characters; the maximum is {LONGEST_NUMBER}", _line(node))
    else:
        depth += 1
    if nodes > MOST:
        raise YamlError(f"the file has more than {MOST} values because of aliases (*NAME)")
    if characters > MOST_CHARACTERS:
        raise YamlError(f"the file has more than {MOST_CHARACTERS} characters because of aliases (*NAME)")
    if depth > DEEPEST:
        raise YamlError(_TOO_DEEP)
    return _Size(nodes, characters, depth)


def _inner(node: "yaml.Node") -> "Iterator[yaml.Node]":
    """Yield the nodes in a list or a table, including keys."""
    if isinstance(node.value, list):
        for one in node.value:
            yield from one if isinstance(one, tuple) else (one,)


def _line(node: "yaml.Node") -> int:
    return node.start_mark.line + 1 if node.start_mark else 0
