"""Open the registry of a reference, with credentials from this machine's files.

Most submissions query no registry, so the modules that need requests are imported on first use.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hpcdeploy.architecture import AMD64, Architecture
from hpcdeploy.definition.base_images import mirrored
from hpcdeploy.errors import AuthenticationError, RegistryError
from hpcdeploy.image import PublishedImage
from hpcdeploy.registry.reference import Reference, is_loopback, parse_image, parse_reference
from hpcdeploy.source import ImageConfigOf, OciConfig

if TYPE_CHECKING:
    from hpcdeploy.registry.client import Registry
    from hpcdeploy.registry.retries import RetryPolicy

T = TypeVar("T")

_CONNECT, _READ = 5.0, 10.0
"""Timeouts in seconds of a query for the digest of a base image."""


def registry_of(reference: str) -> "Registry":
    """Return the registry of `reference` (``oras://HOST/PATH`` or ``HOST/PATH``), without sending a request.

    Raises:
        ConfigError: `reference` is malformed, or a credentials file cannot be read.
    """
    return _with_credentials(parse_reference(reference))


def repository_of(reference: str) -> "Registry":
    """Return the registry of a repository with images of any type, without sending a request.

    ``docker://python`` refers to Docker Hub, as for docker. All other references are those of `registry_of`.

    Raises:
        ConfigError: `reference` is malformed, or a credentials file cannot be read.
    """
    return _with_credentials(parse_image(reference) if reference.startswith("docker://") else parse_reference(reference))


def resolve(reference: str) -> PublishedImage:
    """Return the published ``.sif`` of `reference`.

    Raises:
        RegistryError: The registry rejected the request or cannot be reached, or the reference is not that of a ``.sif``.
        AuthenticationError: The registry rejected the credentials.
        ConfigError: `reference` is malformed, or a credentials file cannot be read.
    """
    return registry_of(reference).resolve()


def head_of(published: PublishedImage, most: int) -> bytes:
    """Return the first bytes of a published ``.sif``, at most `most` bytes. Their checksum is not verified.

    Raises:
        RegistryError: The registry rejected the request, or cannot be reached.
        AuthenticationError: The registry rejected the credentials.
        ConfigError: The image's reference is malformed, or a credentials file cannot be read.
    """
    with closing(registry_of(published.reference).stream(published.sha256, min(published.size, most))) as blocks:
        head = b""
        for block in blocks:
            head += block
            if len(head) >= most:
                break
    return head[:most]


def image_config(reference: str, architecture: Architecture = AMD64) -> OciConfig:
    """Return the configuration of the container image `reference` (without a scheme) for `architecture`.

    ``python:3.12`` refers to Docker Hub, as for docker.

    Raises:
        RegistryError: The registry rejected the request or cannot be reached, or has no image for that architecture.
        AuthenticationError: The registry rejected the credentials.
        ConfigError: `reference` is malformed, or a credentials file cannot be read.
    """
    return _with_credentials(parse_image(reference)).image_config(architecture)


def image_config_by(mirrors: Sequence[tuple[str, str]], architecture: Architecture = AMD64) -> ImageConfigOf:
    """Return a function like `image_config` for a build for `architecture` with `mirrors` (`hpcdeploy.cluster.Cluster`).

    The build pulls an image from its mirror, so the function queries the mirror first. If the mirror rejects the request or
    cannot be reached, the function queries the registry in the reference, because some mirrors are only reachable from the
    cluster.
    """

    def configured(reference: str) -> OciConfig:
        return image_config(reference, architecture)

    return lambda reference: _by_mirror(reference, mirrors, configured)


def digest_by(mirrors: Sequence[tuple[str, str]]) -> Callable[[str, str], str]:
    """Return a function that returns the digest of a base image, from its bootstrap agent and its reference.

    The agent is ``docker`` or ``oras``. Mirrors are used as by `image_config_by`. Each registry is queried once, without
    another attempt, because a build can also use the digest of the last build. For an image of several architectures the
    digest is that of its index.
    """

    def query(agent: str, source: str) -> str:
        from hpcdeploy.registry.retries import RetryPolicy

        def digest(reference: str) -> str:
            parsed = parse_image(reference) if agent == "docker" else parse_reference(reference)
            return _with_credentials(parsed, RetryPolicy(attempts=1, connect=_CONNECT, read=_READ)).digest()

        return _by_mirror(source, mirrors, digest)

    return query


def _by_mirror(reference: str, mirrors: Sequence[tuple[str, str]], query: Callable[[str], T]) -> T:
    mirror = mirrored(reference, mirrors)
    if mirror == reference:
        return query(reference)
    try:
        return query(mirror)
    except (RegistryError, AuthenticationError) as refused:
        try:
            return query(reference)
        except (RegistryError, AuthenticationError) as error:
            raise type(error)(f"{error} (its mirror was queried before: {refused})") from error


def uses_plain_http(repository: str) -> bool:
    """Tell whether requests to the registry of `repository` use plain HTTP, because its host is this machine (loopback)."""
    return is_loopback(parse_reference(repository).host)


def _with_credentials(parsed: Reference, policy: "RetryPolicy | None" = None) -> "Registry":
    from hpcdeploy.config.files import token_services
    from hpcdeploy.registry.client import Registry
    from hpcdeploy.registry.credentials import credential_files, find_credentials

    found = find_credentials(parsed, credential_files(os.environ, Path.home()))
    return Registry(parsed, found, policy=policy, token_service=token_services(os.environ).get(parsed.host, ""))
