"""Parse authentication challenges (``WWW-Authenticate``), request tokens, and decide which hosts may receive credentials."""

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
from hpcdeploy.registry.retries import PASSING_STATUSES, RetryPolicy

_SCHEMES = frozenset({"basic", "bearer", "digest", "negotiate"})
# Matches a word with an optional value, or one other character. No two parts match the same character, so the regular
# expression cannot backtrack.
_WORD = re.compile(r'([A-Za-z_]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*+)"|([^\s,"]+)))?|[^A-Za-z_]')
_FIELDS = frozenset({"realm", "service", "scope"})

TOKEN_SERVICES = {"registry-1.docker.io": "auth.docker.io", "registry.gitlab.com": "gitlab.com"}
"""Hosts of token services, by the host of the registry, for registries whose token service is on another host.

Sources: Docker Hub: https://docs.docker.com/reference/api/registry/auth; GitLab.com: gitlab-org/container-registry,
docs/auth-request-flow.md.

The following registries need no entry, because their token service is on the registry's own host: ghcr.io, public.ecr.aws
and Google's REGION-docker.pkg.dev (bazel-contrib/rules_oci, oci/private/authn.bzl), quay.io (quay/claircore, pull request
879), nvcr.io (sapcc/keppel, pull request 731), and Azure's NAME.azurecr.io
(https://azure.github.io/acr/Token-BasicAuth.html).

The token service of a self-hosted GitLab is on the host of GitLab's web pages. If its registry has another host, the user
must set ``token-service``.
"""


@frozen
class Challenge:
    """One authentication method that a registry accepts.

    Attributes:
        scheme: The name of the method in lower case, such as ``basic`` or ``bearer``.
        realm: The URL of the token service for ``bearer``; empty if the challenge has none.
        service: The registry's name for its token service.
        scope: The resource and the actions that the request needs, such as ``repository:a/b:pull``.
    """

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Parse a ``WWW-Authenticate`` header, which may have several challenges (RFC 9110, section 11.6.1).

    A challenge begins with its scheme, which is at the beginning of the header or after a comma. A scheme that is not in
    `_SCHEMES` is ignored. At most `hpcdeploy.limits.LARGEST_HEADER` characters of the header are read.
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
    """Return the URL with ``rel="next"`` in a ``Link`` header (RFC 8288); empty if the header has none."""
    for part in header[:LARGEST_HEADER].split("<")[1:]:
        address, _, parameters = part.partition(">")
        words = (word.strip().lower().replace('"', "").replace(" ", "") for word in parameters.split(";"))
        if any(word.rstrip(",") == "rel=next" for word in words):
            return address
    return ""


def merge_scopes(*scopes: str) -> str:
    """Return all scopes as one text, with all actions of a resource in one scope.

    A scope is a resource and its actions (``repository:a/b:pull,push``). Scopes are separated by blanks.
    """
    actions: dict[str, list[str]] = {}
    for scope in " ".join(scopes).split():
        resource, _, wanted = scope.rpartition(":")
        known = actions.setdefault(resource, [])
        known.extend(action for action in wanted.split(",") if action not in known)
    return " ".join(f"{resource}:{','.join(sorted(known))}" for resource, known in sorted(actions.items()))


def may_ask_realm(registry: str, realm: str, token_service: str = "") -> bool:
    """Tell whether the token service at the URL `realm` may be used for the registry at the URL `registry`.

    A token service must use TLS, unless the registry uses no TLS and is on the same host. Its host must be one of these:

    - the host of the registry, with any port. (GitLab's registry may use port 5050 of the host whose port 443 has the token
      service: docs.gitlab.com, "GitLab container registry administration".)
    - another name or address of this machine, if the registry is on this machine (loopback)
    - the registry's entry in `TOKEN_SERVICES`
    - the host in the user's settings

    So a compromised registry can neither get a password sent to another host, nor make this machine connect to an address
    that the registry chooses.

    Args:
        registry: The URL of the registry.
        realm: The URL of the token service.
        token_service: The token service in the user's settings, ``HOST`` or ``HOST:PORT``; empty for none.
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
# A token is no longer used for the last seconds of its lifetime, because it could expire before the request arrives.
_MARGIN = 5.0


@frozen
class _Token:
    value: str = field(repr=False)
    expires: float


class ScopedAuth:
    """Answer the challenges of one registry, with Basic credentials or with a token. Tokens are stored by scope.

    Attributes:
        session: The session that sends requests to token services.
        registry: The URL of the registry, without a path.
        host: The registry's host in the user's spelling, for messages and advice.
        wanted: A scope that is added to the scope of each challenge. A push sets it to ``pull,push``, so that one token is
            valid for all requests of the push. Empty for none.
        token_service: The token service in the user's settings, ``HOST`` or ``HOST:PORT``; empty for none.
        policy: The timeouts, and the clock for the expiry of tokens.
        credentials: The user's credentials; None for anonymous access.
    """

    def __init__(self, session: requests.Session) -> None:
        self.session = session
        self.registry = ""
        self.host = ""
        self.token_service = ""
        self.wanted = ""
        self.policy = RetryPolicy()
        self.credentials: Credentials | None = None
        self._challenge: Challenge | None = None
        self._tokens: dict[str, _Token] = {}

    def get_auth_header(self) -> dict[str, str]:
        """Return the ``Authorization`` header for the next request.

        It is empty before the first challenge, if there is no unexpired token for the scope, or if there is no password.
        """
        challenge = self._challenge
        if challenge is None:
            return {}
        if challenge.scheme == "basic":
            return self._basic()
        token = self._tokens.get(merge_scopes(challenge.scope, self.wanted))
        if token is None or token.expires <= self.policy.clock():
            return {}
        return {"Authorization": f"Bearer {token.value}"}

    def authenticate_request(self, original: requests.Response, headers: dict[str, str]) -> tuple[dict[str, str], bool]:
        """Answer a challenge with a new token or with Basic credentials.

        Args:
            original: The registry's answer with the challenge.
            headers: The headers of the request that was rejected.

        Returns:
            `headers` with the new ``Authorization``, and whether to send the request again. It must not be sent again if
            the header is unchanged, or if the answer has no challenge of a known method.

        Raises:
            AuthenticationError: The token service rejected the request, or `may_ask_realm` does not allow it.
            PassingFailure: The token service failed temporarily, or sent an answer without a token.
            requests.RequestException: The token service cannot be reached.
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
        """Return `challenge` with the token service of the first challenge in this session.

        nvcr.io names the token service https://nvcr.io/proxy_auth if a request has no token. If the token has expired, it
        names another host, which rejects anonymous requests (NVIDIA/nvidia-container-toolkit, issue 1945).
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
        requested_at = self.policy.clock()
        response = self._request(challenge, scope)
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
            f"registry's operator confirms that {place} is its token service, set "
            f'token-service = "{place}" in [registries."{self.host}"] of your own settings (~/.config/hpcdeploy/config.toml)'
        )

    def _request(self, challenge: Challenge, scope: str) -> requests.Response:
        with only_request_errors():
            return self._send_request(challenge, scope)

    def _send_request(self, challenge: Challenge, scope: str) -> requests.Response:
        found = self.credentials
        limits = (self.policy.connect, self.policy.read)
        parameters = {"service": challenge.service, "scope": scope}
        if found is not None and found.identity_token:
            # An identity token is sent as a form by POST (distribution, "Oauth2 token authentication").
            form = {"grant_type": "refresh_token", "client_id": "hpcdeploy", "refresh_token": found.identity_token}
            return self.session.post(challenge.realm, data={**form, **parameters}, timeout=limits, allow_redirects=False)
        # Several scopes are sent as repeated query parameters (distribution, "Token authentication specification").
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
    # The token becomes part of a header, so it must not contain blanks or line breaks (RFC 6750, section 2.1, allows even
    # fewer characters).
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value):
        raise PassingFailure(
            f"the token service at {origin_of(response.url)[1]} sent an answer without a token", kind=AuthenticationError
        )
    return _Token(value=value, expires=requested_at + max(1.0, life - _MARGIN))
