"""Parse Spack's YAML into plain values, in which every scalar except ``null`` is its text in the file.

Typed values would lose text, because ``spack: 0.20`` would become the number 0.2. A key may end with a merge sign (``:``,
``+`` or ``-``), which tells Spack how to merge its value with lower scopes (Spack's documentation, "Configuration Files",
"Overriding entire sections"). `named` finds a key with any sign, and `overrides` tells whether a key has the sign ``:``.
"""

from collections.abc import Iterator, Mapping
from typing import cast

from hpcdeploy.environments.channel_address import without_credentials
from hpcdeploy.environments.yaml_text import YamlError, load_yaml
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.frozen import frozen

Table = Mapping[str, object]
TRUE = frozenset({"true", "yes", "on"})
FALSE = frozenset({"false", "no", "off"})


def load(text: str, file: str) -> Table:
    """Parse a file.

    Raises:
        EnvironmentFileError: The file is not valid YAML, exceeds a limit of `load_yaml`, or is not a table. The message has
            the number of the line if the parser reports one.
    """
    try:
        top = load_yaml(text, typed=False)
    except YamlError as error:
        if error.line:
            raise EnvironmentFileError(f"{file}, line {error.line}: not valid YAML: {error}; correct that line") from error
        raise EnvironmentFileError(f"{file} is not valid YAML: {error}; correct the file") from error
    return table(top, file)


def named(given: Table, key: str) -> object:
    """Return the value of `key`, with or without a merge sign; None if the key is not set."""
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
        EnvironmentFileError: `value` is not a table; the message begins with `key`.
    """
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        raise EnvironmentFileError(f"{key} is {_shown(value)}; expected a table")
    return {str(name): inner for name, inner in cast("Mapping[object, object]", value).items()}


def listed(value: object, key: str) -> list[object]:
    """Return a list; empty for None or an empty text.

    Raises:
        EnvironmentFileError: `value` is not a list; the message begins with `key`.
    """
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise EnvironmentFileError(f"{key} is {_shown(value)}; expected a list")
    return value


def text_of(value: object, key: str) -> str:
    """Return a text; empty for None.

    Raises:
        EnvironmentFileError: `value` is not a text; the message begins with `key`.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise EnvironmentFileError(f"{key} is {_shown(value)}; expected a text")
    return value


def texts(value: object, key: str) -> tuple[str, ...]:
    """Return the texts of a list, which may be empty.

    Raises:
        EnvironmentFileError: `value` is not a list of texts; the message begins with `key`.
    """
    return tuple(text_of(item, key) for item in listed(value, key))


def truth(value: object, key: str, *, default: bool) -> bool:
    """Parse a boolean of YAML 1.1 or 1.2; return `default` for None or an empty text.

    Raises:
        EnvironmentFileError: `value` is not a boolean; the message begins with `key`.
    """
    word = text_of(value, key).lower()
    if not word:
        return default
    if word not in TRUE | FALSE:
        raise EnvironmentFileError(f"{key} is {word!r}; expected true or false")
    return word in TRUE


@frozen
class Mirror:
    """A mirror.

    Attributes:
        name: The mirror's key in ``mirrors``, without a merge sign.
        url: The mirror's URL; the URL for pushing if the mirror has several.
        variables: The names of the environment variables that contain the mirror's credentials.
        signed: Whether the mirror's packages are signed.
    """

    name: str
    url: str
    variables: tuple[str, ...] = ()
    signed: bool = True


def read_mirrors(given: Table, where: str) -> tuple[Mirror, ...]:
    """Parse the section ``mirrors`` of a file.

    Args:
        given: The file's top-level table.
        where: The name of the file, for messages.

    Raises:
        EnvironmentFileError: The section is malformed, or has a secret that would be copied into images.
    """
    return tuple(
        _mirror(plain_key(name), value, f"{where}: mirrors.{name}")
        for name, value in table(named(given, "mirrors"), f"{where}: mirrors").items()
    )


def _mirror(name: str, value: object, where: str) -> Mirror:
    if isinstance(value, str):
        return Mirror(name=name, url=value)
    given = table(value, where)
    sides: list[Table] = [given]
    for key in ("push", "fetch", "pull"):
        side = named(given, key)
        if side is not None:
            sides.append({"url": side} if isinstance(side, str) else table(side, f"{where}.{key}"))
    url = next((text_of(side["url"], f"{where}.url") for side in (*sides[1:], given) if side.get("url")), "")
    if not url:
        raise EnvironmentFileError(f"{where} has no url; add url, such as oci://registry/repository")
    signed = truth(given.get("signed"), f"{where}.signed", default=True)
    variables = (name for side in sides for name in _variables(side, where))
    return Mirror(name=name, url=url, variables=tuple(dict.fromkeys(variables)), signed=signed)


def _variables(side: Table, where: str) -> Iterator[str]:
    """Yield the names of the variables with the credentials in `side`.

    `side` is a mirror's table, or its table for pushing or for fetching.

    Raises:
        EnvironmentFileError: The credentials are incomplete, or in clear text, which would be in every image.
    """
    pair = side.get("access_pair")
    if isinstance(pair, list) or side.get("access_token"):
        raise EnvironmentFileError(
            f"{where} has credentials in clear text, which would be in every image; use access_pair with id_variable "
            "and secret_variable, describe these two variables in the image's 'secrets', and revoke the credentials that "
            "are in the file"
        )
    keys = table(pair, f"{where}.access_pair")
    if pair and not (keys.get("secret_variable") and (keys.get("id_variable") or keys.get("id"))):
        raise EnvironmentFileError(
            f"{where}.access_pair has {', '.join(keys) or 'nothing'}; expected id_variable (or id) and secret_variable"
        )
    for found in (keys.get("id_variable"), keys.get("secret_variable"), side.get("access_token_variable")):
        if found:
            yield text_of(found, where)
