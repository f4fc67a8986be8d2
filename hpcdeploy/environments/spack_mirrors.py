"""Parse the mirrors of a Spack environment, and the variables of their credentials.

Source: ``lib/spack/spack/schema/mirrors.py`` of Spack 0.20 to 1.1, and its documentation, "Mirrors".
"""

from collections.abc import Iterator
from dataclasses import dataclass

from hpcdeploy.environments.spack_yaml import Table, named, plain_key, table, text_of, truth
from hpcdeploy.errors import EnvironmentFileError


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """A mirror: its URL for pushing, and the variables of its credentials."""

    name: str
    url: str
    variables: tuple[str, ...] = ()
    signed: bool = True


def read_mirrors(given: Table, where: str) -> tuple[Mirror, ...]:
    """Parse the section ``mirrors`` of a file's table.

    Raises:
        EnvironmentFileError: It is malformed, or has a secret that would be copied into images.
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
    """Yield the variables of one side's credentials; credentials in clear text would be in every image."""
    pair = side.get("access_pair")
    if isinstance(pair, list) or side.get("access_token"):
        raise EnvironmentFileError(
            f"{where} has credentials in clear text, which would be in every image; use access_pair with id_variable "
            "and secret_variable, describe these two in the image's 'secrets', and revoke the old ones"
        )
    keys = table(pair, f"{where}.access_pair")
    if pair and not (keys.get("secret_variable") and (keys.get("id_variable") or keys.get("id"))):
        raise EnvironmentFileError(
            f"{where}.access_pair has {', '.join(keys) or 'nothing'}; expected id_variable (or id) and secret_variable"
        )
    for found in (keys.get("id_variable"), keys.get("secret_variable"), side.get("access_token_variable")):
        if found:
            yield text_of(found, where)
