"""What went wrong with a registry, in one sentence for the person who has to do something about it."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import requests
import urllib3

from hpcdeploy.errors import AuthenticationError, HpcdeployError, RegistryError
from hpcdeploy.json_text import read_json
from hpcdeploy.registry.credentials import Lookup, login_command
from hpcdeploy.registry.reference import Reference

_LONGEST_DETAIL = 300
_TLS_ENDED = ("EOF occurred in violation of protocol", "connection has been closed (EOF)", "BAD_RECORD_MAC")
"""How OpenSSL names a TLS connection that was cut or damaged on its way (its error strings, as Python's ssl gives them)."""


class PassingFailure(requests.RequestException):
    """An answer that may be another one at the next attempt; the text completes "failed: ...".

    ``response`` is the answer, if its header may say when to ask again. ``kind`` is the error that it becomes in the end.
    """

    def __init__(
        self, text: str, *, response: requests.Response | None = None, kind: type[HpcdeployError] = RegistryError
    ) -> None:
        super().__init__(text, response=response)
        self.kind = kind


@contextmanager
def only_request_errors() -> Iterator[None]:
    """Turn what requests lets through of other libraries into its own `InvalidURL`.

    An address from an answer can be refused as late as in the socket's own encoding of a host's name (urllib3 2.x,
    ``util/connection.py``, `LocationParseError`), which requests 2.32 passes on as it is (``adapters.py``).
    """
    try:
        yield
    except requests.RequestException:
        raise
    except (ValueError, urllib3.exceptions.HTTPError) as error:
        raise requests.exceptions.InvalidURL(str(error)) from error


def explain_response(response: requests.Response, *, doing: str, reference: Reference, lookup: Lookup) -> HpcdeployError:
    """Turn a refusal into an error; `doing` completes "failed while ..." (``pushing``, ``looking up``)."""
    status, detail = response.status_code, read_detail(response)
    where = f"{doing} {reference} failed"
    if status in (401, 403):
        return AuthenticationError(f"{where}: {reference.host} denied it{detail} {_advise_login(reference, lookup)}")
    if status == 404:
        advice = "or create it there first" if doing == "Pushing" else "or push it first"
        return RegistryError(f"{where}: {reference.host} has nothing of that name{detail}; check the spelling, {advice}.")
    if status == 413:
        return RegistryError(
            f"{where}: {reference.host}, or a proxy before it, takes no file that large{detail}; use another registry."
        )
    if status == 400 and "DIGEST_INVALID" in detail:
        return RegistryError(f"{where}: the file is not the one on record, its sha256 is another{detail}; build it again.")
    if status == 429:
        later = response.headers.get("Retry-After", "")[:100]
        when = f" (Retry-After: {later})" if later else ""
        return RegistryError(f"{where}: {reference.host} had too many requests{detail}; try again later{when}, or log in.")
    return RegistryError(f"{where}: {reference.host} answered with status {status}{detail}.")


def explain_exception(
    error: requests.RequestException, *, doing: str, reference: Reference, attempts: int
) -> HpcdeployError:
    """Turn a failure of the connection into an error. URLs are left out: an upload's holds a secret of its own."""
    where, host = f"{doing} {reference} failed", _asked_host(error, reference)
    text = str(error)
    tried = f" after {attempts} attempts" if attempts > 1 else ""
    if isinstance(error, PassingFailure):
        return error.kind(f"{where}: {text}{tried}; try again later.")
    if isinstance(error, requests.exceptions.SSLError) and not is_passing(error):
        if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER" in text:
            return RegistryError(f"{where}: {host} does not speak TLS; if it is meant to be without, ask for plain HTTP.")
        return RegistryError(
            f"{where}: the certificate of {host} was not accepted; where a site has its own authority, name its file in "
            "REQUESTS_CA_BUNDLE."
        )
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return RegistryError(f"{where}: {host} sends us on to an address that is none; ask whoever runs it.")
    if isinstance(error, requests.exceptions.ProxyError):
        return RegistryError(f"{where}: the proxy on the way to {host} did not answer; check HTTPS_PROXY and NO_PROXY.")
    if "NameResolutionError" in text or "getaddrinfo" in text:
        return RegistryError(f"{where}: no machine is called {reference.hostname}; check the spelling and the network.")
    if "Connection refused" in text:
        return RegistryError(f"{where}: nothing listens at {host}{tried}; is the registry running?")
    if isinstance(error, requests.Timeout) or "Read timed out" in text:
        return RegistryError(f"{where}: {host} did not answer in time{tried}; check the network, and try again.")
    return RegistryError(f"{where}: the connection to {host} broke off{tried}; check the network, and try again.")


def is_passing(error: requests.RequestException) -> bool:
    """Tell whether another attempt may go better: not where TLS is refused, nor for an address that is none."""
    if isinstance(error, requests.exceptions.SSLError):
        return any(words in str(error) for words in _TLS_ENDED)
    return not isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema)


def _asked_host(error: requests.RequestException, reference: Reference) -> str:
    """Name who was asked: the registry by the name that the person wrote, or another host, such as a token service."""
    host = urlsplit(error.request.url or "").netloc if error.request is not None else ""
    return host if host not in ("", reference.endpoint) else reference.host


def read_detail(response: requests.Response) -> str:
    """Give what the registry says itself (OCI distribution specification, "Error codes"), in brackets, or nothing."""
    try:
        errors = read_json(response.content)["errors"]
        said = "; ".join(f"{error.get('code', '')}: {error.get('message', '')}" for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError, requests.RequestException):
        return ""
    clean = " ".join("".join(c if c.isprintable() else " " for c in said).split())
    return f" ({clean[:_LONGEST_DETAIL]})" if clean else ""


def _advise_login(reference: Reference, lookup: Lookup) -> str:
    command = f"`{login_command(reference.host, lookup.credentials)}`"
    if lookup.credentials is not None:
        return f"to the credentials from {lookup.credentials.source}; check their rights, or log in again with {command}."
    looked = f" (looked in: {', '.join(lookup.consulted)})" if lookup.consulted else ""
    return f"and no credentials were found{looked}; log in with {command}."
