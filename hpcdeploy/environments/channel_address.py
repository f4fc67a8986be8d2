"""Remove credentials from the URLs of channels and packages, so that they can be shown."""

import re

_USER = re.compile(r"(://)[^/?#\s]*@")
# conda's format of a token in a channel's URL: https://HOST/t/TOKEN/CHANNEL (conda, "Managing channels"). After "/source",
# "/t/" is not followed by a token, because PyPI has source archives at .../packages/source/t/NAME/.
_TOKEN = re.compile(r"(://[^/\s\"']+(?:/[^/\s\"']+)*?(?<!/source)/t/)[^/\s\"']+")
_DIGEST = re.compile(r"[a-z0-9+._-]+:[0-9a-f]{32,}")
_SECRET_NAME = re.compile(
    r"token|passw|secret|credential|(?:^|_)(?:pat|(?:api_?|access_?|private_?)?key)(?:$|_)", re.IGNORECASE
)
_PASSWORD = re.compile(r"://[^/?#\s@\"'][^/?#\s@\"':]*:[^/?#\s@\"']+@")


def without_credentials(address: str) -> str:
    """Return a URL without user, password and query, and with ``***`` for a token; other texts stay unchanged."""
    if "://" not in address:
        return address
    plain = _TOKEN.sub(r"\1***", _USER.sub(r"\1", address))
    # The query of a git repository's URL stays, because it is a branch or revision (``git+https://...?rev=...#...``).
    return plain if plain.startswith("git+") else plain.partition("?")[0]


def without_user(reference: str) -> str:
    """Return an image reference without user and password before its host (``u:TOKEN@host/x``); a digest is kept."""
    if "://" in reference:
        return without_credentials(reference)
    user, at, rest = reference.partition("@")
    return rest if at and "/" not in user and not _DIGEST.match(rest) else reference


def shown_argument(name: str, value: str) -> str:
    """Return a build argument's value for a message: ``***`` if `name` looks like a secret's, else without credentials."""
    return "***" if value and _SECRET_NAME.search(name) else without_user(value)


def holds_credentials(text: str) -> bool:
    """Tell whether a URL in `text` has a user with a password, or a token in conda's format."""
    return bool(_PASSWORD.search(text) or _TOKEN.search(text))
