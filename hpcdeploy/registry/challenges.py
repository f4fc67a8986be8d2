"""What a registry asks for before it lets us in: ``WWW-Authenticate`` as plain values, and which host may be answered."""

import re
from dataclasses import dataclass, replace

from hpcdeploy.limits import LARGEST_HEADER
from hpcdeploy.registry.addresses import origin_of
from hpcdeploy.registry.reference import is_loopback

_SCHEMES = frozenset({"basic", "bearer", "digest", "negotiate"})
# A word, and the value behind it: no two parts of this match the same character, so that nothing is tried twice.
_WORD = re.compile(r'([A-Za-z_]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*+)"|([^\s,"]+)))?|[^A-Za-z_]')
_FIELDS = frozenset({"realm", "service", "scope"})

TOKEN_SERVICES = {"registry-1.docker.io": "auth.docker.io", "registry.gitlab.com": "gitlab.com"}
"""Token services on another host than their registry's.

Docker Hub: https://docs.docker.com/reference/api/registry/auth. GitLab.com: gitlab-org/container-registry,
docs/auth-request-flow.md. On the registry's own host are those of ghcr.io, public.ecr.aws and Google's REGION-docker.pkg.dev
(bazel-contrib/rules_oci, oci/private/authn.bzl), quay.io (quay/claircore, pull request 879), nvcr.io (sapcc/keppel, pull
request 731), and Azure's NAME.azurecr.io (https://azure.github.io/acr/Token-BasicAuth.html). A GitLab of one's own has its
token service where GitLab is: another host, unless the registry is at a port of it.
"""


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """One way in: ``scheme`` in lower case (``basic``, ``bearer``), and a token service's particulars."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Read a ``WWW-Authenticate`` header, which may hold several challenges (RFC 9110, section 11.6.1).

    A scheme stands at the beginning or behind a comma; others than those of `_SCHEMES` are left out. What stands behind
    `hpcdeploy.limits.LARGEST_HEADER` characters is not read.
    """
    challenges: list[Challenge] = []
    may_begin = True
    for match in _WORD.finditer(header[:LARGEST_HEADER]):
        word, value = (match[1] or "").lower(), match[2] if match[2] is not None else match[3]
        if not word:
            may_begin = match[0] == "," or (may_begin and match[0].isspace())
            continue
        if word in _SCHEMES and value is None and may_begin:
            challenges.append(Challenge(scheme=word))
        elif challenges and word in _FIELDS and value is not None and not getattr(challenges[-1], word):
            challenges[-1] = replace(challenges[-1], **{word: value})
        may_begin = False
    return tuple(challenges)


def next_page(header: str) -> str:
    """Return the address in a ``Link`` header that leads to the next page (RFC 8288), empty where there is none."""
    for part in header[:LARGEST_HEADER].split("<")[1:]:
        address, _, parameters = part.partition(">")
        words = (word.strip().lower().replace('"', "").replace(" ", "") for word in parameters.split(";"))
        if any(word.rstrip(",") == "rel=next" for word in words):
            return address
    return ""


def merge_scopes(*scopes: str) -> str:
    """Join scopes (``repository:a/b:pull,push``, several parted by blanks) so that each resource is named once."""
    actions: dict[str, list[str]] = {}
    for scope in " ".join(scopes).split():
        resource, _, wanted = scope.rpartition(":")
        known = actions.setdefault(resource, [])
        known.extend(action for action in wanted.split(",") if action not in known)
    return " ".join(f"{resource}:{','.join(sorted(known))}" for resource, known in sorted(actions.items()))


def may_ask_realm(registry: str, realm: str, token_service: str = "") -> bool:
    """Tell whether the token service at the URL `realm` may be asked for the registry at the URL `registry`.

    It may over TLS if it is on the registry's own host, at whatever port (GitLab's own registry is at port 5050 of the host
    at whose port 443 its token service is: docs.gitlab.com, "GitLab container registry administration"), or is the
    registry's in `TOKEN_SERVICES`, or the person's settings name it (`token_service`: ``HOST`` or ``HOST:PORT``). A registry
    without TLS, as on loopback, may have a token service without TLS on the same host. So a registry that was taken over
    sends neither a password elsewhere nor this machine to an address of its choice.
    """
    scheme, host, port = origin_of(realm)
    registry_scheme, registry_host, _ = origin_of(registry)
    same = bool(host) and (host == registry_host or (is_loopback(host) and is_loopback(registry_host)))
    if scheme == "http":
        return registry_scheme == "http" and same
    named = host in (TOKEN_SERVICES.get(registry_host), token_service) or f"{host}:{port}" == token_service
    return scheme == "https" and bool(host) and (same or named)
