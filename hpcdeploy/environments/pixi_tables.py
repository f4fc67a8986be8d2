"""Values of a Pixi manifest's tables, each checked for its type."""

from collections.abc import Mapping
from typing import cast

from hpcdeploy.environments.channel_address import without_credentials
from hpcdeploy.errors import EnvironmentFileError

Table = Mapping[str, object]

BYTE_ORDER_MARK = "\ufeff"
"""Byte order mark that Windows editors write; Pixi's reader skips it (``Tokenizer::new`` in EmbarkStudios/toml-span)."""

_SHOWN = 60
"""Characters of a value that a message shows."""


def table(value: object, key: str) -> Table:
    """Return a table; empty where there is no value. Raises `EnvironmentFileError`, which names `key`."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise EnvironmentFileError(f"{key} is {shown(value)}, but a table was expected")
    return cast("Table", value)


def items(value: object, key: str) -> list[object]:
    """Return a list; empty where there is no value. Raises `EnvironmentFileError`, which names `key`."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise EnvironmentFileError(f"{key} is {shown(value)}, but a list was expected")
    return value


def text(value: object, key: str) -> str:
    """Return a text; a number counts as one, no value as an empty one. Raises `EnvironmentFileError`, which names `key`."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise EnvironmentFileError(f"{key} is {shown(value)}, but a text was expected")
    return str(value)


def shown(value: object) -> str:
    """Return a value of a project's file as messages show it: shortened, and without the credentials in an address."""
    plain = without_credentials(value if isinstance(value, str) else repr(value))
    plain = plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]}..."
    return repr(plain) if isinstance(value, str) else plain
