"""Spack's YAML as plain values in which every scalar but ``null`` is the text that stands in the file.

Types would lose words: ``spack: 0.20`` is no number. A key may end with ``:``, ``+`` or ``-``, which tell Spack how to merge
it with lower scopes (Spack's documentation, "Configuration Files", "Overriding entire sections"); here it is found under its
name, and ``overrides`` tells the first of these.
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
    """Read a file's text; `EnvironmentFileError` with the line where it is no YAML, or no table."""
    try:
        top = load_yaml(text, typed=False)
    except YamlError as error:
        if error.line:
            raise EnvironmentFileError(f"{file}, line {error.line}: not valid YAML: {error}; correct that line") from error
        raise EnvironmentFileError(f"{file} is not valid YAML: {error}; correct it") from error
    return table(top, file)


def named(given: Table, key: str) -> object:
    """Return what stands under `key`, whichever sign of merging the key bears; None where there is nothing."""
    return next((given[sign] for sign in (key, f"{key}:", f"{key}+", f"{key}-") if sign in given), None)


def overrides(given: Table, key: str) -> bool:
    """Tell whether `key` is there as ``key::``, so that Spack drops what lower scopes say."""
    return f"{key}:" in given


def plain_key(key: str) -> str:
    """Return a key's name without its sign of merging."""
    return key.rstrip(":+-") if key[-1:] in ":+-" else key


def _shown(value: object) -> str:
    """Return a value for an error message: quoted, at most 60 characters, without credentials."""
    return repr(without_credentials(str(value))[:60])


def table(value: object, key: str) -> Table:
    """Return a table; nothing is an empty one."""
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        raise EnvironmentFileError(f"{key} is {_shown(value)}, but a table was expected; correct it")
    return {str(name): inner for name, inner in cast("Mapping[object, object]", value).items()}


def listed(value: object, key: str) -> list[object]:
    """Return a list; nothing is an empty one."""
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise EnvironmentFileError(f"{key} is {_shown(value)}, but a list was expected; correct it")
    return value


def text_of(value: object, key: str) -> str:
    """Return a text; nothing is an empty one."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise EnvironmentFileError(f"{key} is {_shown(value)}, but a text was expected; correct it")
    return value


def texts(value: object, key: str) -> tuple[str, ...]:
    """Return the texts of a list, of which there may be none."""
    return tuple(text_of(item, key) for item in listed(value, key))


def truth(value: object, key: str, *, default: bool) -> bool:
    """Return true or false as YAML 1.1 and 1.2 write them."""
    word = text_of(value, key).lower()
    if not word:
        return default
    if word not in TRUE | FALSE:
        raise EnvironmentFileError(f"{key} is {word!r}, but true or false was expected; correct it")
    return word in TRUE
