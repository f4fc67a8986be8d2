"""Getting tokens: oras-py's authentication, replaced at its own extension point.

oras-py 0.2.43 sends a cached token again when it is refused, so that a token for pulling is never exchanged for one for
pushing and an expired one never renewed; it knows one token for all hosts; it sends a password to whatever realm an answer
names (auth/token.py, auth/base.py). This back end keeps tokens by scope until they expire, and serves one registry.
"""

import base64
import re
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import oras.auth
import requests
from oras.auth.base import AuthBackend

from hpcdeploy.errors import AuthenticationError
from hpcdeploy.json_text import read_json
from hpcdeploy.registry.addresses import ODD, is_plain, is_same_origin, origin_of
from hpcdeploy.registry.challenges import Challenge, may_ask_realm, merge_scopes, parse_challenges
from hpcdeploy.registry.credentials import Credentials, login_command
from hpcdeploy.registry.failures import PassingFailure, only_request_errors
from hpcdeploy.registry.retries import PASSING_STATUSES, Patience

BACKEND = "hpcdeploy"
# A token that says nothing of its life has a minute (distribution, token authentication specification, "expires_in").
_DEFAULT_LIFE = 60.0
_MARGIN = 5.0


@dataclass(frozen=True, kw_only=True)
class _Token:
    value: str = field(repr=False)
    expires: float


class ScopedAuth(AuthBackend):  # type: ignore[misc]  # oras-py has no types
    """Answers one registry's challenges: Basic, or tokens kept by scope.

    ``registry`` is the URL of the registry's root, ``host`` its name for people, ``wanted`` the scope that the work ahead
    needs, asked for together with what a challenge names, so that one token serves a whole push. ``token_service`` is the
    host that the person's settings name for tokens.
    """

    session: requests.Session

    def __init__(self) -> None:
        super().__init__()
        self.registry = ""
        self.host = ""
        self.token_service = ""
        self.wanted = ""
        self.patience = Patience()
        self.credentials: Credentials | None = None
        self._challenge: Challenge | None = None
        self._tokens: dict[str, _Token] = {}

    def load_configs(self, container: object, configs: object = None) -> None:
        """Read nothing: credentials are found by `hpcdeploy.registry.credentials` and handed in."""

    def get_auth_header(self) -> dict[str, str]:
        """Give the header for the next request, as far as a challenge was met before and a live token is there."""
        challenge = self._challenge
        if challenge is None:
            return {}
        if challenge.scheme == "basic":
            return self._basic()
        token = self._tokens.get(merge_scopes(challenge.scope, self.wanted))
        if token is None or token.expires <= self.patience.clock():
            return {}
        return {"Authorization": f"Bearer {token.value}"}

    def authenticate_request(
        self,
        original: requests.Response,
        headers: dict[str, str],
        refresh: bool = False,  # noqa: ARG002, FBT001, FBT002  # oras-py's signature; a refused token is always renewed
    ) -> tuple[dict[str, str], bool]:
        """Answer a refusal's challenge with a new token or with Basic credentials; say whether trying again makes sense."""
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
        """Return `challenge` with the token service of the first one.

        nvcr.io names https://nvcr.io/proxy_auth to whoever has no token, and another host, which knows no anonymous users,
        to whoever has one that expired (NVIDIA/nvidia-container-toolkit, issue 1945).
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
            raise AuthenticationError(self._refuse(realm))
        asked = self.patience.clock()
        response = self._ask(challenge, scope)
        if response.status_code in PASSING_STATUSES:
            place = origin_of(realm)[1]
            raise PassingFailure(
                f"the token service at {place} answered with status {response.status_code}", response=response
            )
        if response.status_code != requests.codes.ok:
            who = f"the credentials from {found.source}" if found is not None else "a request without credentials"
            raise AuthenticationError(
                f"The token service at {origin_of(realm)[1]} refused {who} (status {response.status_code}); "
                f"log in again with `{login_command(urlsplit(self.registry).netloc, found)}`."
            )
        return _read_token(response, asked)

    def _refuse(self, realm: str) -> str:
        if not is_plain(realm):
            return (
                f"{self.registry} sends us to {realm!r} for a token: nothing was sent there, since the address holds {ODD}; "
                "ask the operator of the registry."
            )
        scheme, place, _ = origin_of(realm)
        if scheme != "https":
            return f"{self.registry} sends us to {realm!r} for a token, which is no address over TLS; refused."
        return (
            f"{self.host} names {place} as its token service, which is another host; nothing was sent there. If the "
            f'operator of the registry confirms it, set token-service = "{place}" in [registries."{self.host}"] of your own '
            "settings (~/.config/hpcdeploy/config.toml)."
        )

    def _ask(self, challenge: Challenge, scope: str) -> requests.Response:
        with only_request_errors():
            return self._ask_realm(challenge, scope)

    def _ask_realm(self, challenge: Challenge, scope: str) -> requests.Response:
        found = self.credentials
        limits = (self.patience.connect, self.patience.read)
        words = {"service": challenge.service, "scope": scope}
        if found is not None and found.identity_token:
            # OAuth2 form of the token service (distribution, "Oauth2 token authentication").
            form = {"grant_type": "refresh_token", "client_id": "hpcdeploy", "refresh_token": found.identity_token}
            return self.session.post(
                challenge.realm, data={**form, **words}, timeout=limits, allow_redirects=False, verify=self._tls_verify
            )
        # Several scopes go as several parameters of one name (same specification).
        query = [("service", challenge.service)] + [("scope", part) for part in scope.split()]
        return self.session.get(
            challenge.realm,
            params=query,
            headers=self._basic(),
            timeout=limits,
            allow_redirects=False,
            verify=self._tls_verify,
        )


def _read_token(response: requests.Response, asked: float) -> _Token:
    try:
        body = read_json(response.content)
        value = body.get("token") or body.get("access_token")
        life = float(body.get("expires_in") or _DEFAULT_LIFE)
    except (ValueError, AttributeError, TypeError, OverflowError):
        value, life = None, 0.0
    # It becomes part of a header; what a token may be made of: RFC 6750, section 2.1.
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value):
        raise PassingFailure(
            f"the token service at {origin_of(response.url)[1]} gave an answer without a token", kind=AuthenticationError
        )
    return _Token(value=value, expires=asked + max(1.0, life - _MARGIN))


oras.auth.auth_backends[BACKEND] = ScopedAuth
