"""The address of a channel or a package, as it may be shown: without what lets its reader in."""

import re

_USER = re.compile(r"(://)[^/?#\s]*@")
# conda's own form of a token in a channel's address: https://HOST/t/TOKEN/CHANNEL (conda, "Managing channels"). PyPI has
# source archives at .../packages/source/t/NAME/.
_TOKEN = re.compile(r"(://[^/\s\"']+(?:/[^/\s\"']+)*?(?<!/source)/t/)[^/\s\"']+")
_PASSWORD = re.compile(r"://[^/?#\s@\"']+:[^/?#\s@\"']+@")


def without_credentials(address: str) -> str:
    """Return an address without user, password, token and query; a path, or a word that is no address, stays as it is."""
    if "://" not in address:
        return address
    plain = _TOKEN.sub(r"\1***", _USER.sub(r"\1", address))
    # The query of a repository's address names its branch or revision (``git+https://...?rev=...#...``).
    return plain if plain.startswith("git+") else plain.partition("?")[0]


def holds_credentials(text: str) -> bool:
    """Return whether an address in `text` holds a user with a password, or a token in conda's form."""
    return bool(_PASSWORD.search(text) or _TOKEN.search(text))
