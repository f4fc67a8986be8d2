"""Open a registry by reference, with credentials from this machine's files.

Registry modules are imported on first use, because most submissions query none.
"""

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdeploy.definition.base_images import mirrored
from hpcdeploy.errors import AuthenticationError, RegistryError
from hpcdeploy.image import PublishedImage
from hpcdeploy.registry.reference import Reference, is_loopback, parse_image, parse_reference
from hpcdeploy.source import ImageConfigOf, OciConfig

if TYPE_CHECKING:
    from hpcdeploy.registry.client import Registry


def registry_of(reference: str) -> "Registry":
    """Return the registry of `reference` (``oras://HOST/PATH``, scheme optional); nothing is sent yet.

    Raises:
        ConfigError: `reference` is malformed, or a credentials file cannot be read.
    """
    return _with_credentials(parse_reference(reference))


def repository_of(reference: str) -> "Registry":
    """Return the registry of a repository with any images; ``docker://python`` refers to Docker Hub, as for docker.

    Raises:
        ConfigError: `reference` is malformed, or a credentials file cannot be read.
    """
    return _with_credentials(parse_image(reference) if reference.startswith("docker://") else parse_reference(reference))


def resolve(reference: str) -> PublishedImage:
    """Look up the image of `reference`.

    Raises:
        RegistryError: The registry rejected the request, or cannot be reached.
        AuthenticationError: The registry rejected the login.
        ConfigError: `reference` is malformed, or a credentials file cannot be read.
    """
    return registry_of(reference).resolve()


def head_of(published: PublishedImage, most: int) -> bytes:
    """Return the first bytes of a published ``.sif``, at most `most`; their checksum is not verified.

    Raises:
        RegistryError: The registry rejected the request, or cannot be reached.
        AuthenticationError: The registry rejected the login.
    """
    with closing(registry_of(published.reference).stream(published.sha256, min(published.size, most))) as blocks:
        head = b""
        for block in blocks:
            head += block
            if len(head) >= most:
                break
    return head[:most]


def image_config(reference: str) -> OciConfig:
    """Return the configuration of the container image `reference` (without a scheme) for linux/amd64.

    ``python:3.12`` refers to Docker Hub, as for docker.

    Raises:
        RegistryError: The registry rejected the request, or cannot be reached.
        AuthenticationError: The registry rejected the login.
        ConfigError: `reference` is malformed.
    """
    return _with_credentials(parse_image(reference)).image_config()


def image_config_by(mirrors: Sequence[tuple[str, str]]) -> ImageConfigOf:
    """Return `image_config` for a build that uses `mirrors` (see `hpcdeploy.cluster.Cluster`).

    The mirror is queried first, because the build pulls from it. If only the cluster can reach it, the image's own registry
    is queried.
    """

    def query(reference: str) -> OciConfig:
        mirror = mirrored(reference, mirrors)
        if mirror == reference:
            return image_config(reference)
        try:
            return image_config(mirror)
        except (RegistryError, AuthenticationError) as refused:
            try:
                return image_config(reference)
            except (RegistryError, AuthenticationError) as error:
                raise type(error)(f"{error} (its mirror was queried before: {refused})") from error

    return query


def speaks_plain_http(repository: str) -> bool:
    """Tell whether the registry of `repository` is on this machine, so that plain HTTP is used."""
    return is_loopback(parse_reference(repository).host)


def _with_credentials(parsed: Reference) -> "Registry":
    from hpcdeploy.config.files import token_services
    from hpcdeploy.registry.client import Registry
    from hpcdeploy.registry.credentials import credential_files, find_credentials

    found = find_credentials(parsed, credential_files(os.environ, Path.home()))
    return Registry(parsed, found, token_service=token_services(os.environ).get(parsed.host, ""))
