"""Parse authentication challenges (``WWW-Authenticate``), and decide which host may receive credentials."""

import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from hpcdeploy.limits import LARGEST_HEADER
from hpcdeploy.registry.reference import is_loopback

_SCHEMES = frozenset({"basic", "bearer", "digest", "negotiate"})
# A word and an optional value. No two parts match the same character, so there is no backtracking.
_WORD = re.compile(r'([A-Za-z_]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*+)"|([^\s,"]+)))?|[^A-Za-z_]')
_FIELDS = frozenset({"realm", "service", "scope"})
_DEFAULT_PORTS = {"https": 443, "http": 80}

TOKEN_SERVICES = {"registry-1.docker.io": "auth.docker.io", "registry.gitlab.com": "gitlab.com"}
"""Token services on another host than their registry's.

Docker Hub: https://docs.docker.com/reference/api/registry/auth. GitLab.com: gitlab-org/container-registry,
docs/auth-request-flow.md. These are on the registry's own host: ghcr.io, public.ecr.aws and Google's REGION-docker.pkg.dev
(bazel-contrib/rules_oci, oci/private/authn.bzl), quay.io (quay/claircore, pull request 879), nvcr.io (sapcc/keppel, pull
request 731), and Azure's NAME.azurecr.io (https://azure.github.io/acr/Token-BasicAuth.html). A self-hosted GitLab's token
service is on GitLab's own host, which differs from the registry's unless that only has another port.
"""


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """One authentication method: ``scheme`` in lower case (``basic``, ``bearer``), and the parameters of a token service."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Parse a ``WWW-Authenticate`` header, which may have several challenges (RFC 9110, section 11.6.1).

    A scheme is at the beginning or after a comma; those not in `_SCHEMES` are ignored. At most
    `hpcdeploy.limits.LARGEST_HEADER` characters are read.
    """
    challenges: list[Challenge] = []
    expects_scheme = True
    for match in _WORD.finditer(header[:LARGEST_HEADER]):
        word, value = (match[1] or "").lower(), match[2] if match[2] is not None else match[3]
        if not word:
            expects_scheme = match[0] == "," or (expects_scheme and match[0].isspace())
            continue
        if word in _SCHEMES and value is None and expects_scheme:
            challenges.append(Challenge(scheme=word))
        elif challenges and word in _FIELDS and value is not None and not getattr(challenges[-1], word):
            challenges[-1] = replace(challenges[-1], **{word: value})
        expects_scheme = False
    return tuple(challenges)


def next_page(header: str) -> str:
    """Return the URL of the next page in a ``Link`` header (RFC 8288); empty if there is none."""
    for part in header[:LARGEST_HEADER].split("<")[1:]:
        address, _, parameters = part.partition(">")
        words = (word.strip().lower().replace('"', "").replace(" ", "") for word in parameters.split(";"))
        if any(word.rstrip(",") == "rel=next" for word in words):
            return address
    return ""


def merge_scopes(*scopes: str) -> str:
    """Join scopes (``repository:a/b:pull,push``, separated by blanks), so that each resource occurs once."""
    actions: dict[str, list[str]] = {}
    for scope in " ".join(scopes).split():
        resource, _, wanted = scope.rpartition(":")
        known = actions.setdefault(resource, [])
        known.extend(action for action in wanted.split(",") if action not in known)
    return " ".join(f"{resource}:{','.join(sorted(known))}" for resource, known in sorted(actions.items()))


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a URL, to which credentials belong; all empty if `url` is malformed."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # unmatched brackets, a port above 65535
        return "", "", 0
    return parts.scheme, (parts.hostname or "").lower(), port or _DEFAULT_PORTS.get(parts.scheme, 0)


def is_downgrade(source: str, target: str) -> bool:
    """Tell whether going from one URL to another would leave TLS."""
    return origin_of(source)[0] == "https" and origin_of(target)[0] != "https"


def may_ask_realm(registry: str, realm: str, token_service: str = "") -> bool:
    """Tell whether the token service at the URL `realm` may be used for the registry at the URL `registry`.

    It may if it uses TLS and is on the registry's own host (any port), in `TOKEN_SERVICES`, or in the user's settings.
    (GitLab's registry is at port 5050 of the host whose port 443 has the token service: docs.gitlab.com, "GitLab container
    registry administration".) A registry without TLS, as on loopback, may have a token service without TLS on the same
    host. So a compromised registry can neither get a password sent elsewhere, nor make this machine connect to an address
    of its choice.

    Args:
        registry: The URL of the registry.
        realm: The URL of the token service.
        token_service: The ``HOST`` or ``HOST:PORT`` in the user's settings; empty for none.
    """
    scheme, host, port = origin_of(realm)
    registry_scheme, registry_host, _ = origin_of(registry)
    same = bool(host) and (host == registry_host or (is_loopback(host) and is_loopback(registry_host)))
    if scheme == "http":
        return registry_scheme == "http" and same
    named = host in (TOKEN_SERVICES.get(registry_host), token_service) or f"{host}:{port}" == token_service
    return scheme == "https" and bool(host) and (same or named)
