"""Write an OCI image layout without external programs (OCI Image Format Specification 1.1: image-layout, config, layer)."""

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

_CHUNK = 1 << 20
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True)
class Layer:
    """A layer.

    Attributes:
        digest: The sha256 of the compressed file, in hexadecimal digits.
        diff_id: The sha256 of the uncompressed tar, in hexadecimal digits.
        size: The size of the compressed file in bytes.
    """

    digest: str
    diff_id: str
    size: int


class _Counted(io.RawIOBase):
    """A writer that passes data on, and computes the sha256 and the number of the bytes."""

    def __init__(self, target: IO[bytes]) -> None:
        self.target = target
        self.hash = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]  # tarfile and gzip write bytes only
        self.hash.update(data)
        self.size += len(data)
        return self.target.write(data)


def write_layer(tar: IO[bytes], folder: Path) -> Layer:
    """Compress a tar stream into ``folder/blobs/sha256`` and return the layer.

    gzip uses level 3, because the layer stays on this machine. With twice the time it would be only 10 % smaller.
    """
    blobs = _blobs(folder)
    draft = blobs / "layer.part"
    content = hashlib.sha256()
    with draft.open("wb") as file:
        counted = _Counted(file)
        with gzip.GzipFile(filename="", mode="wb", compresslevel=3, fileobj=counted, mtime=0) as packed:
            while chunk := tar.read(_CHUNK):
                content.update(chunk)
                packed.write(chunk)
    draft.replace(blobs / counted.hash.hexdigest())
    return Layer(counted.hash.hexdigest(), content.hexdigest(), counted.size)


def pack(members: Iterable[tuple[str, bytes, int]], seconds: int) -> IO[bytes]:
    """Return a tar of the files `members` (path, content, mode) and their folders.

    The files are sorted by path and owned by root. Their time is `seconds` after the start of 1970.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        folders: set[str] = set()
        for name, content, mode in sorted(members):
            for parent in reversed(Path(name).parents):
                if str(parent) not in (".", *folders):
                    folders.add(str(parent))
                    entry = tarfile.TarInfo(str(parent))
                    entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, seconds
                    archive.addfile(entry)
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), mode, seconds
            archive.addfile(entry, io.BytesIO(content))
    buffer.seek(0)
    return buffer


def write_image(folder: Path, layers: Iterable[Layer], *, name: str, labels: Mapping[str, str], created: str) -> str:
    """Complete the layout in `folder` with one image; return the sha256 of its manifest.

    Args:
        folder: The layout, which already contains the layers.
        layers: The layers.
        name: The image's name in the layout.
        labels: The image's labels, which are also written as annotations of the manifest.
        created: The image's creation time in the format of RFC 3339.
    """
    listed = tuple(layers)
    config = {
        "created": created,
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["/bin/bash"],
            "Labels": dict(labels),
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.diff_id}" for layer in listed]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _add(folder, config, _CONFIG),
        "layers": [{"mediaType": _LAYER, "digest": f"sha256:{layer.digest}", "size": layer.size} for layer in listed],
        "annotations": dict(labels),
    }
    descriptor = _add(folder, manifest, _MANIFEST)
    entry = {**descriptor, "annotations": {"org.opencontainers.image.ref.name": name}}
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry]}
    (folder / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    (folder / "index.json").write_text(json.dumps(index))
    return str(descriptor["digest"]).removeprefix("sha256:")


def save(layer: Layer, path: Path) -> None:
    """Write the values of a layer to the file `path`, so that later runs need not build the layer again."""
    path.write_text(json.dumps(asdict(layer)))


def load(path: Path) -> Layer:
    """Return the layer that `save` wrote to the file `path`."""
    return Layer(**json.loads(path.read_text()))


def _add(folder: Path, value: object, media_type: str) -> dict[str, str | int]:
    data = json.dumps(value, sort_keys=True).encode()
    digest = hashlib.sha256(data).hexdigest()
    (_blobs(folder) / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def _blobs(folder: Path) -> Path:
    path = folder / "blobs" / "sha256"
    path.mkdir(parents=True, exist_ok=True)
    return path
