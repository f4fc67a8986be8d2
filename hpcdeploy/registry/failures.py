"""Repeat requests to a registry after temporary failures, and convert permanent failures to messages with advice."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import requests
import urllib3

from hpcdeploy.checked_values import read_json
from hpcdeploy.errors import AuthenticationError, HpcdeployError, RegistryError
from hpcdeploy.registry.credentials import Lookup, login_command
from hpcdeploy.registry.reference import Reference
from hpcdeploy.registry.retries import PASSING_STATUSES, RetryPolicy, next_wait
from hpcdeploy.registry.streams import FileBody

_LONGEST_DETAIL = 300
"""Maximum number of characters of the registry's own message that our messages quote."""
_TLS_ENDED = ("EOF occurred in violation of protocol", "connection has been closed (EOF)", "BAD_RECORD_MAC")
"""Parts of OpenSSL's messages for a TLS connection that was interrupted or whose data was damaged."""
_RESTART = ("BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID")
"""Error codes of an upload that must be restarted (OCI distribution specification, "Error codes", code-2 and code-3)."""


class PassingFailure(requests.RequestException):
    """A failure that may not occur at the next attempt. Its text is the end of the message "Pushing ... failed: ...".

    Attributes:
        response: The answer, if its ``Retry-After`` may name the time of the next attempt; else None.
        kind: The class of the error that is raised after the last attempt.
    """

    def __init__(
        self, text: str, *, response: requests.Response | None = None, kind: type[HpcdeployError] = RegistryError
    ) -> None:
        super().__init__(text, response=response)
        self.kind = kind


@contextmanager
def only_request_errors() -> Iterator[None]:
    """Convert errors of other libraries about an invalid URL to `requests.exceptions.InvalidURL`.

    A URL from an answer may have a host name that only fails when urllib3 encodes it to connect (urllib3 2.x,
    ``util/connection.py``, `LocationParseError`). requests 2.32 does not convert this error (``adapters.py``).
    """
    try:
        yield
    except requests.RequestException:
        raise
    except (ValueError, urllib3.exceptions.HTTPError) as error:
        raise requests.exceptions.InvalidURL(str(error)) from error


def explain_response(response: requests.Response, *, doing: str, reference: Reference, lookup: Lookup) -> HpcdeployError:
    """Return the error for an answer with an unsuccessful status; `doing` is the operation (``Pushing``, ``Looking up``)."""
    status, detail = response.status_code, read_detail(response)
    where = f"{doing} {reference} failed"
    if status in (401, 403):
        return AuthenticationError(f"{where}: {reference.host} denied access{detail} {_advise_login(reference, lookup)}")
    if status == 404:
        advice = "or create it there first" if doing == "Pushing" else "or push it first"
        return RegistryError(f"{where}: {reference.host} has nothing of that name{detail}; check the spelling, {advice}")
    if status == 413:
        return RegistryError(
            f"{where}: {reference.host}, or a proxy before it, does not accept a file of this size{detail}; "
            "use another registry"
        )
    if status == 400 and "DIGEST_INVALID" in detail:
        return RegistryError(f"{where}: the file does not match the record: its sha256 differs{detail}; build it again")
    if status == 429:
        later = response.headers.get("Retry-After", "")[:100]
        when = f" (Retry-After: {later})" if later else ""
        return RegistryError(
            f"{where}: {reference.host} received too many requests{detail}; try again later{when}, or log in"
        )
    return RegistryError(f"{where}: {reference.host} answered with status {status}{detail}")


def explain_exception(
    error: requests.RequestException, *, doing: str, reference: Reference, attempts: int
) -> HpcdeployError:
    """Return the error for a failure without an answer, after `attempts` attempts.

    The URL of an upload contains a secret, so the message does not quote the URL.
    """
    where, host = f"{doing} {reference} failed", _requested_host(error, reference)
    text = str(error)
    tried = f" after {attempts} attempts" if attempts > 1 else ""
    if isinstance(error, PassingFailure):
        return error.kind(f"{where}: {text}{tried}; try again later")
    if isinstance(error, requests.exceptions.SSLError) and not is_passing(error):
        if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER" in text:
            return RegistryError(f"{where}: {host} does not use TLS; if that is intended, request plain HTTP")
        return RegistryError(
            f"{where}: the certificate of {host} is not trusted; for a site's own authority, set its file in "
            "REQUESTS_CA_BUNDLE"
        )
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return RegistryError(f"{where}: {host} sent an invalid URL; contact its administrator")
    if isinstance(error, requests.exceptions.ProxyError):
        return RegistryError(f"{where}: the proxy on the way to {host} did not answer; check HTTPS_PROXY and NO_PROXY")
    if "NameResolutionError" in text or "getaddrinfo" in text:
        return RegistryError(f"{where}: cannot resolve host {reference.hostname}; check the spelling and the network")
    if "Connection refused" in text:
        return RegistryError(f"{where}: nothing listens at {host}{tried}; check that the registry is running")
    if isinstance(error, requests.Timeout) or "Read timed out" in text:
        return RegistryError(f"{where}: {host} did not answer in time{tried}; check the network, and try again")
    return RegistryError(f"{where}: the connection to {host} was lost{tried}; check the network, and try again")


def is_passing(error: requests.RequestException) -> bool:
    """Tell whether another attempt may succeed.

    This is true for all errors except an invalid URL and a TLS error. (A TLS connection that was interrupted or damaged is
    also reported as a TLS error, but another attempt may succeed.)
    """
    if isinstance(error, requests.exceptions.SSLError):
        return any(words in str(error) for words in _TLS_ENDED)
    return not isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema)


def with_retries(
    attempt: Callable[[], requests.Response], policy: RetryPolicy, *, doing: str, reference: Reference
) -> requests.Response:
    """Call `attempt` again after temporary failures, as often as the retry policy allows; return the last answer.

    The last answer may have the status of a temporary failure. The caller must check its status.

    Args:
        attempt: Sends the request once, and returns the answer.
        policy: The retry policy.
        doing: The operation, for messages (``Pushing``).
        reference: The image's reference, for messages.

    Raises:
        RegistryError: An attempt failed permanently without an answer, or the last attempt had no answer.
        HpcdeployError: The last attempt raised a `PassingFailure`; the class of the error is its ``kind``.
    """
    failures, waited = 0, 0.0
    while True:
        response: requests.Response | None = None
        trouble: requests.RequestException | None = None
        try:
            response = attempt()
        except requests.RequestException as error:
            if not is_passing(error):
                raise explain_exception(error, doing=doing, reference=reference, attempts=1) from error
            trouble = error
        if response is not None and response.status_code not in PASSING_STATUSES:
            return response
        failures += 1
        answer = response if trouble is None else trouble.response
        retry_after = answer.headers.get("Retry-After", "") if answer is not None else ""
        wait = next_wait(policy, failures=failures, waited=waited, retry_after=retry_after)
        if wait is None:
            if trouble is not None:
                raise explain_exception(trouble, doing=doing, reference=reference, attempts=failures) from trouble
            assert response is not None
            return response
        if response is not None:
            response.close()
        policy.sleep(wait)
        waited += wait


def refuse_broken(answer: requests.Response, blob: bytes | FileBody, digest: str, host: str) -> None:
    """Raise `PassingFailure` if the registry lost the upload, or received damaged data although `blob` matches `digest`.

    A registry loses an upload if it restarts. It also does not find an upload if several machines share one host name but
    not their uploads. Then "The upload must be restarted" (distribution, registry/api/v2/descriptors.go, status 404).
    """
    detail = read_detail(answer) if answer.status_code in (400, 404, 416) else ""
    if answer.status_code in (404, 416) or any(code in detail for code in _RESTART):
        raise PassingFailure(f"{host} no longer knows the upload{detail}", response=answer)
    if "DIGEST_INVALID" in detail:
        sha256 = blob.sha256() if isinstance(blob, FileBody) else hashlib.sha256(blob).hexdigest()
        if digest == f"sha256:{sha256}":
            raise PassingFailure(f"{host} received damaged data{detail}", response=answer)


def _requested_host(error: requests.RequestException, reference: Reference) -> str:
    """Return the host of the failed request. For the registry, this is the host in `reference`, not that of its API."""
    host = urlsplit(error.request.url or "").netloc if error.request is not None else ""
    return host if host not in ("", reference.endpoint) else reference.host


def read_detail(response: requests.Response) -> str:
    """Return the registry's error codes and messages in parentheses; empty if the answer has none.

    The format is defined in the OCI distribution specification, "Error Codes".
    """
    try:
        errors = read_json(response.content)["errors"]
        text_of_errors = "; ".join(f"{error.get('code', '')}: {error.get('message', '')}" for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError, requests.RequestException):
        return ""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text_of_errors).split())
    return f" ({clean[:_LONGEST_DETAIL]})" if clean else ""


def _advise_login(reference: Reference, lookup: Lookup) -> str:
    command = f"`{login_command(reference.host, lookup.credentials)}`"
    if lookup.credentials is not None:
        return f"to the credentials from {lookup.credentials.source}; check their rights, or log in again with {command}"
    looked = f" (looked in: {', '.join(lookup.consulted)})" if lookup.consulted else ""
    return f"and no credentials were found{looked}; log in with {command}"
