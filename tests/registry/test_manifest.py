import hashlib
import json
from typing import Any

import pytest

from hpcdeploy.errors import RegistryError
from hpcdeploy.image import PublishedImage
from hpcdeploy.registry.manifest import annotate, digest_of, is_sif, parse_manifest, render_manifest, title_of
from tests.registry.images import CREATED, HEAD

SHA = "0123456789abcdef" * 4
GOLDEN = (
    b'{"annotations":{"org.opencontainers.image.created":"2026-01-02T03:04:05Z","org.opencontainers.image.version":"1.2.3"},'
    b'"config":{"data":"e30=","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",'
    b'"mediaType":"application/vnd.sylabs.sif.config.v1+json","size":2},'
    b'"layers":[{"annotations":{"org.opencontainers.image.title":"train.sif"},'
    b'"digest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",'
    b'"mediaType":"application/vnd.sylabs.sif.layer.v1.sif","size":42}],'
    b'"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2}'
)


def rendered(**annotations: str) -> bytes:
    return render_manifest(sha256=SHA, size=42, title="train.sif", created=CREATED, annotations=annotate(**annotations))


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(rendered()), **fields}).encode()


def test_the_manifest_is_these_bytes() -> None:
    assert rendered(version="1.2.3", source="") == GOLDEN


def test_a_rendered_manifest_reads_back_as_what_it_publishes() -> None:
    assert parse_manifest(GOLDEN, repository="ghcr.io/me/train") == PublishedImage(
        repository="ghcr.io/me/train", manifest=hashlib.sha256(GOLDEN).hexdigest(), sha256=SHA, size=42
    )


def test_the_digest_is_of_the_bytes_and_not_of_their_meaning() -> None:
    spaced = json.dumps(json.loads(GOLDEN), indent=2).encode()
    assert parse_manifest(spaced, repository="r").manifest == digest_of(spaced) != digest_of(GOLDEN)


def test_annotations_get_their_full_keys_and_empty_ones_are_left_out() -> None:
    assert annotate(base_name="ubuntu:24.04", revision="abc", title="") == {
        "org.opencontainers.image.base.name": "ubuntu:24.04",
        "org.opencontainers.image.revision": "abc",
    }


def test_the_title_is_the_repositorys_last_word() -> None:
    assert title_of("me/group/train") == "train.sif"


def test_the_misspelt_layer_type_of_old_images_is_understood() -> None:
    layer = json.loads(rendered())["layers"][0]
    old = {**layer, "mediaType": "appliciation/vnd.sylabs.sif.layer.tar"}
    assert parse_manifest(changed(layers=[old]), repository="r").sha256 == SHA


LAYER = json.loads(GOLDEN)["layers"][0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>", "is not a manifest"),
        (b"\xff", "is not a manifest"),
        (b"[]", "expected a JSON object"),
        (changed(layers=[LAYER, LAYER]), "2 layers but Apptainer requires exactly one"),
        (changed(layers=[]), "0 layers"),
        (changed(layers="x"), "0 layers"),
        (changed(layers=[{**LAYER, "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}]), "tar.gzip"),
        (changed(layers=[{**LAYER, "digest": "sha512:abc"}]), "no sha256 digest"),
        (changed(layers=[{**LAYER, "digest": f"sha256:{SHA}/../x"}]), "no sha256 digest"),
        (changed(layers=[{**LAYER, "size": -1}]), "or no size"),
        (changed(layers=[{**LAYER, "size": True}]), "or no size"),
        (changed(layers=[None]), "type is None"),
        (changed(mediaType="application/vnd.oci.image.index.v1+json"), "index of several"),
        (changed(manifests=[]), "index of several"),
        (changed(mediaType="application/vnd.docker.distribution.manifest.v1+json"), "manifest's type is"),
    ],
)
def test_anything_but_a_one_layer_image_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(RegistryError, match=reason):
        parse_manifest(content, repository="ghcr.io/me/train")


def test_an_image_is_told_by_its_first_bytes() -> None:
    assert is_sif(HEAD)
    assert not is_sif(b"")
    assert not is_sif(b"\x7fELF" + bytes(60))
