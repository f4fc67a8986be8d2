"""YAML text of a project into plain values, for every YAML file of a project that is read.

YAML lets few bytes stand for a value without an end: an alias may name what holds it, and aliases of aliases double what is
walked (YAML 1.2.2, 7.1, "Alias Nodes"). So what is read is limited in its depth and its size.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import yaml

DEEPEST = 100
"""Levels of lists and tables. Spack's and Pixi's own files have about ten."""

MOST = 1_000_000
"""Values in one file, those behind an alias counted at each alias. The largest lock files have some 300,000."""

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
        value = yaml.load(text, _loader(typed=typed))  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as error:
        raise YamlError(str(error.problem)[:_LONGEST], error.problem_mark.line + 1 if error.problem_mark else 0) from error
    except RecursionError as error:
        raise YamlError(_TOO_DEEP) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # an invalid date, for example
        raise YamlError(str(error)[:_LONGEST]) from error
    _check_size(value)
    return value


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


def _check_size(value: object) -> None:
    level: list[Iterable[object]] = [[value]]
    total = 0
    for _ in range(DEEPEST + 1):
        holders = [inner for one in level for inner in one if isinstance(inner, list | dict)]
        if not holders:
            return
        total += sum(map(len, holders))
        if total > MOST:  # before the next level is made, which may be many times as large
            raise YamlError(f"its aliases (*NAME) make more than {MOST} values of it")
        level = [one.values() if isinstance(one, dict) else one for one in holders]
    raise YamlError(_TOO_DEEP)
