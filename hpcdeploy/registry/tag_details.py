"""Read what a manifest says about a tag: its digest, its date and its size. A registry's documents are not trusted."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from hpcdeploy.checked_values import read_json, whole_number
from hpcdeploy.environments.oci import CONFIG_TYPES, INDEX_TYPES, PLATFORM
from hpcdeploy.frozen import frozen
from hpcdeploy.registry.manifest import ANNOTATION, digest_of
from hpcdeploy.registry.reference import is_digest

# RFC 3339, section 5.6, which annotations.md and config.md of the OCI image specification require.
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,12})?([Zz]|[+-][0-9]{2}:[0-9]{2})")


@frozen
class TagDetails:
    """A tag of a repository.

    Attributes:
        tag: Its name.
        digest: The digest of its manifest, ``sha256:...``; empty if it is not known.
        created: The time of the image in seconds since 1970; 0 if it is not known.
        size: The size of what is downloaded in bytes; None if it is not known.
    """

    tag: str
    digest: str = ""
    created: int = 0
    size: int | None = None


def details_of(
    tag: str, content: bytes, manifest: Callable[[str], bytes | None], blob: Callable[[str], bytes | None]
) -> TagDetails:
    """Return the details of `tag`, whose manifest or index is `content`; what a document does not say stays unknown.

    The date is the annotation ``org.opencontainers.image.created``, else the one in the image's configuration. Of an index,
    the image for `hpcdeploy.environments.oci.PLATFORM` counts.

    Args:
        tag: The tag.
        content: Its manifest or index.
        manifest: Returns a manifest by its digest; None if it cannot be read.
        blob: Returns a blob by its digest; None if it cannot be read.
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
    """Return the JSON object with a digest; an empty one if there is none, or if it is another document."""
    content = read(digest) if digest else None
    return _object(content) if content is not None and f"sha256:{digest_of(content)}" == digest else {}


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        return _table(read_json(content))
    except ValueError:
        return {}


def _of_platform(index: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the entry of an index for `PLATFORM`: the plain one, if there are variants for newer processors."""
    listed = index.get("manifests")
    entries = [_table(entry) for entry in listed] if isinstance(listed, list) else []
    fitting = [entry for entry in entries if _platform(entry) == PLATFORM]
    return min(fitting, key=lambda entry: _table(entry.get("platform")).get("variant") not in (None, "", "v1"), default={})


def _platform(entry: Mapping[str, Any]) -> str:
    platform = _table(entry.get("platform"))
    return f"{platform.get('os')}/{platform.get('architecture')}"


def _digest(descriptor: Mapping[str, Any]) -> str:
    digest = descriptor.get("digest")
    return digest if isinstance(digest, str) and is_digest(digest) else ""


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _size(image: Mapping[str, Any]) -> int | None:
    """Return the sum of the layers' sizes; None if one is not known."""
    layers = image.get("layers")
    sizes = [whole_number(_table(layer).get("size")) for layer in layers] if isinstance(layers, list) else []
    known = [size for size in sizes if size is not None]
    return sum(known) if sizes and len(known) == len(sizes) else None


def _created(annotations: Mapping[str, Any]) -> int:
    return _time(annotations.get(f"{ANNOTATION}created"))


def _time(value: object) -> int:
    """Return an RFC 3339 time in seconds since 1970; 0 for anything else, and for dates that mean that there is none."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return 0
    try:
        return max(0, int(datetime.fromisoformat(value.upper()).astimezone(UTC).timestamp()))
    except (ValueError, OverflowError):
        return 0
