"""Upload, read and download blobs and manifests, and list tags (OCI distribution specification)."""

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
"""The header of a request for a manifest. Without a manifest's type in ``Accept``, docker-registry 2.8 answers 404."""

_MOST_DAMAGED = 2
"""Maximum number of repetitions after a document with an unexpected digest was read, or stored by the registry."""


class OciClient(OciRequests):
    """A client of the registry of ``reference``. It repeats requests after temporary failures.

    Raises:
        RegistryError: By every method that sends requests: the registry rejected a request, cannot be reached, or sent an
            invalid answer.
        AuthenticationError: By every method that sends requests: the registry or its token service denied access.
    """

    def put_upload(self, blob: bytes | FileBody, digest: str, size: int) -> requests.Response:
        """Upload the `size` bytes of `blob` with its `digest`, in one piece.

        ``POST`` returns the URL of a new upload, and ``PUT`` sends the data. After a failure both are repeated with all
        data, because a registry need not support resuming an upload.
        """
        url = f"{self.prefix}://{self.container(digest).upload_blob_url()}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        # urllib3 uses the first timeout for connecting and for sending each block. A block may take long, so the first
        # timeout is that of uploads.
        limits = (self.policy.upload, self.policy.upload)

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

        return self.check(self.retry(attempt), 201, 204)

    def upload_blob(self, blob: bytes | FileBody, digest: str, size: int) -> requests.Response:
        """Upload the `size` bytes of `blob`, unless the registry already has a blob with its `digest`."""
        url = f"{self.prefix}://{self.container(digest).get_blob_url(digest)}"
        head = self.retry(lambda: self.exchange("HEAD", url))
        return head if head.status_code == requests.codes.ok else self.put_upload(blob, digest, size)

    def upload_manifest(self, manifest: bytes, name: str) -> requests.Response:
        """Upload the exact bytes of a manifest; `name` is a tag or a digest.

        The upload is repeated up to `_MOST_DAMAGED` times if the registry returns another digest. The caller must compare
        the digest of the last answer.
        """
        url = f"{self.prefix}://{self.container(name).manifest_url()}"
        digest, puts = f"sha256:{hashlib.sha256(manifest).hexdigest()}", 0

        def attempt() -> requests.Response:
            nonlocal puts
            answer, puts = self.exchange("PUT", url, data=manifest, headers={"Content-Type": MANIFEST_TYPE}), puts + 1
            if puts <= _MOST_DAMAGED and answer.ok and answer.headers.get("Docker-Content-Digest", digest) != digest:
                raise PassingFailure(f"{self.reference.host} stored a different manifest")
            return answer

        return self.check(self.retry(attempt), 200, 201, 202)

    def read_manifest(self, name: str) -> tuple[bytes, str]:
        """Return a manifest's bytes, and the digest that the registry claims (empty for none).

        `name` is a tag or a digest. The caller must verify the digest.
        """
        url = f"{self.prefix}://{self.container(name).manifest_url()}"
        return self._read_document(url, _MANIFESTS_ACCEPTED, digest=name if name.startswith("sha256:") else "")

    def digest_of_tag(self, tag: str) -> str | None:
        """Return the digest that the registry claims for a tag.

        The result is empty if the registry claims no valid digest, and None if the tag does not exist. The request is a
        HEAD, because Docker Hub limits the number of pulls, and a GET of a manifest is a pull (docs.docker.com, "Docker Hub
        pull usage and limits").
        """
        url = f"{self.prefix}://{self.container(tag).manifest_url()}"
        response = self.retry(lambda: self.exchange("HEAD", url, headers=_MANIFESTS_ACCEPTED))
        if response.status_code == requests.codes.not_found:
            response.close()
            return None
        self.check(response, 200).close()
        claimed = response.headers.get("Docker-Content-Digest", "")
        return claimed if is_digest(claimed) else ""

    def read_blob(self, digest: str) -> bytes:
        """Return a small blob, such as an image's configuration. The caller must verify its digest."""
        url = f"{self.prefix}://{self.container(digest).get_blob_url(digest)}"
        return self._read_document(url, {}, digest=digest)[0]

    def _read_document(self, url: str, headers: dict[str, str], *, digest: str) -> tuple[bytes, str]:
        """Return a small document's bytes, and the digest that the registry claims (empty for none).

        The document is read again after a temporary failure. It is also read again, up to `_MOST_DAMAGED` times, if its
        bytes do not match `digest`, or the claimed digest if `digest` is empty. The reason may be a truncated body, which is
        not detected if the answer has no length. The caller must verify the digest of the result.
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

        response = self.check(self.retry(attempt), 200)
        return content, response.headers.get("Docker-Content-Digest", "")

    def download_to(self, part: PartialFile, digest: str, size: int) -> None:
        """Download the rest of a blob of `size` bytes into the partial file `part`; resume after a lost connection.

        The download fails after as many attempts without new data as the retry policy allows.
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
                # One block more than expected, so that `part.write` raises the error about a blob that is too long.
                allow(response, size + RECEIVED_BLOCK)
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
            self.check(self.retry(attempt), 200, 206)

    def blob_from(self, digest: str, start: int, size: int) -> Iterator[bytes]:
        """Yield the bytes of a blob of `size` bytes from byte `start` on; resume after a lost connection.

        The download fails after as many consecutive connections without new data as the retry policy allows. The caller
        must verify the digest.
        """
        url = f"{self.prefix}://{self.container(digest).get_blob_url(digest)}"
        idle = 0
        while start < size:
            headers = {"Range": f"bytes={start}-"} if start else {}
            before = start
            response = self.retry(lambda headers=headers: self.exchange("GET", url, headers=headers, stream=True))  # type: ignore[misc]  # binds the loop's value
            with self.check(response, 200, 206):
                allow(response, size + RECEIVED_BLOCK)
                here = start if response.status_code == requests.codes.partial_content else 0
                try:
                    if response.status_code == requests.codes.partial_content and not _starts_at(response, start):
                        raise requests.ConnectionError("the registry did not resume at the requested byte")
                    for block in response.iter_content(RECEIVED_BLOCK):
                        here += len(block)
                        if here > start:  # false for data that was received before: not all registries support ranges
                            yield block[-(here - start) :]
                            start = here
                    trouble: requests.RequestException = requests.ConnectionError("the body ended early")
                except requests.RequestException as error:
                    trouble = error
            idle = 0 if start > before else idle + 1
            if start < size and idle >= self.policy.attempts:
                raise explain_exception(trouble, doing=self.doing, reference=self.reference, attempts=idle) from trouble

    def list_tags(self) -> list[str]:
        """Return all tags, page by page (OCI distribution specification, "Listing tags").

        Raises:
            RegistryError: Also if there are more than `hpcdeploy.limits.MOST_TAGS` tags or pages, if a page follows itself,
                or if the URL of a page uses no TLS although the URL of the page before it did.
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
                    f"{self.reference.repository} has more than {limits.MOST_TAGS} tags, or pages of tags, which is the "
                    "maximum; use the registry's own web page or API"
                )
            link = next_page(response.headers.get("Link", ""))
            url = self.absolute(response, link) if link else ""
            if url in seen or (url and not may_follow(response.url, url)):
                raise RegistryError(
                    f"{self.doing} {self.reference} failed: {self.reference.host} named a next page of tags that was read "
                    "before or does not use TLS; contact the operator of the registry"
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

        response = self.check(self.retry(attempt), 200)
        return page, response


def _listed(page: object) -> list[Any]:
    """Return the tags of a page; empty for null, which registries send for a page without tags.

    Raises:
        TypeError: `page` is neither a list nor null.
    """
    if page is not None and not isinstance(page, list):
        raise TypeError(type(page))
    return page or []


def _starts_at(response: requests.Response, start: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
