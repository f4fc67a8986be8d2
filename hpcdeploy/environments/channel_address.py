"""The address of a channel or a package, as it may be shown: without what lets its reader in."""

import re

_USER = re.compile(r"(://)[^/?#\s]*@")
# conda's own form of a token in a channel's address: https://HOST/t/TOKEN/CHANNEL (conda, "Managing channels"). PyPI has
# source archives at .../packages/source/t/NAME/.
_TOKEN = re.compile(r"(://[^/\s\"']+(?:/[^/\s\"']+)*?(?<!/source)/t/)[^/\s\"']+")
_DIGEST = re.compile(r"[a-z0-9+._-]+:[0-9a-f]{32,}")
_SECRET_NAME = re.compile(
    r"token|passw|secret|credential|(?:^|_)(?:pat|(?:api_?|access_?|private_?)?key)(?:$|_)", re.IGNORECASE
)
_PASSWORD = re.compile(r"://[^/?#\s@\"'][^/?#\s@\"':]*:[^/?#\s@\"']+@")


def without_credentials(address: str) -> str:
    """Return an address without user, password, token and query; a path, or a word that is no address, stays as it is."""
    if "://" not in address:
        return address
    plain = _TOKEN.sub(r"\1***", _USER.sub(r"\1", address))
    # The query of a repository's address names its branch or revision (``git+https://...?rev=...#...``).
    return plain if plain.startswith("git+") else plain.partition("?")[0]


def without_user(reference: str) -> str:
    """Return the reference of an image without user and password before its host (``u:TOKEN@host/x``); a digest stays."""
    if "://" in reference:
        return without_credentials(reference)
    user, at, rest = reference.partition("@")
    return rest if at and "/" not in user and not _DIGEST.match(rest) else reference


def shown_argument(name: str, value: str) -> str:
    """Return a build argument's value as it may be shown: none of one whose name tells that it is a secret."""
    return "***" if value and _SECRET_NAME.search(name) else without_user(value)


def holds_credentials(text: str) -> bool:
    """Return whether an address in `text` holds a user with a password, or a token in conda's form."""
    return bool(_PASSWORD.search(text) or _TOKEN.search(text))
