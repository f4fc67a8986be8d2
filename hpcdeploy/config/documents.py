"""TOML text into dictionaries; what is wrong with it is said with file, line and column."""

from typing import Self

from hpcdeploy.errors import ConfigError
from hpcdeploy.toml import TomlError, UnusableTomlError, load_toml


class Number(float):
    """A number with a point or an exponent that remembers how it was written: ``0.10``, ``1e-4``."""

    written: str

    def __new__(cls, written: str) -> Self:
        """Read a number as TOML writes it, which may have ``_`` between its digits."""
        number = super().__new__(cls, written)
        number.written = written.replace("_", "")
        return number


def parse_document(content: bytes, file: str) -> dict[str, object]:
    """Return the tables of a TOML file; raises `ConfigError` with file, line and column where it is not TOML."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line, column = _position(content[: error.start].decode())
        raise ConfigError(f"{file}, line {line}, column {column}: not UTF-8; a TOML file must be") from error
    try:
        return load_toml(text, parse_float=Number)
    except TomlError as error:
        place = f"{file}, line {error.line}, column {error.column}"
        raise ConfigError(f"{place}: not valid TOML: {error.reason}") from error
    except UnusableTomlError as error:
        raise ConfigError(f"{file}: not usable TOML: {error}") from error


def nested_table(document: object, path: str) -> object:
    """Return what lies at the dotted `path`, or None where nothing does."""
    for key in path.split("."):
        if not isinstance(document, dict) or key not in document:
            return None
        document = document[key]
    return document


def _position(text: str) -> tuple[int, int]:
    return text.count("\n") + 1, len(text) - text.rfind("\n")
