"""Container images on the lab's base layers, with whatever configuration a test wants, in its registry or in archives."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from hpcdeploy_lab import base_image, oci
from hpcdeploy_lab.state import Lab
from tests.registry import containers as made

ENTRY = b"""#!/bin/sh
# Says where it was started, and with which words.
{ printf '[%s]' "$PWD"; for word; do printf '<%s>' "$word"; done; } | if [ -n "$SAID" ]; then cat > "$SAID"; else cat; fi
"""
NO_BASH = ("usr/bin/.wh.bash",)
NO_SHELL = (*NO_BASH, "usr/bin/.wh.sh", "usr/bin/.wh.dash")
"""Whiteouts (OCI image specification, layer.md): names that a layer takes out of those below."""


@dataclass(frozen=True)
class Container:
    """An image: its configuration, and its layers as compressed files with their descriptors."""

    config: made.Document
    layers: tuple[Path, ...]
    manifest: made.Document

    def push(self, lab: Lab, path: str) -> str:
        """Put it into the lab's registry as ``PATH:v1``; return that reference."""
        for content in (self.config.content, *(layer.read_bytes() for layer in self.layers)):
            made.put_blob(lab.registry, path, content)
        made.put_manifest(lab.registry, path, "v1", self.manifest)
        return f"{lab.registry}/{path}:v1"

    def oci_archive(self, path: Path) -> None:
        """Write it as skopeo and podman do."""
        index = made.document(made.INDEX["oci"], {"schemaVersion": 2, "manifests": [self.manifest.descriptor]})
        layout = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": index.content}
        blobs = {blob_name(one.digest): one.content for one in (self.config, self.manifest)}
        write_tar(path, {**layout, **blobs, **{f"blobs/sha256/{layer.name}": layer.read_bytes() for layer in self.layers}})

    def docker_archive(self, path: Path) -> None:
        """Write it as ``docker save`` does."""
        names = [f"{number}/layer.tar" for number in range(len(self.layers))]
        entry = {"Config": "config.json", "RepoTags": ["example:v1"], "Layers": names}
        documents = {"config.json": self.config.content, "manifest.json": json.dumps([entry]).encode()}
        layers = {name: layer.read_bytes() for name, layer in zip(names, self.layers, strict=True)}
        write_tar(path, {**documents, **layers})


def make(lab: Lab, folder: Path, config: Mapping[str, object], *, without: Sequence[str] = ()) -> Container:
    """Make an image of minimal Debian, ``/usr/local/bin/entry`` and ``/srv/my dir``; `without` are whiteouts."""
    base, diff_id = debian(lab)
    members = [("usr/local/bin/entry", ENTRY, 0o755), ("srv/my dir/here", b"", 0o644)]
    top = oci.write_layer(oci.pack([*members, *((name, b"", 0o644) for name in without)], 0), folder)
    layers = (base, folder / "blobs" / "sha256" / top.digest)
    whole = {
        "architecture": "amd64",
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}", f"sha256:{top.diff_id}"]},
    }
    document = made.document(made.CONFIG["oci"], whole)
    listed = [
        {"mediaType": f"{made.OCI}.layer.v1.tar+gzip", "digest": f"sha256:{layer.name}", "size": layer.stat().st_size}
        for layer in layers
    ]
    manifest = {"schemaVersion": 2, "mediaType": made.MANIFEST["oci"], "config": document.descriptor, "layers": listed}
    return Container(document, layers, made.document(made.MANIFEST["oci"], manifest))


def with_variables(lab: Lab, env: Mapping[str, str]) -> Container:
    """Make the lab's base image ``prefix-dev/pixi`` with more variables."""
    layout = base_image.prepare(lab.cache, print)
    [entry] = json.loads((layout / "index.json").read_text())["manifests"]
    manifest = json.loads((layout / blob_name(entry["digest"])).read_text())
    whole = json.loads((layout / blob_name(manifest["config"]["digest"])).read_text())
    given = [*whole["config"].get("Env", ()), *(f"{name}={value}" for name, value in env.items())]
    config = made.document(made.CONFIG["oci"], {**whole, "config": {**whole["config"], "Env": given}})
    layers = tuple(layout / blob_name(layer["digest"]) for layer in manifest["layers"])
    return Container(config, layers, made.document(made.MANIFEST["oci"], {**manifest, "config": config.descriptor}))


@cache
def debian(lab: Lab) -> tuple[Path, str]:
    """Return the lowest layer of the lab's base image, and the sha256 of what is in it."""
    layout = base_image.prepare(lab.cache, print)
    [entry] = json.loads((layout / "index.json").read_text())["manifests"]
    manifest = json.loads((layout / blob_name(entry["digest"])).read_text())
    config = json.loads((layout / blob_name(manifest["config"]["digest"])).read_text())
    return layout / blob_name(manifest["layers"][0]["digest"]), config["rootfs"]["diff_ids"][0].removeprefix("sha256:")


def blob_name(digest: str) -> str:
    """Return where a blob lies in a layout."""
    return f"blobs/{digest.replace(':', '/')}"


def write_tar(path: Path, files: Mapping[str, bytes]) -> None:
    """Write an archive with an entry for each folder too: Apptainer 1.4.5 makes none by itself."""
    with tarfile.open(path, mode="w") as archive:
        for parent in sorted({str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}):
            folder = tarfile.TarInfo(parent)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
