"""A registry by reference, with the credentials that this machine's own files hold for it.

What talks to a registry is imported when one is to be asked: most submissions ask none.
"""

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdeploy.definition.mirrors import mirrored
from hpcdeploy.errors import AuthenticationError, RegistryError
from hpcdeploy.image import PublishedImage
from hpcdeploy.registry.reference import Reference, is_loopback, parse_image, parse_reference
from hpcdeploy.source import ImageConfigOf, OciConfig

if TYPE_CHECKING:
    from hpcdeploy.registry.client import Registry


def registry_of(reference: str) -> "Registry":
    """Return the registry that `reference` (``oras://HOST/PATH``, or without the scheme) names; nothing is asked yet."""
    return _with_credentials(parse_reference(reference))


def resolve(reference: str) -> PublishedImage:
    """Ask what `reference` stands for now."""
    return registry_of(reference).resolve()


def head_of(published: PublishedImage, most: int) -> bytes:
    """Return the first bytes of a published ``.sif``, at most `most`; their digest is not checked."""
    with closing(registry_of(published.reference).stream(published.sha256, min(published.size, most))) as blocks:
        head = b""
        for block in blocks:
            head += block
            if len(head) >= most:
                break
    return head[:most]


def image_config(reference: str) -> OciConfig:
    """Ask what the container image `reference` (without a scheme) says of itself, for linux/amd64.

    ``python:3.12`` is Docker Hub's, as docker reads it. Raises `RegistryError`, `AuthenticationError`, and `ConfigError`
    where the reference is none.
    """
    return _with_credentials(parse_image(reference)).image_config()


def image_config_by(mirrors: Sequence[tuple[str, str]]) -> ImageConfigOf:
    """Return `image_config` for a build that takes its images from `mirrors` (as `hpcdeploy.cluster.Cluster` has them).

    The mirror is asked first, since the build will pull from it what it answers. It may be reachable from the cluster only:
    then the image's own registry is asked.
    """

    def ask(reference: str) -> OciConfig:
        mirror = mirrored(reference, mirrors)
        if mirror == reference:
            return image_config(reference)
        try:
            return image_config(mirror)
        except (RegistryError, AuthenticationError) as refused:
            try:
                return image_config(reference)
            except (RegistryError, AuthenticationError) as error:
                raise type(error)(f"{error} (its mirror was asked before: {refused})") from error

    return ask


def speaks_plain_http(repository: str) -> bool:
    """Tell whether the registry of `repository` is on this very machine, and so spoken to without TLS."""
    return is_loopback(parse_reference(repository).host)


def _with_credentials(parsed: Reference) -> "Registry":
    from hpcdeploy.config.files import token_services
    from hpcdeploy.registry.client import Registry
    from hpcdeploy.registry.credentials import credential_files, find_credentials

    found = find_credentials(parsed, credential_files(os.environ, Path.home()))
    return Registry(parsed, found, token_service=token_services(os.environ).get(parsed.host, ""))
