"""Determine the digest, date and size of a tag's image from the registry's documents, which are not trusted."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from hpcdeploy.architecture import ARCHITECTURES
from hpcdeploy.checked_values import read_json, whole_number
from hpcdeploy.environments.oci import CONFIG_TYPES, INDEX_TYPES
from hpcdeploy.frozen import frozen
from hpcdeploy.registry.manifest import ANNOTATION, digest_of
from hpcdeploy.registry.reference import is_digest

# A time of RFC 3339, section 5.6. The OCI image specification requires this format (annotations.md, config.md).
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,12})?([Zz]|[+-][0-9]{2}:[0-9]{2})")


@frozen
class TagDetails:
    """A tag of a repository, and its image.

    Attributes:
        tag: The name of the tag.
        digest: The digest of the manifest or index, ``sha256:`` and 64 hex digits; empty if unknown.
        created: The time when the image was created, in seconds since 1970; 0 if unknown.
        size: The sum of the sizes of the image's layers, which a pull downloads, in bytes; None if unknown.
    """

    tag: str
    digest: str = ""
    created: int = 0
    size: int | None = None


def details_of(
    tag: str, content: bytes, manifest: Callable[[str], bytes | None], blob: Callable[[str], bytes | None]
) -> TagDetails:
    """Return the details of `tag`. A value that no document has stays unknown.

    The date is the annotation ``org.opencontainers.image.created``, else ``created`` in the image's configuration. If
    `content` is an index, the details are those of its image for linux/amd64, or for linux/arm64 if there is no other.

    Args:
        tag: The name of the tag.
        content: The manifest or index of the tag.
        manifest: Returns the content of the manifest whose digest is the argument; None if it cannot be read.
        blob: Returns the content of the blob whose digest is the argument; None if it cannot be read.
    """
    digest = f"sha256:{digest_of(content)}"
    top = image = _object(content)
    if top.get("mediaType") in INDEX_TYPES or "manifests" in top:
        image = _document(_digest(_of_platform(top)), manifest)
    created = _created(_table(top.get("annotations"))) or _created(_table(image.get("annotations")))
    config = _table(image.get("config"))
    if not created and config.get("mediaType") in CONFIG_TYPES:
        created = _time(_document(_digest(config), blob).get("created"))
    return TagDetails(tag=tag, digest=digest, created=created, size=_size(image))


def _document(digest: str, read: Callable[[str], bytes | None]) -> Mapping[str, Any]:
    """Return the JSON object that `read` returns for `digest`.

    The result is empty if `digest` is empty, or if the document cannot be read, is not a JSON object, or has another digest.
    """
    content = read(digest) if digest else None
    return _object(content) if content is not None and f"sha256:{digest_of(content)}" == digest else {}


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        return _table(read_json(content))
    except ValueError:
        return {}


def _of_platform(index: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the entry of an index for the first of `ARCHITECTURES` that it has; empty if it has none.

    If there are several entries for variants of the processor, the one without a variant or with ``v1`` is preferred,
    because it runs on all processors.
    """
    listed = index.get("manifests")
    entries = [_table(entry) for entry in listed] if isinstance(listed, list) else []
    for one in ARCHITECTURES:
        plain = (None, *one.variants)
        fitting = [entry for entry in entries if _platform(entry) == one.platform]
        if fitting:
            return min(fitting, key=lambda entry: _table(entry.get("platform")).get("variant") not in plain)
    return {}


def _platform(entry: Mapping[str, Any]) -> str:
    platform = _table(entry.get("platform"))
    return f"{platform.get('os')}/{platform.get('architecture')}"


def _digest(descriptor: Mapping[str, Any]) -> str:
    digest = descriptor.get("digest")
    return digest if isinstance(digest, str) and is_digest(digest) else ""


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _size(image: Mapping[str, Any]) -> int | None:
    """Return the sum of the layers' sizes in bytes; None if there are no layers, or if the size of a layer is unknown."""
    layers = image.get("layers")
    sizes = [whole_number(_table(layer).get("size")) for layer in layers] if isinstance(layers, list) else []
    known = [size for size in sizes if size is not None]
    return sum(known) if sizes and len(known) == len(sizes) else None


def _created(annotations: Mapping[str, Any]) -> int:
    return _time(annotations.get(f"{ANNOTATION}created"))


def _time(value: object) -> int:
    """Return an RFC 3339 time in seconds since 1970; 0 for any other value, and for a time before 1970.

    Some tools write a time such as 0001-01-01T00:00:00Z if the time is unknown.
    """
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return 0
    try:
        return max(0, int(datetime.fromisoformat(value.upper()).astimezone(UTC).timestamp()))
    except (ValueError, OverflowError):
        return 0
