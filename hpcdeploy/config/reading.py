"""Check a TOML table against a schema that is plain data, and collect all errors.

A schema has five kinds of nodes. Reading is pure: it converts the dictionaries of a TOML parser to dictionaries of checked
values, with file and key path of each problem.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hpcdeploy.config.found import found, joined
from hpcdeploy.errors import ConfigError
from hpcdeploy.spelling import meant


@dataclass(frozen=True)
class Leaf:
    """One value: `parse` returns it, or raises `ConfigError` with the value found and the value expected."""

    parse: Callable[[Any], object]


@dataclass(frozen=True)
class ListOf:
    """A list, which is converted to a tuple.

    Attributes:
        item: The kind of its items.
        expected: A description of the list, for messages.
        hint: Advice if the value is not a list.
        least: Minimum number of items.
        check: Checks or converts the tuple; raises `ConfigError`.
    """

    item: "Kind"
    expected: str
    hint: str = ""
    least: int = 0
    check: Callable[[tuple[Any, ...]], object] = tuple


@dataclass(frozen=True)
class MapOf:
    """A table with the user's own keys, each checked by `name`; it becomes a dictionary."""

    name: Callable[[str], str]
    item: "Kind"
    expected: str


@dataclass(frozen=True)
class Table:
    """A table of known keys, which becomes a dictionary of those that are set; `check` may change it."""

    keys: tuple["Key", ...]
    check: Callable[[dict[str, Any]], object] = dict


@dataclass(frozen=True)
class Either:
    """A value whose TOML type (``str``, ``int``, ``list``, ``dict``) selects how it is read."""

    kinds: Mapping[type, "Kind"]
    expected: str


Kind = Leaf | ListOf | MapOf | Table | Either


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key of a table.

    Attributes:
        name: Its name in the file.
        kind: The kind of its value.
        required: The key must be set.
    """

    name: str
    kind: Kind
    required: bool = False


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of reading one file: its problems in the file's order, and the key paths that were read."""

    file: str
    prefix: str = ""
    problems: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def refuse(self, path: str, message: str) -> None:
        """Add one problem."""
        full = f"{self.prefix}.{path}" if self.prefix and path else self.prefix or path
        self.problems.append(f"{full}: {message}" if full else message)

    def close(self) -> None:
        """Raise one `ConfigError` with all problems, if there are any."""
        if len(self.problems) == 1:
            raise ConfigError(f"{self.file}: {self.problems[0]}")
        if self.problems:
            lines = "".join(f"\n  {problem}" for problem in self.problems)
            raise ConfigError(f"{self.file}: {len(self.problems)} problems{lines}")


class _Refused:
    """A placeholder for an invalid value, whose problem is in the report."""


_REFUSED = _Refused()


def read(table: Table, raw: object, report: Report) -> dict[str, Any]:
    """Return the checked values of the file's content `raw`; invalid ones are left out and reported."""
    values = _read_table(table, raw, "", report)
    return values if isinstance(values, dict) else {}


def _read(kind: Kind, raw: object, path: str, report: Report) -> object:
    match kind:
        case Leaf(parse):
            return _guarded(lambda: parse(raw), path, report)
        case Table():
            return _read_table(kind, raw, path, report)
        case ListOf():
            return _read_list(kind, raw, path, report)
        case MapOf():
            return _read_map(kind, raw, path, report)
        case Either(kinds, expected):
            chosen = kinds.get(type(raw))
            if chosen is None:
                report.refuse(path, f"found {found(raw)}; expected {expected}")
                return _REFUSED
            return _read(chosen, raw, path, report)


def _read_table(table: Table, raw: object, path: str, report: Report) -> object:
    if not isinstance(raw, dict):
        report.refuse(path, f"found {found(raw)}; expected a table of {_listed([key.name for key in table.keys])}")
        return _REFUSED
    known = {key.name: key for key in table.keys}
    values: dict[str, Any] = {}
    before = len(report.problems)
    for name, value in raw.items():
        inside = joined(path, name)
        if name not in known:
            report.refuse(inside, _unknown_key(name, known))
            continue
        report.paths.append(inside)
        result = _read(known[name].kind, value, inside, report)
        if result is not _REFUSED:
            values[name] = result
    missing = [key.name for key in table.keys if key.required and key.name not in raw]
    for name in missing:
        report.refuse(path, f"the key {name} is missing")
    if len(report.problems) > before:
        return values if not missing else _REFUSED
    return _guarded(lambda: table.check(values), path, report)


def _read_list(kind: ListOf, raw: object, path: str, report: Report) -> object:
    if not isinstance(raw, list) or len(raw) < kind.least:
        report.refuse(path, f"found {found(raw)}; expected {kind.expected}{kind.hint}")
        return _REFUSED
    before = len(report.problems)
    values = [_read(kind.item, value, joined(path, index), report) for index, value in enumerate(raw)]
    if len(report.problems) > before:  # an invalid table returns its valid keys
        return _REFUSED
    return _guarded(lambda: kind.check(tuple(values)), path, report)


def _read_map(kind: MapOf, raw: object, path: str, report: Report) -> object:
    if not isinstance(raw, dict):
        report.refuse(path, f"found {found(raw)}; expected {kind.expected}")
        return _REFUSED
    values = {}
    for name, value in raw.items():
        inside = joined(path, name)
        if _guarded(partial(kind.name, name), inside, report) is _REFUSED:
            continue
        report.paths.append(inside)
        result = _read(kind.item, value, inside, report)
        if result is not _REFUSED:
            values[name] = result
    return values


def _guarded(parse: Callable[[], object], path: str, report: Report) -> object:
    try:
        return parse()
    except ConfigError as error:
        report.refuse(path, str(error))
        return _REFUSED


def _unknown_key(name: str, known: Mapping[str, Key]) -> str:
    close = meant(name, known)
    advice = f"did you mean {close}? " if close else ""
    return f"unknown key; {advice}Known here: {_listed(known)}"


def _listed(names: Sequence[str] | Mapping[str, object]) -> str:
    return ", ".join(names)
