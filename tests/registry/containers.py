"""Container images for a test's registry: documents made by hand, and put there over plain HTTP."""

import hashlib
import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"
CONFIG = {"oci": f"{OCI}.config.v1+json", "docker": f"{DOCKER}.container.image.v1+json"}
MANIFEST = {"oci": f"{OCI}.manifest.v1+json", "docker": f"{DOCKER}.distribution.manifest.v2+json"}
INDEX = {"oci": f"{OCI}.index.v1+json", "docker": f"{DOCKER}.distribution.manifest.list.v2+json"}


@dataclass(frozen=True)
class Document:
    """Bytes with their type; ``platform`` is what an index says of them."""

    media_type: str
    content: bytes
    platform: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    @property
    def descriptor(self) -> dict[str, object]:
        platform = {"platform": dict(self.platform)} if self.platform else {}
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.content), **platform}


def document(media_type: str, value: object, platform: Mapping[str, str] | None = None) -> Document:
    return Document(media_type, json.dumps(value).encode(), platform or {})


def config(values: Mapping[str, object], *, family: str = "oci", architecture: str = "amd64") -> Document:
    """A configuration whose ``config`` object is `values`."""
    whole = {
        "architecture": architecture,
        "os": "linux",
        "config": values,
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    return document(CONFIG[family], whole)


def manifest(config: Document, *, family: str = "oci", architecture: str = "", variant: str = "") -> Document:
    """A manifest without layers; `architecture` and `variant` are for the index that lists it."""
    value = {"schemaVersion": 2, "mediaType": MANIFEST[family], "config": config.descriptor, "layers": []}
    platform = {"os": "linux", "architecture": architecture, **({"variant": variant} if variant else {})}
    return document(MANIFEST[family], value, platform if architecture else None)


def index(*manifests: Document, family: str = "oci") -> Document:
    listed = [one.descriptor for one in manifests]
    return document(INDEX[family], {"schemaVersion": 2, "mediaType": INDEX[family], "manifests": listed})


def put_blob(host: str, path: str, content: bytes) -> None:
    """Upload a blob in one piece."""
    digest = hashlib.sha256(content).hexdigest()
    with urllib.request.urlopen(urllib.request.Request(f"http://{host}/v2/{path}/blobs/uploads/", method="POST")) as answer:
        place = urljoin(answer.url, answer.headers["Location"])
    mark = "&" if "?" in place else "?"
    request = urllib.request.Request(f"{place}{mark}digest=sha256:{digest}", data=content, method="PUT")
    request.add_header("Content-Type", "application/octet-stream")
    urllib.request.urlopen(request).close()


def put_manifest(host: str, path: str, name: str, manifest: Document) -> None:
    """Put a manifest or an index under a tag or digest; what it points to is there already."""
    url = f"http://{host}/v2/{path}/manifests/{name}"
    request = urllib.request.Request(url, data=manifest.content, method="PUT", headers={"Content-Type": manifest.media_type})
    urllib.request.urlopen(request).close()
