"""Remove credentials from the URLs of channels and packages, so that they can be shown."""

import re

_USER = re.compile(r"(://)[^/?#\s]*@")
# conda's format of a token in a channel's URL: https://HOST/t/TOKEN/CHANNEL (conda, "Managing channels"). PyPI has source
# archives at .../packages/source/t/NAME/.
# source archives at .../packages/source/t/NAME/.
_TOKEN = re.compile(r"(://[^/\s\"']+(?:/[^/\s\"']+)*?(?<!/source)/t/)[^/\s\"']+")
_DIGEST = re.compile(r"[a-z0-9+._-]+:[0-9a-f]{32,}")
_SECRET_NAME = re.compile(
    r"token|passw|secret|credential|(?:^|_)(?:pat|(?:api_?|access_?|private_?)?key)(?:$|_)", re.IGNORECASE
)
_PASSWORD = re.compile(r"://[^/?#\s@\"'][^/?#\s@\"':]*:[^/?#\s@\"']+@")


def without_credentials(address: str) -> str:
    """Return a URL without user, password, token and query; other texts stay unchanged."""
    if "://" not in address:
        return address
    plain = _TOKEN.sub(r"\1***", _USER.sub(r"\1", address))
    # The query of a repository's URL is its branch or revision (``git+https://...?rev=...#...``).
    return plain if plain.startswith("git+") else plain.partition("?")[0]


def without_user(reference: str) -> str:
    """Return an image reference without user and password before its host (``u:TOKEN@host/x``); a digest stays."""
    if "://" in reference:
        return without_credentials(reference)
    user, at, rest = reference.partition("@")
    return rest if at and "/" not in user and not _DIGEST.match(rest) else reference


def shown_argument(name: str, value: str) -> str:
    """Return a build argument's value in a form that can be shown; it is hidden if its name looks like that of a secret."""
    return "***" if value and _SECRET_NAME.search(name) else without_user(value)


def holds_credentials(text: str) -> bool:
    """Tell whether a URL in `text` has a user with a password, or a token in conda's format."""
    return bool(_PASSWORD.search(text) or _TOKEN.search(text))
