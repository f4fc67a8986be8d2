"""Parse TOML into dictionaries; errors have file, line and column."""

from typing import Self

from hpcdeploy.errors import ConfigError
from hpcdeploy.toml import TomlError, UnusableTomlError, load_toml


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
        ConfigError: It is not TOML; the message has file, line and column.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line, column = _position(content[: error.start].decode())
        raise ConfigError(f"{file}, line {line}, column {column}: not UTF-8, which TOML requires") from error
    try:
        return load_toml(text, parse_float=Number)
    except TomlError as error:
        place = f"{file}, line {error.line}, column {error.column}"
        raise ConfigError(f"{place}: not valid TOML: {error.reason}") from error
    except UnusableTomlError as error:
        raise ConfigError(f"{file}: not usable TOML: {error}") from error


def nested_table(document: object, path: str) -> object:
    """Return the value at the dotted `path`; None if there is none."""
    for key in path.split("."):
        if not isinstance(document, dict) or key not in document:
            return None
        document = document[key]
    return document


def _position(text: str) -> tuple[int, int]:
    return text.count("\n") + 1, len(text) - text.rfind("\n")
