"""Push a ``.sif`` to a registry, look up or download a published ``.sif``, and list the tags of a repository."""

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdeploy.architecture import AMD64, Architecture
from hpcdeploy.environments.oci import config_behind
from hpcdeploy.environments.oci_layers import OciImage, image_behind
from hpcdeploy.errors import ConfigError, EnvironmentFileError, RegistryError
from hpcdeploy.image import PublishedImage
from hpcdeploy.progress import Progress, ignore_progress
from hpcdeploy.registry.credentials import Lookup
from hpcdeploy.registry.manifest import (
    CONFIG,
    CONFIG_SHA256,
    SIF_HEADER_BYTES,
    digest_of,
    is_sif,
    parse_manifest,
    read_annotations,
    render_manifest,
    title_of,
)
from hpcdeploy.registry.reference import Reference, check_tag, is_loopback
from hpcdeploy.registry.retries import RetryPolicy
from hpcdeploy.registry.streams import FileBody, PartialFile
from hpcdeploy.registry.tag_details import TagDetails, details_of
from hpcdeploy.source import OciConfig

if TYPE_CHECKING:
    from hpcdeploy.registry.oci_client import OciClient


class Registry:
    """The repository of one `reference`, with the user's credentials. oras-py is imported on first use.

    Args:
        reference: The repository, and the tag or digest for methods that need one.
        lookup: The result of the search for credentials.
        plain_http: Use plain HTTP. As for docker and oras, plain HTTP is always used for a registry on this machine.
        policy: The retry policy; None for the default.
        token_service: A token service that the user allows, ``HOST`` or ``HOST:PORT``, in addition to those that
            `hpcdeploy.registry.authentication.may_ask_realm` allows; empty for none.

    Raises:
        RegistryError: By every method that sends requests: the registry rejected a request, cannot be reached, or sent an
            invalid answer.
        AuthenticationError: By every method that sends requests: the registry or its token service denied access.
    """

    def __init__(
        self,
        reference: Reference,
        lookup: Lookup,
        *,
        plain_http: bool = False,
        policy: RetryPolicy | None = None,
        token_service: str = "",
    ) -> None:
        self.reference = reference
        self._lookup = lookup
        self._plain_http = plain_http or is_loopback(reference.host)
        self._policy = policy or RetryPolicy()
        self._token_service = token_service

    def push(
        self,
        path: Path,
        *,
        sha256: str,
        created: str,
        tags: Sequence[str] = (),
        annotations: Mapping[str, str] | None = None,
        progress: Progress = ignore_progress,
    ) -> PublishedImage:
        """Push a ``.sif`` under its digest and under each of `tags`. A blob that the registry already has is not sent again.

        The same arguments result in the same manifest digest.

        Args:
            path: The ``.sif``.
            sha256: The checksum of the ``.sif`` (64 hex digits). The registry verifies it, so the file is not hashed here.
            created: The time of the image (RFC 3339).
            tags: Names for the image, in addition to its digest.
            annotations: Annotations with full keys (`hpcdeploy.registry.manifest.annotate`).
            progress: Receives the number of bytes sent so far, and the size of the file in bytes.

        Raises:
            ConfigError: The file is not a ``.sif``, or a tag is invalid.
            RegistryError: Also if the file became shorter during the push, or if the registry reports another digest of the
                manifest than that of the manifest that was sent.
        """
        for tag in tags:
            check_tag(tag)
        client = self._client("Pushing")
        client.auth.wanted = f"repository:{self.reference.path}:pull,push"
        with client.session, path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if not is_sif(file.read(SIF_HEADER_BYTES)):
                raise ConfigError(f"{path} is not an Apptainer image (no SIF header); build it first, or use another file")
            manifest = render_manifest(
                sha256=sha256, size=size, title=title_of(self.reference.path), created=created, annotations=annotations or {}
            )
            client.upload_blob(FileBody(file, size, progress), f"sha256:{sha256}", size)
            progress(size, size)
            client.upload_blob(CONFIG, f"sha256:{CONFIG_SHA256}", len(CONFIG))
            digest = f"sha256:{digest_of(manifest)}"
            for name in (digest, *tags):
                answer = client.upload_manifest(manifest, name)
                self._compare(answer.headers.get("Docker-Content-Digest", ""), expected=digest)
        return parse_manifest(manifest, repository=self.reference.repository)

    def resolve(self) -> PublishedImage:
        """Look up the image of the reference. Only the manifest is downloaded.

        Raises:
            RegistryError: Also if the reference is not that of a ``.sif``, or if the digest of the manifest differs from
                the requested digest or from the digest that the registry claims.
        """
        return self.describe()[0]

    def describe(self) -> tuple[PublishedImage, Mapping[str, str]]:
        """Look up the image of the reference, and its annotations. Raises the errors of `resolve`."""
        client = self._client("Looking up")
        with client.session:
            content, claimed = client.read_manifest(self.reference.asked)
        self._compare(f"sha256:{digest_of(content)}", expected=self.reference.digest or claimed)
        return parse_manifest(content, repository=self.reference.repository), read_annotations(content)

    def digest(self) -> str:
        """Return the digest of the reference's manifest or index (``sha256:...``). At most one manifest is downloaded.

        Raises:
            RegistryError: Also if the registry has no such tag.
        """
        if self.reference.digest:
            return self.reference.digest
        client = self._client("Looking up")
        with client.session:
            claimed = client.digest_of_tag(self.reference.asked)
            if claimed is None:
                raise RegistryError(f"{self.reference.host} has no image {self.reference}")
            return claimed or f"sha256:{digest_of(client.read_manifest(self.reference.asked)[0])}"

    def image_config(self, architecture: Architecture = AMD64) -> OciConfig:
        """Return the configuration of a container image for `architecture`. Digests are verified.

        Raises:
            RegistryError: Also if the reference is not that of a container image, if the image has no linux/amd64 variant,
                or if a document has a wrong digest.
        """
        client = self._client("Looking up")
        with client.session:
            content, claimed = client.read_manifest(self.reference.asked)
            self._compare(f"sha256:{digest_of(content)}", expected=self.reference.digest or claimed)
            try:
                return config_behind(content, lambda digest: client.read_manifest(digest)[0], client.read_blob, architecture)
            except EnvironmentFileError as error:
                raise RegistryError(f"{self.reference} cannot be used as a base: {error}") from error

    def image(self) -> OciImage:
        """Return the configuration and the layers of a container image for linux/amd64. Digests are verified.

        Raises:
            RegistryError: Also if the reference is not that of a container image, or of one for another platform.
        """
        client = self._client("Looking up")
        with client.session:
            content, claimed = client.read_manifest(self.reference.asked)
            self._compare(f"sha256:{digest_of(content)}", expected=self.reference.digest or claimed)
            try:
                return image_behind(content, lambda digest: client.read_manifest(digest)[0], client.read_blob)
            except EnvironmentFileError as error:
                raise RegistryError(f"{self.reference} cannot be used as a base: {error}") from error

    def download(self, published: PublishedImage, destination: Path, *, progress: Progress = ignore_progress) -> None:
        """Download the ``.sif`` to `destination`, atomically and with a verified checksum.

        An interrupted download is resumed, by this call or by a later one.

        Raises:
            RegistryError: Also if the data does not match the checksum, or if another process downloads the same file.
            OSError: The file cannot be written.
        """
        client = self._client("Downloading")
        with (
            client.session,
            PartialFile(destination, sha256=published.sha256, size=published.size, progress=progress) as part,
        ):
            client.download_to(part, f"sha256:{published.sha256}", published.size)
            part.finish()

    def stream(self, sha256: str, size: int, start: int = 0) -> Generator[bytes, None, None]:
        """Yield the bytes of the ``.sif`` from byte `start` on, without writing them to disk.

        After a lost connection the download is resumed. The caller must verify the checksum.
        """
        client = self._client("Streaming")
        with client.session:
            yield from client.blob_from(f"sha256:{sha256}", start, size)

    def tags(self) -> tuple[str, ...]:
        """Return the repository's tags, sorted, without the tags for referrers (``sha256-...``).

        A referrer is an artifact about an image, such as a signature (OCI distribution specification, "Referrers Tag
        Schema").
        """
        client = self._client("Listing tags of")
        with client.session:
            return tuple(sorted(tag for tag in client.list_tags() if not tag.startswith("sha256-")))

    def tag_details(self, tags: Sequence[str]) -> tuple[TagDetails, ...]:
        """Return the digest, date and size of each of `tags`. A tag that the registry no longer has is left out.

        At most four requests are sent for each tag. A manifest that several tags share is read once.
        """
        client = self._client("Looking up tags of")
        found: dict[str, TagDetails] = {}
        listed: list[TagDetails] = []
        with client.session:
            for tag in tags:
                digest = client.digest_of_tag(tag)
                if digest is None:
                    continue
                if digest not in found or not digest:
                    found[digest] = _details(client, tag, digest)
                listed.append(replace(found[digest], tag=tag))
        return tuple(listed)

    def _client(self, doing: str) -> "OciClient":
        from hpcdeploy.registry.oci_client import OciClient

        return OciClient(
            self.reference,
            self._lookup,
            plain_http=self._plain_http,
            policy=self._policy,
            doing=doing,
            token_service=self._token_service,
        )

    def _compare(self, found: str, *, expected: str) -> None:
        """Raise `RegistryError` if the digest of a manifest differs from the expected digest; an empty digest is unknown."""
        if found and expected and found != expected:
            raise RegistryError(
                f"{self.reference.host} has an unexpected manifest for {self.reference} ({found}, expected {expected}): "
                "it was modified in the registry or on the way, so hpcdeploy does not use it"
            )


def _details(client: "OciClient", tag: str, digest: str) -> TagDetails:
    """Return the details of a tag. A value that cannot be read stays unknown.

    `digest` is the digest that the registry claims for the tag; empty if it claims none.
    """

    def document(read: Callable[[], bytes]) -> bytes | None:
        try:
            return read()
        except RegistryError:  # for example, an index was copied to this registry without its manifests
            return None

    content = document(lambda: client.read_manifest(digest or tag)[0])
    if content is None or (digest and f"sha256:{digest_of(content)}" != digest):
        return TagDetails(tag=tag)
    return details_of(
        tag,
        content,
        lambda inner: document(lambda: client.read_manifest(inner)[0]),
        lambda inner: document(lambda: client.read_blob(inner)),
    )
