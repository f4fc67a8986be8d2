"""oras-py's registry client, with its defects mended at the places it offers for that.

What is overridden, and why (oras-py 0.2.43, ``oras/provider.py``): ``do_request`` retries every exception for 131 s, has
no time-out and one token for all; ``put_upload`` reads the file whole; ``download_blob`` checks no digest and writes in
place; ``get_manifest`` gives parsed JSON, of which no digest can be taken; ``upload_manifest`` serialises the JSON anew;
``get_container`` takes a path with a full stop in it for a host. The tests in ``tests/registry/test_oras_py.py`` fail when
the library mends one of them.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import oras.container
import oras.provider
import requests
from oras.logger import setup_logger

from hpcdeploy import limits
from hpcdeploy.environments.oci import INDEX_TYPES, MANIFEST_TYPES
from hpcdeploy.errors import ConfigError, RegistryError
from hpcdeploy.json_text import read_json
from hpcdeploy.registry.addresses import NOWHERE, ODD, is_plain, is_same_origin, join, may_follow, origin_of
from hpcdeploy.registry.attempts import persist
from hpcdeploy.registry.authentication import BACKEND, ScopedAuth
from hpcdeploy.registry.bounded import BoundedAdapter, allow
from hpcdeploy.registry.challenges import next_page
from hpcdeploy.registry.credentials import Lookup
from hpcdeploy.registry.failures import PassingFailure, explain_exception, explain_response, only_request_errors
from hpcdeploy.registry.manifest import MANIFEST_TYPE
from hpcdeploy.registry.reference import Reference, check_tag, is_loopback
from hpcdeploy.registry.retries import Patience
from hpcdeploy.registry.streams import RECEIVED_BLOCK, FileBody, PartialFile
from hpcdeploy.registry.uploads import refuse_broken

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_MOST_CHALLENGES = 3
"""Refusals of one request that are answered with a new token: one may have expired on its way, or lack a right."""

_MOST_DAMAGED = 2
"""Documents with another digest than expected for which one more is asked."""


class OciClient(oras.provider.Registry):  # type: ignore[misc]  # oras-py has no types
    """Speaks to the one registry of ``reference``; nothing that belongs to it goes to any other host."""

    def __init__(
        self,
        reference: Reference,
        lookup: Lookup,
        *,
        plain_http: bool,
        patience: Patience,
        doing: str,
        token_service: str = "",
    ) -> None:
        setup_logger(quiet=True)
        super().__init__(hostname=reference.endpoint, insecure=plain_http, auth_backend=BACKEND)
        self.reference = reference
        self.patience = patience
        self.doing = doing
        self.root = f"{self.prefix}://{reference.endpoint}"
        self._lookup = lookup
        # No proxy stands between a machine and itself. A callable that changes nothing keeps ~/.netrc out: requests would
        # put its `default` line in the place of our token.
        self.session.trust_env = not (plain_http and is_loopback(reference.host))
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, BoundedAdapter())
        self.session.auth = _leave_alone
        # Nothing that comes packed is unpacked: a few bytes may become gigabytes.
        self.session.headers.update({"User-Agent": "hpcdeploy", "Accept-Encoding": "identity"})
        self.auth: ScopedAuth
        self.auth.registry = self.root
        self.auth.host = reference.host
        self.auth.token_service = token_service
        self.auth.credentials = lookup.credentials
        self.auth.patience = patience

    def get_container(self, name: Any) -> oras.container.Container:  # noqa: ANN401  # oras-py's signature
        """Give this client's own repository, at a tag or digest: the library's parser is not asked."""
        if isinstance(name, oras.container.Container):
            return name
        container = oras.container.Container("unused/unused", registry=self.reference.endpoint)
        container.registry = self.reference.endpoint
        namespace, _, container.repository = self.reference.path.rpartition("/")
        container.namespace = namespace or None
        container.tag, container.digest = str(name), None
        return container

    def do_request(
        self,
        url: str,
        method: str = "GET",
        data: Any = None,  # noqa: ANN401  # oras-py's signature
        headers: dict[str, str] | None = None,
        json: Any = None,  # noqa: ANN401
        stream: bool = False,  # noqa: FBT001, FBT002
    ) -> requests.Response:
        """Do one request, answering a challenge, following redirects, and trying again while trouble may pass."""
        return self.persist(lambda: self.exchange(method, url, data=data, headers=headers, json=json, stream=stream))

    def persist(self, attempt: Callable[[], requests.Response]) -> requests.Response:
        """Call `attempt` until its answer is no passing failure or patience ends; the last answer is given back as it is."""
        return persist(attempt, self.patience, doing=self.doing, reference=self.reference)

    def exchange(
        self,
        method: str,
        url: str,
        *,
        data: Any = None,  # noqa: ANN401
        headers: dict[str, str] | None = None,
        json: Any = None,  # noqa: ANN401
        stream: bool = False,
        timeout: tuple[float, float] | None = None,
    ) -> requests.Response:
        """Do one request once: challenges are answered, redirects are followed for reading only."""
        limits = timeout or (self.patience.connect, self.patience.read)

        def send(target: str, extra: dict[str, str]) -> requests.Response:
            with only_request_errors():
                response: requests.Response = self.session.request(
                    method,
                    target,
                    data=data,
                    json=json,
                    headers={"Accept-Encoding": "identity", **(headers or {}), **extra},
                    stream=stream,
                    timeout=limits,
                    allow_redirects=False,
                    verify=self._tls_verify,
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
            home = is_same_origin(target, self.root)
            response = send(target, self.auth.get_auth_header() if home else {})
        return response

    def follow(self, response: requests.Response) -> str:
        """Give the absolute URL of an answer's ``Location``.

        Raises:
            PassingFailure: there is none.
            RegistryError: it is odd (`is_plain`), or leads to an address without TLS (`may_follow`).
        """
        location = response.headers.get("Location", "").strip(" \t")
        target = self._join(response, location)
        if not location or origin_of(target) == NOWHERE:
            raise PassingFailure(f"{self.reference.host} did not say where to go on", response=response)
        if not may_follow(response.url, target):
            raise RegistryError(
                f"{self.doing} {self.reference} failed: {self.reference.host} sends us on to an address without TLS: "
                "refused; a proxy before the registry probably does not set X-Forwarded-Proto."
            )
        return target

    def _join(self, response: requests.Response, link: str) -> str:
        """Return the absolute URL of a link in an answer, empty where it is none; an odd one is a `RegistryError`."""
        if not is_plain(link):
            raise RegistryError(
                f"{self.doing} {self.reference} failed: {self.reference.host} sends us on to an address with {ODD}: "
                "refused; ask whoever runs it."
            )
        return join(response.url, link)

    def check(self, response: requests.Response, *expected: int) -> requests.Response:
        """Give the answer back if its status is an expected one, else raise what it means."""
        if response.status_code in expected:
            return response
        try:
            raise explain_response(response, doing=self.doing, reference=self.reference, lookup=self._lookup)
        finally:
            response.close()

    def put_upload(self, blob: Any, container: oras.container.Container, layer: dict[str, Any]) -> requests.Response:  # noqa: ANN401
        """Upload `blob` (bytes, or a `FileBody`) in one piece: ``POST`` opens a session, ``PUT`` closes it.

        A failed attempt starts a new session and sends from the beginning: a registry need not know how far it came.
        """
        url = f"{self.prefix}://{container.upload_blob_url()}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(layer["size"])}
        # The first of the two limits also holds while each block is sent (urllib3), hence not the one for connecting.
        limits = (self.patience.upload, self.patience.upload)

        def attempt() -> requests.Response:
            opened = self.exchange("POST", url, headers={"Content-Length": "0"})
            if opened.status_code not in (201, 202):
                return opened
            session = self.follow(opened)
            mark = "&" if "?" in session else "?"
            target = f"{session}{mark}digest={layer['digest'].replace(':', '%3A')}"
            done = self.exchange("PUT", target, data=blob, headers=headers, timeout=limits)
            refuse_broken(done, blob, layer["digest"], self.reference.host)
            return done

        return self.check(self.persist(attempt), 201, 204)

    def upload_blob(
        self,
        blob: bytes | FileBody,
        container: oras.container.Container | str,
        layer: dict[str, Any],
        **_ignored: object,
    ) -> requests.Response:
        """Upload a blob, unless the registry has it."""
        place = self.get_container(container)
        head = self.do_request(f"{self.prefix}://{place.get_blob_url(layer['digest'])}", "HEAD")
        return head if head.status_code == requests.codes.ok else self.put_upload(blob, place, layer)

    def upload_manifest(self, manifest: bytes, container: oras.container.Container) -> requests.Response:
        """Put a manifest's exact bytes under the container's tag or digest; again if the registry says it took others."""
        url = f"{self.prefix}://{container.manifest_url()}"
        digest, puts = f"sha256:{hashlib.sha256(manifest).hexdigest()}", 0

        def attempt() -> requests.Response:
            nonlocal puts
            answer, puts = self.exchange("PUT", url, data=manifest, headers={"Content-Type": MANIFEST_TYPE}), puts + 1
            if puts <= _MOST_DAMAGED and answer.ok and answer.headers.get("Docker-Content-Digest", digest) != digest:
                raise PassingFailure(f"{self.reference.host} stored another manifest than was sent")
            return answer

        return self.check(self.persist(attempt), 200, 201, 202)

    def read_manifest(self, asked: str) -> tuple[bytes, str]:
        """Give a manifest's raw bytes, and the digest that the registry claims for them (or nothing)."""
        url = f"{self.prefix}://{self.get_container(asked).manifest_url()}"
        headers = {"Accept": ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))}
        return self._read_document(url, headers, digest=asked if asked.startswith("sha256:") else "")

    def read_blob(self, digest: str) -> bytes:
        """Give a small blob, such as an image's configuration; the caller checks its digest."""
        url = f"{self.prefix}://{self.get_container(digest).get_blob_url(digest)}"
        return self._read_document(url, {}, digest=digest)[0]

    def _read_document(self, url: str, headers: dict[str, str], *, digest: str) -> tuple[bytes, str]:
        """Give a small document's bytes, and the digest that the registry claims for them (or nothing).

        One that breaks off is read again, and some times one that is not that of `digest`, or else of the claim: it may have
        been cut where no length says so. The caller checks what comes in the end.
        """
        content, reads = b"", 0

        def attempt() -> requests.Response:
            nonlocal content, reads
            with self.exchange("GET", url, headers=headers, stream=True) as response:
                if response.status_code != requests.codes.ok:
                    _ = response.content  # what it says, for the message
                    return response
                content, reads = response.content, reads + 1
            expected = digest or response.headers.get("Docker-Content-Digest", "")
            if reads <= _MOST_DAMAGED and expected and expected != f"sha256:{hashlib.sha256(content).hexdigest()}":
                raise PassingFailure(f"{self.reference.host} sent another document than expected")
            return response

        response = self.check(self.persist(attempt), 200)
        return content, response.headers.get("Docker-Content-Digest", "")

    def download_to(self, part: PartialFile, digest: str, size: int) -> None:
        """Bring a blob into a partial file, going on where it stands, also after a connection that broke.

        It gives up when attempts bring nothing more as often as patience allows.
        """
        url = f"{self.prefix}://{self.get_container(digest).get_blob_url(digest)}"

        def connect() -> requests.Response:
            headers = {"Range": f"bytes={part.done}-"} if part.done else {}
            with self.exchange("GET", url, headers=headers, stream=True) as response:
                partial = response.status_code == requests.codes.partial_content
                unknown = part.done and response.status_code == requests.codes.range_not_satisfiable
                if unknown or (partial and not _starts_at(response, part.done)):
                    part.restart()
                    raise requests.ConnectionError("the registry does not go on where we stand")
                if not partial and response.status_code != requests.codes.ok:
                    _ = response.content  # what it says, for the message; no more of it than is read of a refusal
                    return response
                allow(response, size + RECEIVED_BLOCK)  # so much more that `part` sees that it is more
                if not partial and part.done:
                    part.restart()
                part.write(response.iter_content(RECEIVED_BLOCK))
            if part.done < size:
                raise requests.ConnectionError("the body ended before its time")
            return response

        def attempt() -> requests.Response:
            while True:
                before = part.done
                try:
                    return connect()
                except requests.RequestException:
                    if part.done <= before:
                        raise

        if part.done < size:
            self.check(self.persist(attempt), 200, 206)

    def blob_from(self, digest: str, start: int, size: int) -> Iterator[bytes]:
        """Give a blob's bytes from `start` on as they come; a connection that breaks off is taken up where it broke.

        It gives up when a connection brings nothing as often as patience allows. The caller checks the digest.
        """
        url = f"{self.prefix}://{self.get_container(digest).get_blob_url(digest)}"
        idle = 0
        while start < size:
            headers = {"Range": f"bytes={start}-"} if start else {}
            before = start
            response = self.persist(lambda headers=headers: self.exchange("GET", url, headers=headers, stream=True))  # type: ignore[misc]  # the loop's own value
            with self.check(response, 200, 206):
                allow(response, size + RECEIVED_BLOCK)
                here = start if response.status_code == requests.codes.partial_content else 0
                try:
                    if response.status_code == requests.codes.partial_content and not _starts_at(response, start):
                        raise requests.ConnectionError("the registry does not go on where we stand")
                    for block in response.iter_content(RECEIVED_BLOCK):
                        here += len(block)
                        if here > start:  # a registry that knows no ranges begins at the beginning
                            yield block[-(here - start) :]
                            start = here
                    trouble: requests.RequestException = requests.ConnectionError("the body ended before its time")
                except requests.RequestException as error:
                    trouble = error
            idle = 0 if start > before else idle + 1
            if start < size and idle >= self.patience.attempts:
                raise explain_exception(trouble, doing=self.doing, reference=self.reference, attempts=idle) from trouble

    def list_tags(self) -> list[str]:
        """List all tags, page after page (OCI distribution specification, "Listing tags")."""
        url = f"{self.prefix}://{self.get_container('latest').tags_url()}"
        tags: list[str] = []
        seen: set[str] = set()
        while url:
            seen.add(url)
            page, response = self._page_of_tags(url)
            tags.extend(page)
            if max(len(tags), len(seen)) > limits.MOST_TAGS:
                raise RegistryError(
                    f"{self.reference.host} lists more than {limits.MOST_TAGS} tags, or pages, of "
                    f"{self.reference.repository}, which is more than is read; look them up at the registry itself"
                )
            link = next_page(response.headers.get("Link", ""))
            url = self._join(response, link) if link else ""
            if url in seen or (url and not may_follow(response.url, url)):
                raise RegistryError(
                    f"{self.doing} {self.reference} failed: the next page of tags that {self.reference.host} names is one "
                    "that was read already, or without TLS; expected a page further on."
                )
        return tags

    def _page_of_tags(self, url: str) -> tuple[list[str], requests.Response]:
        page: list[str] = []

        def attempt() -> requests.Response:
            response = self.exchange("GET", url)
            if response.status_code == requests.codes.ok:
                try:
                    page[:] = map(check_tag, _listed(read_json(response.content)["tags"]))
                except (ValueError, KeyError, TypeError, ConfigError) as error:
                    raise PassingFailure(
                        f"{self.reference.host} gave no list of tags for {self.reference.repository}"
                    ) from error
            return response

        response = self.check(self.persist(attempt), 200)
        return page, response

    def _sent(self, response: requests.Response) -> Iterable[tuple[str, str]]:
        authorization = response.request.headers.get("Authorization")
        return [("Authorization", str(authorization))] if authorization else []


@contextmanager
def _closed_on_error(response: requests.Response) -> Iterator[None]:
    """Close an answer of which an error is raised: nobody else gets it."""
    try:
        yield
    except BaseException:
        response.close()
        raise


def _listed(page: object) -> list[Any]:
    """Return the tags of a page, null where there are none; raises TypeError where it is no list."""
    if page is not None and not isinstance(page, list):
        raise TypeError(type(page))
    return page or []


def _leave_alone(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _starts_at(response: requests.Response, start: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
