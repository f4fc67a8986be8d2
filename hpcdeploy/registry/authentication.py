"""Parse authentication challenges (``WWW-Authenticate``), and decide which host may receive credentials."""

import base64
import re
from dataclasses import field, replace
from urllib.parse import urlsplit

import requests

from hpcdeploy.checked_values import read_json
from hpcdeploy.errors import AuthenticationError
from hpcdeploy.frozen import frozen
from hpcdeploy.limits import LARGEST_HEADER
from hpcdeploy.registry.addresses import ODD, is_plain, is_same_origin, origin_of
from hpcdeploy.registry.credentials import Credentials, login_command
from hpcdeploy.registry.failures import PassingFailure, only_request_errors
from hpcdeploy.registry.reference import is_loopback
from hpcdeploy.registry.retries import PASSING_STATUSES, Patience

_SCHEMES = frozenset({"basic", "bearer", "digest", "negotiate"})
# A word and an optional value. No two parts match the same character, so there is no backtracking.
_WORD = re.compile(r'([A-Za-z_]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*+)"|([^\s,"]+)))?|[^A-Za-z_]')
_FIELDS = frozenset({"realm", "service", "scope"})

TOKEN_SERVICES = {"registry-1.docker.io": "auth.docker.io", "registry.gitlab.com": "gitlab.com"}
"""Token services on another host than their registry's.

Docker Hub: https://docs.docker.com/reference/api/registry/auth. GitLab.com: gitlab-org/container-registry,
docs/auth-request-flow.md. These are on the registry's own host: ghcr.io, public.ecr.aws and Google's REGION-docker.pkg.dev
(bazel-contrib/rules_oci, oci/private/authn.bzl), quay.io (quay/claircore, pull request 879), nvcr.io (sapcc/keppel, pull
request 731), and Azure's NAME.azurecr.io (https://azure.github.io/acr/Token-BasicAuth.html). A self-hosted GitLab's token
service is on GitLab's own host, which differs from the registry's unless that only has another port.
"""


@frozen
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


# Lifetime in seconds of a token without "expires_in" (distribution, token authentication specification).
_DEFAULT_LIFE = 60.0
_MARGIN = 5.0


@frozen
class _Token:
    value: str = field(repr=False)
    expires: float


class ScopedAuth:
    """Answer the challenges of one registry with Basic credentials, or with tokens stored by scope.

    Attributes:
        session: The session that asks token services.
        registry: The URL of the registry's root.
        host: Its name for messages.
        wanted: The scope of all following requests, requested together with that of a challenge, so that one token serves a
            whole push.
        token_service: The host that the user's settings allow as token service.
        patience: The retry policy.
        credentials: The credentials; None for anonymous access.
    """

    def __init__(self, session: requests.Session) -> None:
        self.session = session
        self.registry = ""
        self.host = ""
        self.token_service = ""
        self.wanted = ""
        self.patience = Patience()
        self.credentials: Credentials | None = None
        self._challenge: Challenge | None = None
        self._tokens: dict[str, _Token] = {}

    def get_auth_header(self) -> dict[str, str]:
        """Return the header for the next request, after a challenge and with an unexpired token; empty otherwise."""
        challenge = self._challenge
        if challenge is None:
            return {}
        if challenge.scheme == "basic":
            return self._basic()
        token = self._tokens.get(merge_scopes(challenge.scope, self.wanted))
        if token is None or token.expires <= self.patience.clock():
            return {}
        return {"Authorization": f"Bearer {token.value}"}

    def authenticate_request(self, original: requests.Response, headers: dict[str, str]) -> tuple[dict[str, str], bool]:
        """Answer a challenge with a new token or Basic credentials; return the headers, and whether to try again.

        Raises:
            AuthenticationError: The token service rejected the request, or must not be used.
            PassingFailure: The token service failed temporarily.
        """
        if not is_same_origin(original.url, self.registry):
            return headers, False
        challenges = {c.scheme: c for c in parse_challenges(original.headers.get("WWW-Authenticate", ""))}
        before = headers.get("Authorization")
        if "bearer" in challenges:
            self._challenge = self._with_first_realm(challenges["bearer"])
            scope = merge_scopes(self._challenge.scope, self.wanted)
            self._tokens[scope] = self._fetch(self._challenge, scope)
        elif "basic" in challenges:
            self._challenge = challenges["basic"]
        else:
            return headers, False
        answer = {**headers, **self.get_auth_header()}
        return answer, answer.get("Authorization") not in (None, before)

    def _with_first_realm(self, challenge: Challenge) -> Challenge:
        """Return `challenge` with the token service of the first challenge.

        nvcr.io sends https://nvcr.io/proxy_auth to clients without a token, and another host without anonymous access to
        clients with an expired one (NVIDIA/nvidia-container-toolkit, issue 1945).
        """
        first = self._challenge
        if first is None or first.scheme != "bearer":
            return challenge
        return replace(challenge, realm=first.realm, service=first.service)

    def _basic(self) -> dict[str, str]:
        if self.credentials is None or not self.credentials.password:
            return {}
        pair = f"{self.credentials.username}:{self.credentials.password}".encode()
        return {"Authorization": "Basic " + base64.b64encode(pair).decode()}

    def _fetch(self, challenge: Challenge, scope: str) -> _Token:
        realm, found = challenge.realm, self.credentials
        if not may_ask_realm(self.registry, realm, self.token_service):
            raise AuthenticationError(self._rejection(realm))
        requested_at = self.patience.clock()
        response = self._ask(challenge, scope)
        if response.status_code in PASSING_STATUSES:
            place = origin_of(realm)[1]
            raise PassingFailure(
                f"the token service at {place} answered with status {response.status_code}", response=response
            )
        if response.status_code != requests.codes.ok:
            who = f"the credentials from {found.source}" if found is not None else "a request without credentials"
            raise AuthenticationError(
                f"the token service at {origin_of(realm)[1]} rejected {who} (status {response.status_code}); "
                f"log in again with `{login_command(urlsplit(self.registry).netloc, found)}`"
            )
        return _read_token(response, requested_at)

    def _rejection(self, realm: str) -> str:
        if not is_plain(realm):
            return (
                f"{self.registry} uses {realm!r} as token service, an address with {ODD}; nothing was sent there; ask the "
                "operator of the registry"
            )
        scheme, place, _ = origin_of(realm)
        if scheme != "https":
            return f"{self.registry} uses {realm!r} as token service, which is not a TLS address; nothing was sent there"
        return (
            f"{self.host} uses {place} as its token service, which is another host; nothing was sent there. If the "
            f'registry\'s operator confirms it, set token-service = "{place}" in [registries."{self.host}"] of your own '
            "settings (~/.config/hpcdeploy/config.toml)"
        )

    def _ask(self, challenge: Challenge, scope: str) -> requests.Response:
        with only_request_errors():
            return self._ask_realm(challenge, scope)

    def _ask_realm(self, challenge: Challenge, scope: str) -> requests.Response:
        found = self.credentials
        limits = (self.patience.connect, self.patience.read)
        parameters = {"service": challenge.service, "scope": scope}
        if found is not None and found.identity_token:
            # The OAuth2 form of the token service (distribution, "Oauth2 token authentication").
            form = {"grant_type": "refresh_token", "client_id": "hpcdeploy", "refresh_token": found.identity_token}
            return self.session.post(challenge.realm, data={**form, **parameters}, timeout=limits, allow_redirects=False)
        # Several scopes are sent as repeated parameters (same specification).
        query = [("service", challenge.service)] + [("scope", part) for part in scope.split()]
        return self.session.get(
            challenge.realm,
            params=query,
            headers=self._basic(),
            timeout=limits,
            allow_redirects=False,
        )


def _read_token(response: requests.Response, requested_at: float) -> _Token:
    try:
        body = read_json(response.content)
        value = body.get("token") or body.get("access_token")
        life = float(body.get("expires_in") or _DEFAULT_LIFE)
    except (ValueError, AttributeError, TypeError, OverflowError):
        value, life = None, 0.0
    # The token becomes part of a header; its allowed characters: RFC 6750, section 2.1.
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value):
        raise PassingFailure(
            f"the token service at {origin_of(response.url)[1]} sent an answer without a token", kind=AuthenticationError
        )
    return _Token(value=value, expires=requested_at + max(1.0, life - _MARGIN))
