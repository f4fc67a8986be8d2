"""Find the layers of an OCI or Docker image in its manifest and configuration.

Sources: OCI Image Format Specification 1.1 (manifest, config, layer). Every function raises `EnvironmentFileError` with only
the reason; its caller adds where the data came from.
"""

from collections.abc import Callable, Mapping
from typing import cast

from hpcdeploy.checked_values import read_json
from hpcdeploy.environments.oci import check_digest, choose, read_config, read_manifest
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.frozen import frozen
from hpcdeploy.source import OciConfig

_TAR = (
    *(f"application/vnd.oci.image.layer.v1.tar{packing}" for packing in ("", "+gzip", "+zstd")),
    *("application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.docker.image.rootfs.diff.tar"),
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
)
_MOST_LAYERS = 1000
"""Maximum number of layers. Docker's overlay2 driver stores 128, and OCI tools write hardly more."""

LARGEST_LAYER = 200 * 10**9
"""Maximum size of one layer in bytes."""


@frozen
class LayerBlob:
    """A layer.

    Attributes:
        digest: The sha256 digest of its compressed archive (``sha256:...``); empty if only a file name is known.
        size: The size of the compressed archive in bytes; 0 if unknown.
        diff_id: The sha256 digest of the archive without compression.
        file: The name in a Docker archive; empty for a blob.
    """

    digest: str
    size: int
    diff_id: str
    file: str = ""


@frozen
class OciImage:
    """An image: its configuration as values and as the JSON object ``config``, and its layers from the lowest on."""

    config: OciConfig
    settings: Mapping[str, object]
    layers: tuple[LayerBlob, ...]


def image_behind(content: bytes, manifest: Callable[[str], bytes], blob: Callable[[str], bytes]) -> OciImage:
    """Return the image for linux/amd64 that a manifest or an index leads to.

    Args:
        content: The manifest or index.
        manifest: Returns a manifest by its digest, which is verified here.
        blob: Returns a blob by its digest, which is verified here.

    Raises:
        EnvironmentFileError: A document is malformed or damaged, or there is no image for the platform.
    """
    found = read_manifest(content)
    if isinstance(found, tuple):
        digest = choose(found).digest
        content = check_digest(manifest(digest), digest)
        found = read_manifest(content)
    if isinstance(found, tuple):
        raise EnvironmentFileError("its index lists another index; expected an image")
    config = check_digest(blob(found.digest), found.digest)
    return image_of(config, _blobs(content))


def image_of(config: bytes, blobs: tuple[LayerBlob, ...]) -> OciImage:
    """Return the image with this configuration and these layers, whose ``diff_id`` is taken from the configuration.

    Raises:
        EnvironmentFileError: The configuration is malformed, or has another number of layers.
    """
    values = read_config(config)
    document = cast("Mapping[str, object]", read_json(config))
    root = document.get("rootfs")
    listed = root.get("diff_ids") if isinstance(root, dict) else None
    if not isinstance(listed, list) or len(listed) != len(blobs) or not all(map(_is_digest, listed)):
        raise EnvironmentFileError(f"its configuration does not have the digests of its {len(blobs)} layers")
    layers = (
        LayerBlob(digest=one.digest, size=one.size, diff_id=diff_id, file=one.file)
        for one, diff_id in zip(blobs, listed, strict=True)
    )
    settings = document.get("config")
    return OciImage(config=values, settings=settings if isinstance(settings, dict) else {}, layers=tuple(layers))


def _blobs(content: bytes) -> tuple[LayerBlob, ...]:
    document = cast("Mapping[str, object]", read_json(content))
    listed = document.get("layers")
    if not isinstance(listed, list) or len(listed) > _MOST_LAYERS:
        raise EnvironmentFileError(f"its manifest has no list of at most {_MOST_LAYERS} layers")
    return tuple(_blob(entry if isinstance(entry, dict) else {}) for entry in listed)


def _blob(entry: Mapping[str, object]) -> LayerBlob:
    kind, digest, size = entry.get("mediaType"), entry.get("digest"), entry.get("size")
    if kind not in _TAR:
        raise EnvironmentFileError(f"one of its layers has the type {str(kind)[:100]}; expected a tar archive")
    if not isinstance(digest, str) or not _is_digest(digest):
        raise EnvironmentFileError("one of its layers has no sha256 digest")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= LARGEST_LAYER:
        raise EnvironmentFileError(f"one of its layers has the size {str(size)[:40]}; expected 1 to {LARGEST_LAYER} bytes")
    return LayerBlob(digest=digest, size=size, diff_id="")


def _is_digest(text: object) -> bool:
    digits = text.removeprefix("sha256:") if isinstance(text, str) else ""
    return text == f"sha256:{digits}" and len(digits) == 64 and set(digits) <= set("0123456789abcdef")
