"""A registry as the flows see it: push a ``.sif``, look one up, bring one here, list tags."""

import os
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdeploy.environments.oci import config_behind
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
from hpcdeploy.registry.retries import Patience
from hpcdeploy.registry.streams import FileBody, PartialFile
from hpcdeploy.source import OciConfig

if TYPE_CHECKING:
    from hpcdeploy.registry.oci_client import OciClient


class Registry:
    """The repository of one `reference`, spoken to with the credentials that were found for it.

    Plain HTTP is used where `plain_http` says so and, as docker and oras do, for this machine itself. oras-py is imported by
    the first call. Every method raises `hpcdeploy.errors.RegistryError` where the registry refuses or cannot be reached, and
    `hpcdeploy.errors.AuthenticationError` where it does not let us in. `token_service` is the ``HOST`` or ``HOST:PORT``
    that the person lets issue its tokens, besides those that `hpcdeploy.registry.challenges.may_ask_realm` knows.
    """

    def __init__(
        self,
        reference: Reference,
        lookup: Lookup,
        *,
        plain_http: bool = False,
        patience: Patience | None = None,
        token_service: str = "",
    ) -> None:
        self.reference = reference
        self._lookup = lookup
        self._plain_http = plain_http or is_loopback(reference.host)
        self._patience = patience or Patience()
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
        """Publish a ``.sif`` under its digest and under each of `tags`.

        `sha256` is the file's own (64 hex digits); the registry checks it, so the file is not read a second time here.
        `created` is an RFC 3339 time and `annotations` have full keys (`hpcdeploy.registry.manifest.annotate`): same values,
        same manifest digest. A blob that is there already is not sent again.

        Raises:
            ConfigError: the file is no ``.sif``, or a tag is none.
        """
        for tag in tags:
            check_tag(tag)
        client = self._client("Pushing")
        client.auth.wanted = f"repository:{self.reference.path}:pull,push"
        with client.session, path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if not is_sif(file.read(SIF_HEADER_BYTES)):
                raise ConfigError(
                    f"{path} is not an Apptainer image (no SIF header): build it first, or name the right file."
                )
            manifest = render_manifest(
                sha256=sha256, size=size, title=title_of(self.reference.path), created=created, annotations=annotations or {}
            )
            client.upload_blob(FileBody(file, size, progress), "", {"digest": f"sha256:{sha256}", "size": size})
            progress(size, size)
            client.upload_blob(CONFIG, "", {"digest": f"sha256:{CONFIG_SHA256}", "size": len(CONFIG)})
            digest = f"sha256:{digest_of(manifest)}"
            for name in (digest, *tags):
                answer = client.upload_manifest(manifest, client.get_container(name))
                self._compare(answer.headers.get("Docker-Content-Digest", ""), digest)
        return parse_manifest(manifest, repository=self.reference.repository)

    def resolve(self) -> PublishedImage:
        """Look up what the reference names now. What comes is hashed here, and compared with a digest that was asked for."""
        return self.describe()[0]

    def describe(self) -> tuple[PublishedImage, Mapping[str, str]]:
        """Look up what the reference names now, and its annotations; nothing but the manifest is read."""
        client = self._client("Looking up")
        with client.session:
            content, claimed = client.read_manifest(self.reference.asked)
        self._compare(self.reference.digest or claimed, f"sha256:{digest_of(content)}")
        return parse_manifest(content, repository=self.reference.repository), read_annotations(content)

    def image_config(self) -> OciConfig:
        """Ask what a container image of the platform linux/amd64 says of itself. Digests are checked.

        Raises `hpcdeploy.errors.RegistryError` where it is none, or there is none for that platform, with the reason.
        """
        client = self._client("Looking up")
        with client.session:
            content, claimed = client.read_manifest(self.reference.asked)
            self._compare(self.reference.digest or claimed, f"sha256:{digest_of(content)}")
            try:
                return config_behind(content, lambda digest: client.read_manifest(digest)[0], client.read_blob)
            except EnvironmentFileError as error:
                raise RegistryError(f"{self.reference} cannot be built on: {error}.") from error

    def download(self, published: PublishedImage, destination: Path, *, progress: Progress = ignore_progress) -> None:
        """Bring the ``.sif`` to `destination`, which appears whole and checked or not at all.

        A download that broke off goes on where it stood, also in a later call.
        """
        client = self._client("Downloading")
        with (
            client.session,
            PartialFile(destination, sha256=published.sha256, size=published.size, progress=progress) as part,
        ):
            client.download_to(part, f"sha256:{published.sha256}", published.size)
            part.finish()

    def stream(self, sha256: str, size: int, start: int = 0) -> Generator[bytes, None, None]:
        """Give the bytes of the ``.sif`` of that sha256 from `start` on, which touch no disk here; the taker checks them.

        A connection that breaks off is taken up where it broke.
        """
        client = self._client("Streaming")
        with client.session:
            yield from client.blob_from(f"sha256:{sha256}", start, size)

    def tags(self) -> tuple[str, ...]:
        """List the repository's tags, sorted, without those that only hold referrers (``sha256-...``)."""
        client = self._client("Listing tags of")
        with client.session:
            return tuple(sorted(tag for tag in client.list_tags() if not tag.startswith("sha256-")))

    def _client(self, doing: str) -> "OciClient":
        from hpcdeploy.registry.oci_client import OciClient

        return OciClient(
            self.reference,
            self._lookup,
            plain_http=self._plain_http,
            patience=self._patience,
            doing=doing,
            token_service=self._token_service,
        )

    def _compare(self, got: str, expected: str) -> None:
        if got and got != expected:
            raise RegistryError(
                f"{self.reference.host} has another manifest under {self.reference} than expected ({got}, not {expected}): "
                "it was tampered with, or something on the way changes it; nothing of it was used."
            )
