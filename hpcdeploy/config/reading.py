"""Read tables of settings by a declaration of their keys, and report all problems of a file at once."""

import datetime as dt
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

from hpcdeploy.errors import ConfigError
from hpcdeploy.frozen import frozen
from hpcdeploy.plain_text import meant
from hpcdeploy.toml import TomlError, UnusableTomlError, load_toml

_LONGEST = 60


def found(value: object) -> str:
    """Return `value` for a message: as it is written in TOML, on one line, and with at most `_LONGEST` characters.

    Lists, tables, dates and times are described instead, as in ``a list``.
    """
    match value:
        case str():
            return json.dumps(_cut(value), ensure_ascii=not value.isprintable())
        case bool():
            return "true" if value else "false"
        case int():
            # Long numbers are not converted to text, because Python raises an error for some thousand digits.
            return str(value) if value.bit_length() < 100 else "a very long number"
        case float():
            return str(value)
        case list():
            return "a list" if value else "an empty list"
        case dict():
            return "a table" if value else "an empty table"
        case dt.date() | dt.time():
            return f"the date or time {value.isoformat()}"
        case _:
            return f"a {type(value).__name__}"


def joined(path: str, key: str | int) -> str:
    """Return the key path of `key` in `path`, in TOML's format: ``jobs.train.command[0]``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    word = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(_cut(key), ensure_ascii=not key.isprintable())
    return f"{path}.{word}" if path else word


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


class Number(float):
    """A float that keeps its spelling: ``0.10``, ``1e-4``."""

    written: str

    def __new__(cls, written: str) -> Self:
        """Parse a number in TOML's format, which may have ``_`` between its digits."""
        number = super().__new__(cls, written)
        number.written = written.replace("_", "")
        return number


def parse_document(content: bytes, file: str) -> dict[str, object]:
    """Return the tables of a TOML file.

    Raises:
        ConfigError: The content is not UTF-8 or not TOML, or exceeds a limit of Python. The message has the file, and if
            they are known, line and column.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line, column = _position(content[: error.start].decode())
        raise ConfigError(f"{file}, line {line}, column {column}: not UTF-8; save the file as UTF-8") from error
    try:
        return load_toml(text, parse_float=Number)
    except TomlError as error:
        place = f"{file}, line {error.line}, column {error.column}"
        raise ConfigError(f"{place}: not valid TOML: {error.reason}") from error
    except UnusableTomlError as error:
        raise ConfigError(f"{file}: not usable TOML: {error}") from error


def nested_table(document: object, path: str) -> object:
    """Return the value at the dotted `path` in `document`; None if there is no such value."""
    for key in path.split("."):
        if not isinstance(document, dict) or key not in document:
            return None
        document = document[key]
    return document


def _position(text: str) -> tuple[int, int]:
    return text.count("\n") + 1, len(text) - text.rfind("\n")


STRING: Mapping[str, object] = {"type": "string"}


# The classes below have neither __eq__ nor __repr__, which halves the time to create them at each start. Nothing compares or
# prints their objects.
@dataclass(frozen=True, eq=False, repr=False)
class Leaf:
    """One value.

    Attributes:
        parse: Converts the value of the file, or raises `ConfigError` with the value found and the value expected.
        accepts: A JSON Schema that every valid value matches (`hpcdeploy.config.json_schema`).
    """

    parse: Callable[[Any], object]
    accepts: Mapping[str, object] = field(default_factory=lambda: STRING)


@dataclass(frozen=True, eq=False, repr=False)
class ListOf:
    """A list, which is converted to a tuple.

    Attributes:
        item: The kind of each item.
        expected: A description of the list, for messages.
        hint: Advice for the message if the value is not such a list.
        least: Minimum number of items.
        check: Converts the tuple of all items, or raises `ConfigError`.
    """

    item: "Kind"
    expected: str
    hint: str = ""
    least: int = 0
    check: Callable[[tuple[Any, ...]], object] = tuple


@dataclass(frozen=True, eq=False, repr=False)
class MapOf:
    """A table whose keys the user chooses; it is converted to a dictionary.

    Attributes:
        name: Returns a valid key, or raises `ConfigError`.
        item: The kind of each value.
        expected: A description of the table, for messages.
    """

    name: Callable[[str], str]
    item: "Kind"
    expected: str


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """A table with known keys.

    Attributes:
        keys: The keys that the table may have.
        check: Converts the dictionary of the keys that are set, or raises `ConfigError`.
    """

    keys: tuple["Key", ...]
    check: Callable[[dict[str, Any]], object] = dict


@dataclass(frozen=True, eq=False, repr=False)
class Either:
    """A value that may have several types.

    Attributes:
        kinds: The kind that reads the value, by the Python type of the TOML value: ``str``, ``int``, ``list``, ``dict``.
        expected: A description of the value, for messages.
    """

    kinds: Mapping[type, "Kind"]
    expected: str


Kind = Leaf | ListOf | MapOf | Table | Either


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Key:
    """One key of a table.

    Attributes:
        name: The name of the key in the file.
        kind: The kind of the value.
        required: Whether the key must be set.
        meaning: A description of the key in Markdown; empty if only ``docs/configuration.md`` describes it.
    """

    name: str
    kind: Kind
    required: bool = False
    meaning: str = ""


@frozen
class Report:
    """The result of reading one file.

    Attributes:
        file: The path of the file, for messages.
        prefix: The key of the table that contains the settings, such as ``tool.hpcdeploy``; empty for the whole file.
        problems: Messages with the key path, in the order of the file.
        paths: The key paths that were read, without the prefix.
    """

    file: str
    prefix: str = ""
    problems: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def refuse(self, path: str, message: str) -> None:
        """Add a problem with the key `path` to the report; an empty path means the whole file."""
        full = f"{self.prefix}.{path}" if self.prefix and path else self.prefix or path
        self.problems.append(f"{full}: {message}" if full else message)

    def raise_problems(self) -> None:
        """Raise an error with all problems; do nothing if there is none.

        Raises:
            ConfigError: There is a problem.
        """
        if len(self.problems) == 1:
            raise ConfigError(f"{self.file}: {self.problems[0]}")
        if self.problems:
            lines = "".join(f"\n  {problem}" for problem in self.problems)
            raise ConfigError(f"{self.file}: {len(self.problems)} problems{lines}")


class _Refused:
    """A placeholder for an invalid value; the report contains the problem."""


_REFUSED = _Refused()


def read(table: Table, raw: object, report: Report) -> dict[str, Any]:
    """Check the content `raw` of a file and return its values by key; invalid values are left out and added to `report`."""
    values = _read_table(table, raw, "", report)
    return values if isinstance(values, dict) else {}


def _read(kind: Kind, raw: object, path: str, report: Report) -> object:
    match kind:
        case Leaf(parse):
            return _parsed(lambda: parse(raw), path, report)
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
    return _parsed(lambda: table.check(values), path, report)


def _read_list(kind: ListOf, raw: object, path: str, report: Report) -> object:
    if not isinstance(raw, list) or len(raw) < kind.least:
        report.refuse(path, f"found {found(raw)}; expected {kind.expected}{kind.hint}")
        return _REFUSED
    before = len(report.problems)
    values = [_read(kind.item, value, joined(path, index), report) for index, value in enumerate(raw)]
    # The items are not compared with `_REFUSED`, because an invalid table is returned with its valid keys instead.
    if len(report.problems) > before:
        return _REFUSED
    return _parsed(lambda: kind.check(tuple(values)), path, report)


def _read_map(kind: MapOf, raw: object, path: str, report: Report) -> object:
    if not isinstance(raw, dict):
        report.refuse(path, f"found {found(raw)}; expected {kind.expected}")
        return _REFUSED
    values = {}
    for name, value in raw.items():
        inside = joined(path, name)
        if _parsed(partial(kind.name, name), inside, report) is _REFUSED:
            continue
        report.paths.append(inside)
        result = _read(kind.item, value, inside, report)
        if result is not _REFUSED:
            values[name] = result
    return values


def _parsed(parse: Callable[[], object], path: str, report: Report) -> object:
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
