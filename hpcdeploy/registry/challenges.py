"""What a registry asks for before it lets us in: ``WWW-Authenticate`` as plain values, and which host may be answered."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from hpcdeploy.registry.reference import is_loopback

_SCHEME = re.compile(r"(?:^|,)\s*(Basic|Bearer|Digest|Negotiate)(?=\s|,|$)", re.IGNORECASE)
_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """One way in: ``scheme`` in lower case (``basic``, ``bearer``), and a token service's particulars."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Read a ``WWW-Authenticate`` header, which may hold several challenges (RFC 9110, section 11.6.1)."""
    marks = list(_SCHEME.finditer(header))
    ends = [*(mark.start() for mark in marks), len(header)][1:]
    challenges = []
    for mark, end in zip(marks, ends, strict=True):
        words = {m[1].lower(): m[2] if m[2] is not None else m[3] for m in _PARAMETER.finditer(header[mark.end() : end])}
        challenges.append(
            Challenge(
                scheme=mark[1].lower(),
                realm=words.get("realm", ""),
                service=words.get("service", ""),
                scope=words.get("scope", ""),
            )
        )
    return tuple(challenges)


def merge_scopes(*scopes: str) -> str:
    """Join scopes (``repository:a/b:pull,push``, several parted by blanks) so that each resource is named once."""
    actions: dict[str, list[str]] = {}
    for scope in " ".join(scopes).split():
        resource, _, wanted = scope.rpartition(":")
        known = actions.setdefault(resource, [])
        known.extend(action for action in wanted.split(",") if action not in known)
    return " ".join(f"{resource}:{','.join(sorted(known))}" for resource, known in sorted(actions.items()))


def origin_of(url: str) -> tuple[str, str, int]:
    """Give scheme, host and port of a URL: what credentials belong to. A text that is no URL has none of them."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # brackets that close nothing, a port above 65535
        return "", "", 0
    return parts.scheme, (parts.hostname or "").lower(), port or _DEFAULT_PORTS.get(parts.scheme, 0)


def is_downgrade(source: str, target: str) -> bool:
    """Tell whether going from one URL to another would leave TLS."""
    return origin_of(source)[0] == "https" and origin_of(target)[0] != "https"


def may_ask_realm(registry: str, realm: str) -> bool:
    """Tell whether a token service may be asked at all: over TLS, or on the host of a registry that has none either."""
    scheme, host, _ = origin_of(realm)
    registry_scheme, registry_host, _ = origin_of(registry)
    if scheme == "https":
        return bool(host)
    same = host == registry_host or (is_loopback(host) and is_loopback(registry_host))
    return scheme == "http" and registry_scheme == "http" and same


def may_see_credentials(registry: str, realm: str) -> bool:
    """Tell whether a token service may be shown a registry's credentials.

    It may if its host is the registry's, or both are under the same domain, as auth.docker.io and registry-1.docker.io or
    gitlab.example.org and registry.example.org are: a registry that was taken over cannot send a password elsewhere.
    """
    if not may_ask_realm(registry, realm):
        return False
    host, registry_host = origin_of(realm)[1], origin_of(registry)[1]
    if host == registry_host or (is_loopback(host) and is_loopback(registry_host)):
        return True
    domain = registry_host.partition(".")[2]
    return "." in domain and (host == domain or host.endswith("." + domain) or registry_host.endswith("." + host))
