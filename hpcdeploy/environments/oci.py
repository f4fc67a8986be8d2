"""Parse the index, manifest and configuration of an OCI or Docker image.

Sources: OCI Image Format Specification 1.1 (image-index, manifest, config, media-types) and Docker's "Image Manifest Version
2, Schema 2". The message of every `EnvironmentFileError` has only the reason, with "it" and "its" for the image. The caller
puts the image's name before the message.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

from hpcdeploy.architecture import AMD64, Architecture
from hpcdeploy.checked_values import read_json
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.frozen import frozen
from hpcdeploy.source import OciConfig

INDEX_TYPES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFEST_TYPES = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
CONFIG_TYPES = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_SIF = "application/vnd.sylabs.sif."


@frozen
class Descriptor:
    """A reference to another document.

    Attributes:
        media_type: The type of the document.
        digest: The sha256 digest of the document.
        platform: The platform of the image, as ``os/architecture``; empty if the reference has none.
        variant: The variant of the architecture, such as ``v3``; empty if the reference has none.
    """

    media_type: str
    digest: str
    platform: str = ""
    variant: str = ""


def config_behind(
    content: bytes,
    manifest: Callable[[str], bytes],
    blob: Callable[[str], bytes],
    architecture: Architecture = AMD64,
) -> OciConfig:
    """Return the configuration for `architecture` that a manifest or an index leads to.

    Args:
        content: The manifest or index.
        manifest: Returns the content of the manifest whose digest is the argument. `config_behind` verifies the digest.
        blob: Returns the content of the blob whose digest is the argument. `config_behind` verifies the digest.
        architecture: The processor architecture of the image.

    Raises:
        EnvironmentFileError: A document is malformed or damaged, or there is no image for the platform.
    """
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    found = read_manifest(content)
    if isinstance(found, tuple):
        digest = choose(found, architecture).digest
        found = read_manifest(check_digest(manifest(digest), digest))
    if isinstance(found, tuple):
        raise EnvironmentFileError("its index lists another index; expected an image")
    return read_config(check_digest(blob(found.digest), found.digest), digest=digest, architecture=architecture)


def read_manifest(content: bytes) -> Descriptor | tuple[Descriptor, ...]:
    """Return the reference to the configuration in an image's manifest, or the references to the manifests in an index.

    Raises:
        EnvironmentFileError: The document is malformed, or its type is not that of an image or an index.
    """
    document = _object(content, "manifest")
    kind = document.get("mediaType", "")
    if document.get("schemaVersion") == 1 or "fsLayers" in document:
        raise EnvironmentFileError(
            "it is in Docker's schema 1, deprecated in 2017, which lacks the image's command; push the image again with a "
            "current docker or skopeo"
        )
    if kind in INDEX_TYPES or (not kind and "manifests" in document):
        return tuple(_descriptor(entry) for entry in _list(document, "manifests"))
    if kind and kind not in MANIFEST_TYPES:
        raise EnvironmentFileError(f"its manifest's type is {kind}, which is not an image")
    config = _descriptor(document.get("config"))
    if config.media_type.startswith(_SIF):
        raise EnvironmentFileError(
            'it is a .sif, which needs no definition: run it, or build on it with base = "oras://..."'
        )
    if config.media_type not in CONFIG_TYPES:
        raise EnvironmentFileError(f"it is not a container image but has the type {config.media_type or 'unknown'}")
    return config


def choose(entries: Sequence[Descriptor], architecture: Architecture = AMD64) -> Descriptor:
    """Return the reference to the manifest for `architecture` in an index.

    A manifest whose variant every such processor can run is preferred to a manifest for newer processors.

    Raises:
        EnvironmentFileError: The index has no manifest for `architecture`.
    """
    platform = architecture.platform
    fitting = [entry for entry in entries if entry.platform == platform]
    if not fitting:
        there = sorted({entry.platform for entry in entries} - {"", "unknown/unknown"})
        raise EnvironmentFileError(f"it has no image for {platform}, only for {', '.join(there) or 'unnamed platforms'}")
    return min(fitting, key=lambda entry: entry.variant not in architecture.variants)


def read_config(content: bytes, *, digest: str = "", architecture: Architecture = AMD64) -> OciConfig:
    """Parse an image's configuration; `digest` is the digest of the manifest that refers to the configuration.

    Raises:
        EnvironmentFileError: The configuration is malformed, or for another platform than that of `architecture`.
    """
    document = _object(content, "configuration")
    platform = "/".join(str(document.get(key) or "(unknown)") for key in ("os", "architecture"))
    if platform != architecture.platform:
        raise EnvironmentFileError(f"it is an image for {platform}; expected one for {architecture.platform}")
    config = document.get("config") or {}
    if not isinstance(config, dict):
        raise EnvironmentFileError("its configuration's 'config' is not a JSON object")
    return OciConfig(
        digest=digest,
        entrypoint=_words(config, "Entrypoint"),
        cmd=_words(config, "Cmd"),
        workdir=_text(config, "WorkingDir"),
        user=_text(config, "User"),
        env=tuple({name: value for name, _, value in (line.partition("=") for line in _words(config, "Env"))}.items()),
        labels=tuple(_strings(config, "Labels").items()),
        ports=tuple(sorted(_table(config, "ExposedPorts"))),
        on_build=_words(config, "OnBuild"),
        shell=_words(config, "Shell"),
        volumes=tuple(sorted(_table(config, "Volumes"))),
        stop_signal=_text(config, "StopSignal"),
        health_check=_health_check(config),
    )


def check_digest(content: bytes, digest: str) -> bytes:
    """Return `content` if `digest` (``sha256:...``) is its digest.

    Raises:
        EnvironmentFileError: `content` has another digest.
    """
    got = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if got != digest:
        raise EnvironmentFileError(
            f"its data for {digest} has the digest {got}: the data is damaged, or was modified on the way"
        )
    return content


def _object(content: bytes, what: str) -> Mapping[str, object]:
    try:
        document = read_json(content)
    except ValueError as error:
        raise EnvironmentFileError(f"its {what} is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise EnvironmentFileError(f"its {what} is not a JSON object")
    return document


def _descriptor(value: object) -> Descriptor:
    fields = value if isinstance(value, dict) else {}
    digest, platform = fields.get("digest"), fields.get("platform")
    if not isinstance(digest, str) or not digest.startswith("sha256:"):
        raise EnvironmentFileError(f"it has a reference with the digest {digest!r}; expected 'sha256:...'")
    known = platform if isinstance(platform, dict) else {}
    return Descriptor(
        media_type=str(fields.get("mediaType", "")),
        digest=digest,
        platform=f"{known.get('os')}/{known.get('architecture')}" if known else "",
        variant=str(known.get("variant") or ""),
    )


def _list(document: Mapping[str, object], key: str) -> Sequence[object]:
    value = document.get(key) or []
    if not isinstance(value, list):
        raise EnvironmentFileError(f"its {key!r} is not a list")
    return value


def _words(config: Mapping[str, object], key: str) -> tuple[str, ...]:
    words = _list(config, key)
    if not all(isinstance(word, str) for word in words):
        raise EnvironmentFileError(f"its {key} is not a list of strings")
    return tuple(map(str, words))


def _text(config: Mapping[str, object], key: str) -> str:
    value = config.get(key) or ""
    if not isinstance(value, str):
        raise EnvironmentFileError(f"its {key} is not a string")
    return value


def _table(config: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = config.get(key) or {}
    if not isinstance(value, dict):
        raise EnvironmentFileError(f"its {key} is not a JSON object")
    return value


def _strings(config: Mapping[str, object], key: str) -> dict[str, str]:
    return {name: str(value) for name, value in _table(config, key).items()}


def _health_check(config: Mapping[str, object]) -> bool:
    """Tell whether the configuration has a health check. ``["NONE"]`` is no check (Docker, Image Spec 1.2)."""
    return _words(_table(config, "Healthcheck"), "Test") not in ((), ("NONE",))
