"""Parse Spack's YAML into plain values, in which every scalar except ``null`` is its text in the file.

Types would lose text: ``spack: 0.20`` is not a number. A key may end with ``:``, ``+`` or ``-``, which tell Spack how to
merge it with lower scopes (Spack's documentation, "Configuration Files", "Overriding entire sections"). Here it is found
under its name, and ``overrides`` checks for the first one.
"""

from collections.abc import Mapping
from typing import cast

from hpcdeploy.environments.channel_address import without_credentials
from hpcdeploy.environments.yaml_text import YamlError, load_yaml
from hpcdeploy.errors import EnvironmentFileError

Table = Mapping[str, object]
TRUE = frozenset({"true", "yes", "on"})
FALSE = frozenset({"false", "no", "off"})


def load(text: str, file: str) -> Table:
    """Parse a file.

    Raises:
        EnvironmentFileError: It is not valid YAML, or not a table; the message has the line.
    """
    try:
        top = load_yaml(text, typed=False)
    except YamlError as error:
        if error.line:
            raise EnvironmentFileError(f"{file}, line {error.line}: not valid YAML: {error}; correct that line") from error
        raise EnvironmentFileError(f"{file} is not valid YAML: {error}; correct it") from error
    return table(top, file)


def named(given: Table, key: str) -> object:
    """Return the value of `key` with any merge sign; None if it is not set."""
    return next((given[sign] for sign in (key, f"{key}:", f"{key}+", f"{key}-") if sign in given), None)


def overrides(given: Table, key: str) -> bool:
    """Tell whether `key` is set as ``key::``, so that Spack ignores lower scopes."""
    return f"{key}:" in given


def plain_key(key: str) -> str:
    """Return a key's name without its merge sign."""
    return key.rstrip(":+-") if key[-1:] in ":+-" else key


def _shown(value: object) -> str:
    """Return a value for an error message: quoted, at most 60 characters, without credentials."""
    return repr(without_credentials(str(value))[:60])


def table(value: object, key: str) -> Table:
    """Return a table; empty for None or an empty text.

    Raises:
        EnvironmentFileError: `value` is not a table; the message has the name `key`.
    """
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        raise EnvironmentFileError(f"{key} is {_shown(value)}; expected a table")
    return {str(name): inner for name, inner in cast("Mapping[object, object]", value).items()}


def listed(value: object, key: str) -> list[object]:
    """Return a list; empty for None or an empty text.

    Raises:
        EnvironmentFileError: `value` is not a list; the message has the name `key`.
    """
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise EnvironmentFileError(f"{key} is {_shown(value)}; expected a list")
    return value


def text_of(value: object, key: str) -> str:
    """Return a text; empty for None.

    Raises:
        EnvironmentFileError: `value` is not a text; the message has the name `key`.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise EnvironmentFileError(f"{key} is {_shown(value)}; expected a text")
    return value


def texts(value: object, key: str) -> tuple[str, ...]:
    """Return the texts of a list, which may be empty.

    Raises:
        EnvironmentFileError: `value` is not a list of texts; the message has the name `key`.
    """
    return tuple(text_of(item, key) for item in listed(value, key))


def truth(value: object, key: str, *, default: bool) -> bool:
    """Return a boolean of YAML 1.1 or 1.2.

    Raises:
        EnvironmentFileError: `value` is not a boolean; the message has the name `key`.
    """
    word = text_of(value, key).lower()
    if not word:
        return default
    if word not in TRUE | FALSE:
        raise EnvironmentFileError(f"{key} is {word!r}; expected true or false")
    return word in TRUE
