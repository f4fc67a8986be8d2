"""Render and parse the manifest of a ``.sif`` in a registry, in the format of ``apptainer push``.

The manifest has one layer, which is the ``.sif``, and the configuration ``{}``, of which it also contains a copy. Source
of this format and of the media types: Apptainer, ``internal/pkg/client/oras`` (image.go, oras.go). ``apptainer pull``
rejects any other number of layers ("ORAS SIF image should have a single layer"). It ignores the type of the configuration.
"""

import hashlib
import json
import re
from collections.abc import Mapping

from hpcdeploy.checked_values import LARGEST, read_json
from hpcdeploy.environments.oci import INDEX_TYPES
from hpcdeploy.errors import RegistryError
from hpcdeploy.image import PublishedImage

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.sylabs.sif.config.v1+json"
LAYER_TYPE = "application/vnd.sylabs.sif.layer.v1.sif"
# An early release misspelt its layer's type; Apptainer accepts both (oras.go).
OLD_LAYER_TYPE = "appliciation/vnd.sylabs.sif.layer.tar"
CONFIG = b"{}"
CONFIG_SHA256 = hashlib.sha256(CONFIG).hexdigest()
SIF_HEADER_BYTES = 42
ANNOTATION = "org.opencontainers.image."

_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")


def is_sif(head: bytes) -> bool:
    """Tell whether a file whose first `SIF_HEADER_BYTES` bytes are `head` is a ``.sif``.

    A ``.sif`` begins with a launch line of 32 bytes and the magic number ``SIF_MAGIC`` (github.com/apptainer/sif, pkg/sif).
    """
    return head[32:SIF_HEADER_BYTES] == b"SIF_MAGIC\0"


def title_of(path: str) -> str:
    """Return the file name for the manifest: the last component of the repository's `path`, and ``.sif``.

    The name of the local file is not used, because the digest of the manifest would depend on it.
    """
    return path.rpartition("/")[2] + ".sif"


def annotate(**values: str) -> dict[str, str]:
    """Return standard annotations with their full keys, such as ``org.opencontainers.image.version``.

    An underscore in an argument's name becomes a full stop, so ``base_name`` becomes ``base.name``. An annotation with an
    empty value is left out. The OCI image specification (annotations.md) defines these names: title, description, url,
    source, version, created, revision, licenses, vendor, authors, documentation, base.name and base.digest.
    """
    return {ANNOTATION + key.replace("_", "."): value for key, value in sorted(values.items()) if value}


def render_manifest(*, sha256: str, size: int, title: str, created: str, annotations: Mapping[str, str]) -> bytes:
    """Render the manifest of a ``.sif`` as the exact bytes to push.

    The same arguments always result in the same bytes, and so in the same digest.

    Args:
        sha256: The checksum of the ``.sif`` (64 hex digits).
        size: The size of the ``.sif`` in bytes.
        title: The file name of the ``.sif`` (`title_of`).
        created: The time of the image (RFC 3339).
        annotations: Annotations with full keys. An annotation for the time takes precedence over `created`.
    """
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": f"sha256:{CONFIG_SHA256}", "size": len(CONFIG), "data": "e30="},
        "layers": [
            {
                "mediaType": LAYER_TYPE,
                "digest": f"sha256:{sha256}",
                "size": size,
                "annotations": {ANNOTATION + "title": title},
            }
        ],
        "annotations": {ANNOTATION + "created": created, **annotations},
    }
    return json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(content: bytes) -> str:
    """Return the sha256 (64 hex digits) by which a registry identifies these bytes."""
    return hashlib.sha256(content).hexdigest()


def parse_manifest(content: bytes, *, repository: str) -> PublishedImage:
    """Parse the manifest of a published ``.sif``.

    Raises:
        RegistryError: `content` is not the manifest of a ``.sif``; the message has the reason.
    """
    try:
        manifest = read_json(content)
    except ValueError as error:
        raise RegistryError(f"the registry's answer for {repository} is not a manifest: {error}") from error
    if not isinstance(manifest, dict):
        raise RegistryError(f"the registry's answer for {repository} is not a manifest: expected a JSON object")
    kind = manifest.get("mediaType", MANIFEST_TYPE)
    if kind in INDEX_TYPES or "manifests" in manifest:
        raise _not_a_sif(repository, "it is an index of several images; use the digest of one of them")
    if kind != MANIFEST_TYPE:
        raise _not_a_sif(repository, f"its manifest's type is {kind}")
    layers = manifest.get("layers")
    if not isinstance(layers, list) or len(layers) != 1:
        number = len(layers) if isinstance(layers, list) else 0
        raise _not_a_sif(repository, f"it has {number} layers but Apptainer requires exactly one")
    return _read_layer(layers[0], repository, digest_of(content))


def read_annotations(content: bytes) -> dict[str, str]:
    """Return the annotations of a valid manifest, sorted by key; an annotation that is not text is left out."""
    annotations = read_json(content).get("annotations")
    return (
        {key: value for key, value in sorted(annotations.items()) if isinstance(value, str)}
        if isinstance(annotations, dict)
        else {}
    )


def _read_layer(layer: object, repository: str, manifest: str) -> PublishedImage:
    fields = layer if isinstance(layer, dict) else {}
    if fields.get("mediaType") not in (LAYER_TYPE, OLD_LAYER_TYPE):
        raise _not_a_sif(repository, f"its layer's type is {fields.get('mediaType')}")
    digest, size = _SHA256.fullmatch(str(fields.get("digest"))), fields.get("size")
    if digest is None or type(size) is not int or not 0 < size <= LARGEST:
        raise _not_a_sif(repository, "its layer has no sha256 digest or no size")
    return PublishedImage(repository=repository, manifest=manifest, sha256=digest[1], size=size)


def _not_a_sif(repository: str, reason: str) -> RegistryError:
    return RegistryError(f"{repository} has no Apptainer image with that name: {reason}")
