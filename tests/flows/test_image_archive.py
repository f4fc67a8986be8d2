"""What an archive's image says of itself, and archives that are none."""

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from hpcdeploy.errors import DefinitionError, EnvironmentFileError
from hpcdeploy.flows.generate import generate
from hpcdeploy.flows.sources.oci import read_archive
from hpcdeploy.image import ImageSettings
from hpcdeploy.source import OciSource
from tests.registry import containers as made

CONFIG = made.config({"Cmd": ["run"], "WorkingDir": "/srv"})
IMAGE = made.manifest(CONFIG)
ARM = made.manifest(made.config({}, architecture="arm64"), architecture="arm64")
AMD = made.manifest(CONFIG, architecture="amd64")
NOTE = made.manifest(CONFIG, architecture="unknown")


def blobs(*documents: made.Document) -> dict[str, bytes]:
    return {f"blobs/{one.digest.replace(':', '/')}": one.content for one in documents}


def top(*documents: made.Document) -> dict[str, bytes]:
    return {"index.json": json.dumps({"schemaVersion": 2, "manifests": [one.descriptor for one in documents]}).encode()}


def saved(*configs: str) -> dict[str, bytes]:
    entries = [{"Config": name, "RepoTags": ["a:b", "a:latest"], "Layers": []} for name in configs]
    return {"manifest.json": json.dumps(entries).encode()}


def write(path: Path, files: Mapping[str, bytes]) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    path.write_bytes(gzip.compress(buffer.getvalue()) if path.suffix == ".gz" else buffer.getvalue())
    return path


OCI = {**top(IMAGE), **blobs(IMAGE, CONFIG)}
DOCKER = {**saved("c.json"), "c.json": CONFIG.content}
PLATFORMS = made.index(ARM, AMD, NOTE)


@pytest.mark.parametrize(
    ("kind", "name", "files"),
    [
        ("oci-archive", "a.tar", OCI),
        ("oci-archive", "a.tar.gz", OCI),
        ("oci-archive", "a.tar", {f"./{name}": content for name, content in OCI.items()}),
        ("oci-archive", "a.tar", {**top(PLATFORMS), **blobs(PLATFORMS, AMD, CONFIG)}),
        ("docker-archive", "a.tar", DOCKER),
        ("docker-archive", "a.tar.gz", DOCKER),
        ("docker-archive", "a.tar", {**OCI, **saved(next(iter(blobs(CONFIG))))}),
    ],
    ids=["oci", "compressed", "with dots", "several platforms", "docker", "docker compressed", "both layouts in one"],
)
def test_the_one_image_of_an_archive_is_read(tmp_path: Path, kind: str, name: str, files: Mapping[str, bytes]) -> None:
    config = read_archive(write(tmp_path / name, files), kind)
    assert (config.cmd, config.workdir, config.digest) == (("run",), "/srv", "")


@pytest.mark.parametrize(
    ("kind", "files", "words"),
    [
        ("oci-archive", {**top(IMAGE, AMD), **blobs(IMAGE, AMD)}, r"has 2 images; expected one: .*: skopeo copy"),
        (
            "docker-archive",
            {**saved("c.json", "d.json"), **DOCKER, **saved("c.json", "d.json")},
            "has 2 images.*docker save",
        ),
        ("docker-archive", saved(), "has 0 images"),
        ("oci-archive", DOCKER, r"has no file index\.json; it looks like docker-archive:FILE"),
        ("docker-archive", OCI, r"has no file manifest\.json; it looks like oci-archive:FILE"),
        ("oci-archive", {"x": b""}, r"has no file index\.json$"),
        ("oci-archive", top(IMAGE), r"has no file blobs/sha256/"),
        ("oci-archive", {**OCI, next(iter(blobs(CONFIG))): b"{}"}, "is damaged"),
        ("oci-archive", {**top(ARM), **blobs(ARM)}, "has no file blobs"),
        ("oci-archive", {**top(made.index(ARM)), **blobs(made.index(ARM))}, "only for linux/arm64"),
        ("docker-archive", {**saved("c.json"), "c.json": b"[]"}, "is not a JSON object"),
        ("docker-archive", {"manifest.json": b"{}"}, "has 0 images"),
        ("docker-archive", {"manifest.json": b"[1]"}, "does not have docker's format"),
        ("docker-archive", {"manifest.json": b"x"}, "does not have docker's format"),
        ("docker-archive", {"manifest.json": b" " * (5 << 20)}, "is larger than 4194304 bytes"),
    ],
)
def test_an_archive_that_cannot_be_built_on_is_refused(
    tmp_path: Path, kind: str, files: Mapping[str, bytes], words: str
) -> None:
    with pytest.raises(EnvironmentFileError, match=words):
        read_archive(write(tmp_path / "a.tar", files), kind)


@pytest.mark.parametrize(
    "content", [b"no tar at all", b"", gzip.compress(b"x" * 10000, mtime=0)[:60], b"\x28\xb5\x2f\xfdby zstd"]
)
def test_a_file_that_is_no_archive_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(EnvironmentFileError, match=r"cannot be read as a tar archive: [^\n]+; [^\n]+ with gzip$"):
        read_archive(tmp_path / "a.tar", "oci-archive")


@pytest.mark.parametrize(
    ("file", "words"),
    [("gone.tar", "which is not in"), ("folder", "expected a file"), ("../a.tar", "outside the project")],
)
def test_an_archive_is_a_file_of_the_project(tmp_path: Path, file: str, words: str) -> None:
    (tmp_path / "project/folder").mkdir(parents=True)
    write(tmp_path / "a.tar", OCI)
    settings = ImageSettings(name="a", source=OciSource(reference=f"oci-archive:{file}"))
    with pytest.raises(DefinitionError, match=words):
        generate(settings, tmp_path / "project")


def test_an_archive_goes_with_the_build_under_a_name_of_our_own(tmp_path: Path) -> None:
    write(tmp_path / "it's an image.tar", OCI)
    settings = ImageSettings(name="a", source=OciSource(reference="oci-archive:it's an image.tar"))
    definition = generate(settings, tmp_path)
    assert [file.staged for file in definition.files] == ["image/archive.tar"]
    assert "Bootstrap: oci-archive\nFrom: image/archive.tar\n" in definition.text
