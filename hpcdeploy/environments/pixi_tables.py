"""Check the types of values in a Pixi manifest's tables."""

from collections.abc import Mapping
from typing import cast

from hpcdeploy.environments.channel_address import without_credentials
from hpcdeploy.errors import EnvironmentFileError

Table = Mapping[str, object]

BYTE_ORDER_MARK = "\ufeff"
"""Byte order mark of Windows editors; Pixi skips it (``Tokenizer::new`` in EmbarkStudios/toml-span)."""

_SHOWN = 60
"""Maximum length of a value in a message, in characters."""


def table(value: object, key: str) -> Table:
    """Return a table; empty for None.

    Raises:
        EnvironmentFileError: `value` is not a table; the message has the name `key`.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise EnvironmentFileError(f"{key} is {shown(value)}; expected a table")
    return cast("Table", value)


def items(value: object, key: str) -> list[object]:
    """Return a list; empty for None.

    Raises:
        EnvironmentFileError: `value` is not a list; the message has the name `key`.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise EnvironmentFileError(f"{key} is {shown(value)}; expected a list")
    return value


def text(value: object, key: str) -> str:
    """Return a text; numbers are converted, and None is empty.

    Raises:
        EnvironmentFileError: `value` is not a text; the message has the name `key`.
    """
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise EnvironmentFileError(f"{key} is {shown(value)}; expected a text")
    return str(value)


def shown(value: object) -> str:
    """Return a value of a project's file for a message: shortened, and without credentials in URLs."""
    plain = without_credentials(value if isinstance(value, str) else repr(value))
    plain = plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]}..."
    return repr(plain) if isinstance(value, str) else plain
