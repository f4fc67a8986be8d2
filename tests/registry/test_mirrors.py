"""A build on a cluster asks the cluster's mirrors what an image says of itself, as it will pull from them."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcdeploy.errors import HpcdeployError, RegistryError
from hpcdeploy.registry.lookup import image_config_by
from tests.registry.odd_server import OddServer, Reply, StatusReport, misbehave

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
CONFIG = json.dumps({"os": "linux", "architecture": "amd64", "config": {"Cmd": ["run"]}, "rootfs": {}}).encode()
KIND = "application/vnd.oci.image.manifest.v1+json"
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": KIND,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": f"sha256:{hashlib.sha256(CONFIG).hexdigest()}",
            "size": len(CONFIG),
        },
        "layers": [],
    }
).encode()
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"


def answer(asked: StatusReport) -> Reply:
    """Hold one image, hub/x:1."""
    if asked.path.startswith("/v2/hub/x/manifests/"):
        return Reply(headers={"Content-Type": KIND, "Docker-Content-Digest": DIGEST}, body=MANIFEST)
    if asked.path.startswith("/v2/hub/x/blobs/"):
        return Reply(headers={"Content-Type": "application/octet-stream"}, body=CONFIG)
    return Reply(status=404)


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "APPTAINER_CONFIGDIR", "SINGULARITY_CONFIGDIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def mirror() -> Iterator[OddServer]:
    with misbehave(answer) as serving:
        yield serving


def test_the_mirror_is_asked_in_place_of_the_registry(mirror: OddServer) -> None:
    ask = image_config_by((("registry.invalid", f"{mirror.host}/hub"),))
    config = ask("registry.invalid/x:1")
    assert (config.digest, config.cmd) == (DIGEST, ("run",))
    assert mirror.asked[0].path == "/v2/hub/x/manifests/1"


def test_a_mirror_that_only_the_cluster_reaches_leaves_the_registry_itself(mirror: OddServer) -> None:
    with misbehave(lambda _asked: Reply(status=403)) as closed:
        ask = image_config_by(((mirror.host, closed.host),))
        assert ask(f"{mirror.host}/hub/x:1").digest == DIGEST
    assert closed.asked


def test_where_both_refuse_both_are_named() -> None:
    with misbehave(lambda _asked: Reply(status=404)) as one, misbehave(lambda _asked: Reply(status=403)) as other:
        with pytest.raises(RegistryError) as refused:
            image_config_by(((one.host, other.host),))(f"{one.host}/x:1")
        assert one.host in str(refused.value)
        assert f"(its mirror was queried before: Looking up docker://{other.host}/x:1" in str(refused.value)


def test_an_image_without_a_mirror_is_asked_for_once() -> None:
    with misbehave(lambda _asked: Reply(status=404)) as one:
        with pytest.raises(HpcdeployError):
            image_config_by((("registry.invalid", "127.0.0.1:1"),))(f"{one.host}/x:1")
        assert len(one.asked) == 1


@pytest.mark.parametrize("source", ['oci = "registry.invalid/x:1"', 'dockerfile = "Dockerfile"'])
def test_build_on_a_cluster_uses_its_mirrors(mirror: OddServer, tmp_path: Path, source: str) -> None:
    (tmp_path / "Dockerfile").write_text("FROM registry.invalid/x:1\n")
    (tmp_path / "hpcdeploy.toml").write_text(
        f'[image]\n{source}\n[clusters.hpc]\nhost = "hpc.invalid"\n'
        f'[clusters.hpc.mirrors]\n"registry.invalid" = "{mirror.host}/hub"\n'
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [COMMAND, "build", "--on", "hpc", "--dry-run"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"From: registry.invalid/x@{DIGEST}" in done.stdout
