"""Send requests to a registry, with the session and the URLs of oras-py. No other module imports oras-py.

Some functions of oras-py 0.2.43 (``oras/provider.py``) are replaced here and in `hpcdeploy.registry.oci_client`:

- ``do_request`` retries every exception for 131 s, has no timeout, and sends one token to all hosts.
- ``put_upload`` reads the whole file into memory.
- ``download_blob`` verifies no digest, and does not write atomically.
- ``get_manifest`` returns parsed JSON without a digest.
- ``upload_manifest`` serializes the JSON again, so the digest may change.
- ``get_container`` treats a path with a full stop as a host.

The tests in ``tests/registry/test_oras_py.py`` fail when oras-py fixes one of these problems.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import oras.container
import oras.provider
import requests
from oras.logger import setup_logger

from hpcdeploy.errors import RegistryError
from hpcdeploy.registry.addresses import NOWHERE, ODD, is_plain, is_same_origin, join, may_follow, origin_of
from hpcdeploy.registry.authentication import ScopedAuth
from hpcdeploy.registry.bounded import BoundedAdapter
from hpcdeploy.registry.credentials import Lookup
from hpcdeploy.registry.failures import PassingFailure, explain_response, only_request_errors, with_retries
from hpcdeploy.registry.reference import Reference, is_loopback
from hpcdeploy.registry.retries import RetryPolicy

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_MOST_CHALLENGES = 3
"""Maximum number of challenges that are answered for one request.

More than one may be needed, because a token may expire, or may lack a scope that only the next challenge names.
"""


class OciRequests:
    """Send requests to the registry of ``reference``.

    The user's credentials are only sent to this registry and to a token service that
    `hpcdeploy.registry.authentication.may_ask_realm` allows.
    """

    def __init__(
        self,
        reference: Reference,
        lookup: Lookup,
        *,
        plain_http: bool,
        policy: RetryPolicy,
        doing: str,
        token_service: str = "",
    ) -> None:
        setup_logger(quiet=True)
        registry = oras.provider.Registry(hostname=reference.endpoint, insecure=plain_http)
        self.session: requests.Session = registry.session  # oras-py disables its cookies
        self.prefix: str = registry.prefix
        self.reference = reference
        self.policy = policy
        self.doing = doing
        self.root = f"{self.prefix}://{reference.endpoint}"
        self._lookup = lookup
        # Ignore the proxies in the environment for a registry on this machine, because a proxy cannot reach it.
        self.session.trust_env = not (plain_http and is_loopback(reference.host))
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, BoundedAdapter())
        # Without `auth`, requests would send the credentials of ~/.netrc (its `default` line is for any host) instead of our
        # token. So `auth` is a callable that changes nothing.
        self.session.auth = _leave_alone
        # Forbid compressed answers, because a few bytes may decompress to gigabytes.
        self.session.headers.update({"User-Agent": "hpcdeploy", "Accept-Encoding": "identity"})
        self.auth = ScopedAuth(self.session)
        self.auth.registry = self.root
        self.auth.host = reference.host
        self.auth.token_service = token_service
        self.auth.credentials = lookup.credentials
        self.auth.policy = policy

    def container(self, name: str) -> oras.container.Container:
        """Return oras-py's object for this client's repository at a tag or digest, without oras-py's parser."""
        container = oras.container.Container("unused/unused", registry=self.reference.endpoint)
        container.registry = self.reference.endpoint
        namespace, _, container.repository = self.reference.path.rpartition("/")
        container.namespace = namespace or None
        container.tag, container.digest = name, None
        return container

    def retry(self, attempt: Callable[[], requests.Response]) -> requests.Response:
        """Call `hpcdeploy.registry.failures.with_retries` with the policy, operation and reference of this client."""
        return with_retries(attempt, self.policy, doing=self.doing, reference=self.reference)

    def exchange(
        self,
        method: str,
        url: str,
        *,
        data: Any = None,  # noqa: ANN401
        headers: dict[str, str] | None = None,
        stream: bool = False,
        timeout: tuple[float, float] | None = None,
    ) -> requests.Response:
        """Send a request without retries after failures, and return its answer with any status.

        At most `_MOST_CHALLENGES` challenges are answered. At most `_MOST_REDIRECTS` redirects are followed, and only for
        GET and HEAD.

        Raises:
            AuthenticationError: The token service rejected the request, or must not be used.
            PassingFailure: The token service failed temporarily, or a redirect has no valid URL.
            RegistryError: The URL of a redirect must not be followed (`follow`).
            requests.RequestException: There is no answer.
        """
        limits = timeout or (self.policy.connect, self.policy.read)

        def send(target: str, extra: dict[str, str]) -> requests.Response:
            with only_request_errors():
                response: requests.Response = self.session.request(
                    method,
                    target,
                    data=data,
                    headers={"Accept-Encoding": "identity", **(headers or {}), **extra},
                    stream=stream,
                    timeout=limits,
                    allow_redirects=False,
                )
            return response

        ours = is_same_origin(url, self.root)
        response = send(url, self.auth.get_auth_header() if ours else {})
        for _ in range(_MOST_CHALLENGES):
            if response.status_code not in (401, 403) or not ours:
                break
            with _closed_on_error(response):
                extra, changed = self.auth.authenticate_request(response, dict(self._sent(response)))
            if not changed:
                break
            response.close()
            response = send(url, extra)
        for _ in range(_MOST_REDIRECTS):
            if response.status_code not in _REDIRECTS or method not in ("GET", "HEAD"):
                break
            with _closed_on_error(response):
                target = self.follow(response)
            response.close()
            same_origin = is_same_origin(target, self.root)
            response = send(target, self.auth.get_auth_header() if same_origin else {})
        return response

    def follow(self, response: requests.Response) -> str:
        """Return the absolute URL of an answer's ``Location``, which is that of a redirect or of a new upload.

        Raises:
            PassingFailure: The answer has no ``Location``, or no URL of a host in it.
            RegistryError: Parsers could disagree about the URL (`is_plain`), or the URL must not be followed because it
                does not use TLS (`may_follow`).
        """
        location = response.headers.get("Location", "").strip(" \t")
        target = self.absolute(response, location)
        if not location or origin_of(target) == NOWHERE:
            raise PassingFailure(f"{self.reference.host} sent no valid URL in the header Location", response=response)
        if not may_follow(response.url, target):
            raise RegistryError(
                f"{self.doing} {self.reference} failed: {self.reference.host} redirects to an address without TLS, "
                "which was not followed; a proxy before the registry probably does not set X-Forwarded-Proto: contact the "
                "operator of the registry"
            )
        return target

    def absolute(self, response: requests.Response, link: str) -> str:
        """Return the absolute URL of a link in an answer; empty if the link is malformed.

        Raises:
            RegistryError: Parsers of URLs could disagree about the link (`is_plain`).
        """
        if not is_plain(link):
            raise RegistryError(
                f"{self.doing} {self.reference} failed: {self.reference.host} redirects to an address with {ODD}, "
                "which was not followed; contact the operator of the registry"
            )
        return join(response.url, link)

    def check(self, response: requests.Response, *expected: int) -> requests.Response:
        """Return the answer if its status is one of `expected`; close the answer otherwise.

        Raises:
            AuthenticationError: The status is another one, and is 401 or 403.
            RegistryError: The status is another one, and is neither 401 nor 403.
        """
        if response.status_code in expected:
            return response
        try:
            raise explain_response(response, doing=self.doing, reference=self.reference, lookup=self._lookup)
        finally:
            response.close()

    def _sent(self, response: requests.Response) -> Iterable[tuple[str, str]]:
        authorization = response.request.headers.get("Authorization")
        return [("Authorization", str(authorization))] if authorization else []


@contextmanager
def _closed_on_error(response: requests.Response) -> Iterator[None]:
    """Close a response if the block raises an error, because the caller then does not get the response."""
    try:
        yield
    except BaseException:
        response.close()
        raise


def _leave_alone(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
