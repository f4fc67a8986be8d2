"""A registry by reference, with the credentials that this machine's own files hold for it."""

import os
from pathlib import Path

from hpcdeploy.image import PublishedImage
from hpcdeploy.registry.client import Registry
from hpcdeploy.registry.credentials import credential_files, find_credentials
from hpcdeploy.registry.reference import is_loopback, parse_reference


def registry_of(reference: str) -> Registry:
    """Return the registry that `reference` (``oras://HOST/PATH``, or without the scheme) names; nothing is asked yet."""
    parsed = parse_reference(reference)
    files = credential_files(os.environ, Path.home())
    return Registry(parsed, find_credentials(parsed, files))


def resolve(reference: str) -> PublishedImage:
    """Ask what `reference` stands for now."""
    return registry_of(reference).resolve()


def speaks_plain_http(repository: str) -> bool:
    """Tell whether the registry of `repository` is on this very machine, and so spoken to without TLS."""
    return is_loopback(parse_reference(repository).host)
