"""The lab's base image with a stand-in for Spack (``spack_recorder.sh``), in the lab's registry."""

import json
import shutil
import tempfile
from pathlib import Path

from hpcdeploy_lab import base_image, oci
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab

RECORDER = Path(__file__).with_name("spack_recorder.sh")
BASE = "ghcr.io/hpcdeploy-tests/spack-recorder:1"


def put_recorder(lab: Lab) -> str:
    """Put the image into the lab's registry; return its address."""
    layout = base_image.prepare(lab.cache, lambda _: None)
    config = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    blobs = layout / "blobs" / "sha256"
    manifest = json.loads((blobs / str(config).removeprefix("sha256:")).read_text())
    rootfs = json.loads((blobs / manifest["config"]["digest"].removeprefix("sha256:")).read_text())["rootfs"]["diff_ids"]
    with tempfile.TemporaryDirectory(dir=lab.inside) as folder:
        image = Path(folder) / "image"
        shutil.copytree(blobs, image / "blobs" / "sha256")
        layers = [
            oci.Layer(entry["digest"].removeprefix("sha256:"), content.removeprefix("sha256:"), entry["size"])
            for entry, content in zip(manifest["layers"], rootfs, strict=True)
        ]
        top = oci.write_layer(oci.pack([("opt/spack/bin/spack", RECORDER.read_bytes(), 0o755)], 0), image)
        labels = {"org.opencontainers.image.title": "a stand-in for Spack that records its calls; no Spack is in it"}
        oci.write_image(image, (*layers, top), name="1", labels=labels, created="2025-11-20T00:00:00Z")
        target = f"docker://{BASE.replace('ghcr.io', lab.registry)}"
        argv = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:/lab/{Path(folder).name}/image:1", target]
        done = inside(lab, argv)
    assert done.returncode == 0, done.stderr.decode()
    return BASE
