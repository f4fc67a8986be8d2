"""Implement the operations of a registry on blobs, manifests and tags (OCI distribution specification)."""

import hashlib
from collections.abc import Iterator
from typing import Any

import requests

from hpcdeploy import limits
from hpcdeploy.checked_values import read_json
from hpcdeploy.environments.oci import INDEX_TYPES, MANIFEST_TYPES
from hpcdeploy.errors import ConfigError, RegistryError
from hpcdeploy.registry.addresses import may_follow
from hpcdeploy.registry.authentication import next_page
from hpcdeploy.registry.bounded import allow
from hpcdeploy.registry.failures import PassingFailure, explain_exception, refuse_broken
from hpcdeploy.registry.manifest import MANIFEST_TYPE
from hpcdeploy.registry.oci_requests import OciRequests
from hpcdeploy.registry.reference import check_tag, is_digest
from hpcdeploy.registry.streams import RECEIVED_BLOCK, FileBody, PartialFile

_MANIFESTS_ACCEPTED = {"Accept": ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))}
"""A registry answers 404 for a manifest whose type the request does not accept (docker-registry 2.8)."""

_MOST_DAMAGED = 2
"""Maximum number of times that a document with an unexpected digest is read again."""


class OciClient(OciRequests):
    """A client of the registry of ``reference``: it uploads, reads and downloads, and retries what may succeed later."""

    def put_upload(self, blob: bytes | FileBody, digest: str, size: int) -> requests.Response:
        """Upload `blob` in one piece: ``POST`` opens a session, ``PUT`` closes it.

        A failed attempt starts a new session from the beginning, because a registry need not support resuming.
        """
        url = f"{self.prefix}://{self.container(digest).upload_blob_url()}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        # The first limit also applies to sending each block (urllib3), so it is not the timeout for connecting.
        limits = (self.patience.upload, self.patience.upload)

        def attempt() -> requests.Response:
            opened = self.exchange("POST", url, headers={"Content-Length": "0"})
            if opened.status_code not in (201, 202):
                return opened
            session = self.follow(opened)
            mark = "&" if "?" in session else "?"
            target = f"{session}{mark}digest={digest.replace(':', '%3A')}"
            done = self.exchange("PUT", target, data=blob, headers=headers, timeout=limits)
            refuse_broken(done, blob, digest, self.reference.host)
            return done

        return self.check(self.persist(attempt), 201, 204)

    def upload_blob(self, blob: bytes | FileBody, digest: str, size: int) -> requests.Response:
        """Upload a blob, unless the registry has it."""
        url = f"{self.prefix}://{self.container(digest).get_blob_url(digest)}"
        head = self.persist(lambda: self.exchange("HEAD", url))
        return head if head.status_code == requests.codes.ok else self.put_upload(blob, digest, size)

    def upload_manifest(self, manifest: bytes, name: str) -> requests.Response:
        """Upload a manifest's exact bytes under a tag or digest; retry if the registry stored other bytes."""
        url = f"{self.prefix}://{self.container(name).manifest_url()}"
        digest, puts = f"sha256:{hashlib.sha256(manifest).hexdigest()}", 0

        def attempt() -> requests.Response:
            nonlocal puts
            answer, puts = self.exchange("PUT", url, data=manifest, headers={"Content-Type": MANIFEST_TYPE}), puts + 1
            if puts <= _MOST_DAMAGED and answer.ok and answer.headers.get("Docker-Content-Digest", digest) != digest:
                raise PassingFailure(f"{self.reference.host} stored a different manifest")
            return answer

        return self.check(self.persist(attempt), 200, 201, 202)

    def read_manifest(self, name: str) -> tuple[bytes, str]:
        """Return a manifest's bytes, and its digest as claimed by the registry; empty if it claims none."""
        url = f"{self.prefix}://{self.container(name).manifest_url()}"
        return self._read_document(url, _MANIFESTS_ACCEPTED, digest=name if name.startswith("sha256:") else "")

    def digest_of_tag(self, tag: str) -> str | None:
        """Return the digest that the registry claims for a tag; empty if it claims none, None if there is no such tag.

        Docker Hub counts a GET of a manifest as a pull, but not a HEAD (docs.docker.com, "Docker Hub pull usage and
        limits").
        """
        url = f"{self.prefix}://{self.container(tag).manifest_url()}"
        response = self.persist(lambda: self.exchange("HEAD", url, headers=_MANIFESTS_ACCEPTED))
        if response.status_code == requests.codes.not_found:
            response.close()
            return None
        self.check(response, 200).close()
        claimed = response.headers.get("Docker-Content-Digest", "")
        return claimed if is_digest(claimed) else ""

    def read_blob(self, digest: str) -> bytes:
        """Return a small blob, such as an image's configuration; the caller verifies its digest."""
        url = f"{self.prefix}://{self.container(digest).get_blob_url(digest)}"
        return self._read_document(url, {}, digest=digest)[0]

    def _read_document(self, url: str, headers: dict[str, str], *, digest: str) -> tuple[bytes, str]:
        """Return a small document's bytes, and its digest as claimed by the registry; empty if it claims none.

        It is read again after a lost connection. It is also read a few times if its digest is not `digest` (or the claimed
        one), because it may have been truncated without a length in its header. The caller verifies the result.
        """
        content, reads = b"", 0

        def attempt() -> requests.Response:
            nonlocal content, reads
            with self.exchange("GET", url, headers=headers, stream=True) as response:
                if response.status_code != requests.codes.ok:
                    _ = response.content  # the registry's message
                    return response
                content, reads = response.content, reads + 1
            expected = digest or response.headers.get("Docker-Content-Digest", "")
            if reads <= _MOST_DAMAGED and expected and expected != f"sha256:{hashlib.sha256(content).hexdigest()}":
                raise PassingFailure(f"{self.reference.host} sent an unexpected document")
            return response

        response = self.check(self.persist(attempt), 200)
        return content, response.headers.get("Docker-Content-Digest", "")

    def download_to(self, part: PartialFile, digest: str, size: int) -> None:
        """Download a blob into a partial file from its current end; resume after a lost connection.

        It ends after as many attempts without progress as the retry policy allows.
        """
        url = f"{self.prefix}://{self.container(digest).get_blob_url(digest)}"

        def connect() -> requests.Response:
            headers = {"Range": f"bytes={part.done}-"} if part.done else {}
            with self.exchange("GET", url, headers=headers, stream=True) as response:
                partial = response.status_code == requests.codes.partial_content
                unknown = part.done and response.status_code == requests.codes.range_not_satisfiable
                if unknown or (partial and not _starts_at(response, part.done)):
                    part.restart()
                    raise requests.ConnectionError("the registry did not resume at the requested byte")
                if not partial and response.status_code != requests.codes.ok:
                    _ = response.content  # the registry's message, up to the limit for rejections
                    return response
                allow(response, size + RECEIVED_BLOCK)  # one more block, so that `part` notices a blob that is too long
                if not partial and part.done:
                    part.restart()
                part.write(response.iter_content(RECEIVED_BLOCK))
            if part.done < size:
                raise requests.ConnectionError("the body ended early")
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
        """Yield a blob's bytes from `start` on; resume after a lost connection.

        It ends after as many connections without data as the retry policy allows. The caller verifies the digest.
        """
        url = f"{self.prefix}://{self.container(digest).get_blob_url(digest)}"
        idle = 0
        while start < size:
            headers = {"Range": f"bytes={start}-"} if start else {}
            before = start
            response = self.persist(lambda headers=headers: self.exchange("GET", url, headers=headers, stream=True))  # type: ignore[misc]  # binds the loop's value
            with self.check(response, 200, 206):
                allow(response, size + RECEIVED_BLOCK)
                here = start if response.status_code == requests.codes.partial_content else 0
                try:
                    if response.status_code == requests.codes.partial_content and not _starts_at(response, start):
                        raise requests.ConnectionError("the registry did not resume at the requested byte")
                    for block in response.iter_content(RECEIVED_BLOCK):
                        here += len(block)
                        if here > start:  # a registry without range requests starts at the beginning
                            yield block[-(here - start) :]
                            start = here
                    trouble: requests.RequestException = requests.ConnectionError("the body ended early")
                except requests.RequestException as error:
                    trouble = error
            idle = 0 if start > before else idle + 1
            if start < size and idle >= self.patience.attempts:
                raise explain_exception(trouble, doing=self.doing, reference=self.reference, attempts=idle) from trouble

    def list_tags(self) -> list[str]:
        """Return all tags, page by page (OCI distribution specification, "Listing tags").

        Raises:
            RegistryError: There are more than `hpcdeploy.limits.MOST_TAGS` tags, or the pages are circular or leave TLS.
        """
        url = f"{self.prefix}://{self.container('latest').tags_url()}"
        tags: list[str] = []
        seen: set[str] = set()
        while url:
            seen.add(url)
            page, response = self._page_of_tags(url)
            tags.extend(page)
            if max(len(tags), len(seen)) > limits.MOST_TAGS:
                raise RegistryError(
                    f"{self.reference.host} has more than {limits.MOST_TAGS} tags, or pages of tags, in "
                    f"{self.reference.repository}, the maximum; use the registry's own web page or API"
                )
            link = next_page(response.headers.get("Link", ""))
            url = self.absolute(response, link) if link else ""
            if url in seen or (url and not may_follow(response.url, url)):
                raise RegistryError(
                    f"{self.doing} {self.reference} failed: the next page of tags of {self.reference.host} was read before "
                    "or does not use TLS; expected a new page."
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
                        f"{self.reference.host} sent no list of tags for {self.reference.repository}"
                    ) from error
            return response

        response = self.check(self.persist(attempt), 200)
        return page, response


def _listed(page: object) -> list[Any]:
    """Return the tags of a page, which may be null.

    Raises:
        TypeError: `page` is not a list.
    """
    if page is not None and not isinstance(page, list):
        raise TypeError(type(page))
    return page or []


def _starts_at(response: requests.Response, start: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
