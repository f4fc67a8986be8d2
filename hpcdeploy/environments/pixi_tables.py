"""Values of a Pixi manifest's tables, each checked for its type."""

from collections.abc import Mapping
from typing import cast

from hpcdeploy.errors import EnvironmentFileError

Table = Mapping[str, object]


def table(value: object, key: str) -> Table:
    """Return a table; empty where there is no value. Raises `EnvironmentFileError`, which names `key`."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise EnvironmentFileError(f"{key} is {value!r}, but a table was expected")
    return cast("Table", value)


def items(value: object, key: str) -> list[object]:
    """Return a list; empty where there is no value. Raises `EnvironmentFileError`, which names `key`."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise EnvironmentFileError(f"{key} is {value!r}, but a list was expected")
    return value


def text(value: object, key: str) -> str:
    """Return a text; a number counts as one, no value as an empty one. Raises `EnvironmentFileError`, which names `key`."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise EnvironmentFileError(f"{key} is {value!r}, but a text was expected")
    return str(value)
