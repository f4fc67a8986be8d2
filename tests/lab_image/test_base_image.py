"""The base image: planned and packed by pure functions, then real, in the lab's registry and under Apptainer."""

import gzip
import hashlib
import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from hpcdeploy_lab import base_image, mirror, oci
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.lab_image.conftest import EXAMPLE

SAYS = "hpcdeploy lab stand-in for pixi, not pixi"


def test_debian_is_made_from_the_mirror_and_with_the_options_of_this_machine() -> None:
    argv = base_image.debian_command(
        mirror.Mirror("http://mirror.example.org/debian", ('Acquire::Check-Valid-Until "false"',))
    )
    assert argv[-1] == "deb http://mirror.example.org/debian trixie main"
    assert '--aptopt=Acquire::Check-Valid-Until "false"' in argv
    hook = next(word for word in argv if word.startswith("--customize-hook="))
    assert '"$1"/etc/apt/sources.list' in hook
    assert ': > "$1"/etc/resolv.conf' in hook


def test_a_layer_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    members = [("usr/bin/b", b"b", 0o755), ("etc/a", b"a", 0o644)]
    first = oci.write_layer(oci.pack(members, 1_000_000_000), tmp_path / "one")
    again = oci.write_layer(oci.pack(reversed(members), 1_000_000_000), tmp_path / "two")
    assert first == again
    packed = (tmp_path / "one/blobs/sha256" / first.digest).read_bytes()
    assert (hashlib.sha256(packed).hexdigest(), len(packed)) == (first.digest, first.size)
    content = gzip.decompress(packed)
    assert hashlib.sha256(content).hexdigest() == first.diff_id
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert [(member.name, oct(member.mode)) for member in archive] == [
            ("etc", "0o755"),
            ("etc/a", "0o644"),
            ("usr", "0o755"),
            ("usr/bin", "0o755"),
            ("usr/bin/b", "0o755"),
        ]


def test_an_image_layout_holds_together(tmp_path: Path) -> None:
    layer = oci.write_layer(oci.pack([("a", b"a", 0o644)], 0), tmp_path)
    digest = oci.write_image(tmp_path, [layer], name="noble", labels={"what": "this"}, created="2025-11-20T00:00:00Z")
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["manifests"][0]["digest"] == f"sha256:{digest}"
    assert json.loads((tmp_path / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    for path in (tmp_path / "blobs/sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    manifest = json.loads((tmp_path / "blobs/sha256" / digest).read_text())
    config = json.loads((tmp_path / "blobs/sha256" / manifest["config"]["digest"].removeprefix("sha256:")).read_text())
    assert manifest["layers"][0]["digest"] == f"sha256:{layer.digest}"
    assert config["rootfs"]["diff_ids"] == [f"sha256:{layer.diff_id}"]
    assert config["config"]["Labels"] == manifest["annotations"] == {"what": "this"}


@pytest.fixture(scope="module")
def published(lab: Lab) -> str:
    """The image's manifest, once it is in the registry."""
    return base_image.publish(lab, print)


def _apptainer(lab: Lab, *words: str, stdin: bytes = b"") -> str:
    done = inside(lab, ["apptainer", *words], user=lab.user, stdin=stdin, environment={"APPTAINER_NOHTTPS": "1"})
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_the_image_is_in_the_registry_and_says_what_it_is(lab: Lab, published: str) -> None:
    done = inside(lab, ["skopeo", "inspect", "--tls-verify=false", f"docker://{base_image.reference(lab)}"])
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["Digest"] == f"sha256:{published}"
    assert found["Labels"] == base_image.LABELS
    assert found["Labels"]["org.opencontainers.image.title"] == SAYS
    assert sum(layer["Size"] for layer in found["LayersData"]) < 70e6


def test_publishing_again_uploads_nothing(lab: Lab, published: str) -> None:
    said: list[str] = []
    assert base_image.publish(lab, said.append) == published
    assert said == []


def test_the_labs_user_can_run_it_under_apptainer(lab: Lab, published: str) -> None:
    image = f"docker://{base_image.reference(lab)}"
    assert SAYS in _apptainer(lab, "exec", image, "pixi", "info")
    assert SAYS in _apptainer(lab, "exec", image, "pixi", "--version")
    assert re.search(r"^ID=debian$", _apptainer(lab, "exec", image, "cat", "/etc/os-release"), re.MULTILINE)


def test_nothing_of_this_machine_is_in_it(lab: Lab, published: str) -> None:
    layout = base_image.prepare(lab.cache, print)
    layers = sorted((layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)[-2:]
    names: dict[str, int] = {}
    for layer in layers:
        with tarfile.open(layer) as archive:
            names |= {member.name.removeprefix("./"): member.size for member in archive if not member.isdir()}
    assert names["usr/local/bin/pixi"]
    assert names["etc/resolv.conf"] == names["etc/hostname"] == 0
    assert not [
        name for name in names if name.startswith(("etc/apt/sources.list.", "dev/")) or name == "etc/apt/sources.list"
    ]
    assert not [name for name in names if name.startswith("etc/apt/apt.conf.d/") and "mmdebstrap" in name]


DEFINITION = """\
Bootstrap: docker
From: {image}

%files
    pixi.toml /app/pixi.toml
    pixi.lock /app/pixi.lock

%post
    cd /app
    CONDA_OVERRIDE_CUDA=12 pixi install --locked --environment gpu

%test
    set -e
    cd /app
    pixi run -e gpu --as-is hpcdeploy-demo
    CONDA_OVERRIDE_CUDA=12 pixi run -e gpu hpcdeploy-demo
    CONDA_OVERRIDE_CUDA=12 pixi list -e gpu
"""


def test_the_example_workspace_builds_on_it(lab: Lab, published: str) -> None:
    folder = inside(lab, ["mktemp", "-d", "-p", lab.scratch], user=lab.user).stdout.decode().strip()
    try:
        files = {name: (EXAMPLE / name).read_text() for name in ("pixi.toml", "pixi.lock")}
        files["it.def"] = DEFINITION.format(image=base_image.reference(lab))
        for name, text in files.items():
            assert inside(lab, ["tee", f"{folder}/{name}"], user=lab.user, stdin=text.encode()).returncode == 0
        build = ["sh", "-c", 'cd "$1" && apptainer build it.sif it.def', "sh", folder]
        done = inside(lab, build, user=lab.user, environment={"APPTAINER_NOHTTPS": "1"})
        assert done.returncode == 0, done.stderr.decode()
        told = done.stdout.decode()
        assert told.count("hpcdeploy-demo 1.2.0, installed in /app/.pixi/envs/gpu") == 2
        listed = _apptainer(
            lab, "exec", f"{folder}/it.sif", "pixi", "list", "-e", "gpu", "--frozen", "--no-install", "-m", "/app"
        )
        assert "hpcdeploy-demo-cuda" in listed
    finally:
        inside(lab, ["rm", "-rf", folder], user=lab.user)


def test_the_same_image_stands_under_every_tag_that_may_be_chosen_as_a_base(lab: Lab, published: str) -> None:
    assert base_image.tags() == ("noble", "noble-cuda-12.9.1", "noble-cuda-13.0.0")
    for tag in base_image.tags():
        address = f"docker://{lab.registry}/{base_image.REPOSITORY}:{tag}"
        found = json.loads(inside(lab, ["skopeo", "inspect", "--tls-verify=false", "--no-tags", address]).stdout)
        assert found["Digest"] == f"sha256:{published}"


def test_the_slim_base_has_bash_but_neither_pixi_nor_python(lab: Lab, published: str) -> None:
    image = f"docker://{lab.registry}/{base_image.SLIM}"
    told = _apptainer(lab, "exec", image, "bash", "-c", "for name in pixi python3; do command -v $name; done; echo $BASH")
    assert told == "/usr/bin/bash\n"
