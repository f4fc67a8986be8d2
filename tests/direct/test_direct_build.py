"""A whole direct build, with a mksquashfs that stores the tar stream: what is built, and what remains after a fault."""

import io
import json
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.apptainer.build_script import Repeating
from hpcdeploy.apptainer.contents import read_contents
from hpcdeploy.apptainer.local_cache import LocalCache, list_items, remove_item
from hpcdeploy.errors import BuildError
from hpcdeploy.flows.build import LocalBuilds, build_here
from hpcdeploy.flows.builders import choose_builder
from hpcdeploy.flows.direct_base import with_downloads
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import EPOCH, BuiltImage, FileCopy, ImageSettings
from hpcdeploy.source import OciSource
from tests.direct.layer_files import digest, file, folder, hard, link, tar

MKSQUASHFS = """\
#!/bin/sh
[ "$1" != -version ] || { echo "mksquashfs version 4.6.1 (2023/03/25)"; exit; }
case $MKSQUASHFS in
fails) cat > /dev/null; echo "Write failed because No space left on device" >&2; exit 1 ;;
stops) echo "zlib compressor is broken" >&2; exit 1 ;;
sleeps) echo started > "$STARTED"; exec sleep 600 ;;
*) echo "$* $SOURCE_DATE_EPOCH" > "$2.words"; exec cat > "$2" ;;
esac
"""
SETTINGS = ImageSettings(
    name="image",
    source=OciSource(reference="docker-archive:image.tar"),
    files=(FileCopy(source="data.txt", destination="/opt/data.txt"),),
    bind_points=("/scratch",),
    environment=(("OWN", "mine"),),
)
LOWER = tar([folder("etc"), file("etc/gone"), file("etc/kept", b"kept"), folder("bin"), file("bin/sh", b"#", 0o755)])
UPPER = tar([file("etc/.wh.gone")])

Build = Callable[..., BuiltImage]


def archive(path: Path, *, diff_id: str = "", linked: str = "") -> None:
    config = {
        "os": "linux",
        "architecture": "amd64",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id or digest(LOWER), digest(UPPER)]},
    }
    listed = [{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["1.tar", "2.tar"]}]
    documents = {"manifest.json": json.dumps(listed).encode(), "c.json": json.dumps(config).encode()}
    members = [file(name, content) for name, content in {**documents, "a/1.tar": LOWER, "2.tar": UPPER}.items()]
    members.append(link("1.tar", linked) if linked else hard("1.tar", "a/1.tar"))
    path.write_bytes(tar(members))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "mksquashfs").write_text(MKSQUASHFS)
    (programs / "mksquashfs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    made = tmp_path / "project"
    made.mkdir()
    (made / "data.txt").write_text("data\n")
    archive(made / "image.tar")
    return made


@pytest.fixture
def build(project: Path, tmp_path: Path) -> Build:
    def run(settings: ImageSettings = SETTINGS, *, force: bool = False, known: bool = False) -> BuiltImage:
        definition = generate(settings, project)
        chosen = choose_builder(settings, project, definition, wanted=None, downloads=tmp_path / "downloads")
        assert chosen is not None
        builds = LocalBuilds(work=tmp_path / "work", direct=chosen)
        return build_here(
            definition, tmp_path / "image.sif", builds, is_recorded=lambda _: known, repeating=Repeating(force=force)
        )

    return run


def remaining(tmp_path: Path) -> list[str]:
    left_out = ("bin", "downloads", "verified")
    return sorted(
        str(path.relative_to(tmp_path))
        for path in tmp_path.rglob("*")
        if path.is_file() and not path.is_relative_to(tmp_path / "project") and path.parent.name not in left_out
    )


def test_the_image_has_the_layers_the_files_and_the_metadata(build: Build, tmp_path: Path) -> None:
    built = build()
    with (tmp_path / "image.sif").open("rb") as opened:
        contents = read_contents(opened, "image.sif")
        [partition] = contents.sif.partitions
        opened.seek(partition.offset)
        content = opened.read()
    with tarfile.open(fileobj=io.BytesIO(content)) as stream:
        names = {name.removeprefix("./"): stream.getmember(name) for name in stream.getnames()}
    assert {"etc/kept", "opt/data.txt", "scratch", ".singularity.d/runscript", "tmp", "dev"} <= set(names)
    assert "etc/gone" not in names
    assert names["opt/data.txt"].mtime == EPOCH
    assert contents.labels["org.label-schema.build-arch"] == "amd64"
    assert "export OWN=mine\n" in contents.environment["/.singularity.d/env/90-environment.sh"] + "\n"
    assert contents.oci == {"Cmd": ["sh"], "Env": ["PATH=/bin"]}
    assert built.apptainer.startswith("hpcdeploy ")
    assert contents.sif.created == EPOCH
    assert remaining(tmp_path) == ["image.json", "image.sif", f"work/{built.inputs[:16]}/lock"]


def test_a_second_build_of_the_same_inputs_builds_nothing(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build()
    monkeypatch.setenv("MKSQUASHFS", "fails")
    assert build(known=True).sha256 == first.sha256


@pytest.mark.parametrize(("fault", "message"), [("fails", "No space left on device"), ("stops", "compressor is broken")])
def test_a_failing_mksquashfs_is_one_message_and_leaves_the_old_image(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    built = build()
    before = (tmp_path / "image.sif").read_bytes()
    monkeypatch.setenv("MKSQUASHFS", fault)
    with pytest.raises(BuildError, match=message):
        build(force=True)
    assert (tmp_path / "image.sif").read_bytes() == before
    assert remaining(tmp_path) == ["image.json", "image.sif", f"work/{built.inputs[:16]}/lock"]


def test_a_damaged_layer_is_refused_and_nothing_remains(build: Build, project: Path, tmp_path: Path) -> None:
    archive(project / "image.tar", diff_id="sha256:" + "0" * 64)
    with pytest.raises(BuildError, match=r"layer 1 of the base image has the digest sha256:.*expected sha256:0000"):
        build()
    assert [name for name in remaining(tmp_path) if not name.endswith("/lock")] == []


def test_a_layer_may_be_a_link_in_the_archive_but_not_a_broken_one(build: Build, project: Path) -> None:
    archive(project / "image.tar", linked="./a/1.tar")
    assert build().size > 0
    archive(project / "image.tar", linked="a/none.tar")
    with pytest.raises(BuildError, match=r"has a broken link '1\.tar'"):
        build(force=True)


def test_a_file_that_changes_during_the_build_is_refused(
    build: Build, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = generate(SETTINGS, project)
    chosen = choose_builder(SETTINGS, project, definition, wanted=None, downloads=tmp_path)
    (project / "data.txt").write_text("other\n"[:5])
    builds = LocalBuilds(work=tmp_path / "work", direct=chosen)
    with pytest.raises(BuildError, match="changed while the build was prepared"):
        build_here(definition, tmp_path / "image.sif", builds, is_recorded=lambda _: False)
    assert not (tmp_path / "image.sif").exists()


def test_the_compressor_and_its_level_are_those_of_the_settings(
    build: Build, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MKSQUASHFS", "")
    words = tmp_path / "words"
    (tmp_path / "bin/mksquashfs").write_text(f'#!/bin/sh\n[ "$1" = -version ] || echo "$*" > {words}\nexec cat > "$2"\n')
    zstd = build()
    assert " -comp zstd -Xcompression-level 3 " in words.read_text()
    gzip = build(replace(SETTINGS, compression="gzip"), force=True)
    assert " -comp gzip -Xcompression-level 1 " in words.read_text()
    assert zstd.inputs != gzip.inputs


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_ends_mksquashfs_and_leaves_no_image(
    project: Path, tmp_path: Path, signal_number: signal.Signals
) -> None:
    (project / "hpcdeploy.toml").write_text('[image]\noci = "docker-archive:image.tar"\n')
    started = tmp_path / "started"
    environment = {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "MKSQUASHFS": "sleeps",
        "STARTED": str(started),
    }
    command = [str(Path(sys.executable).with_name("hpcdeploy")), "build", "--builder", "direct"]
    process = subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not started.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal_number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert list(project.glob("*.sif")) + list(project.glob(".*.part")) == []
    listed = subprocess.run(["/bin/ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in listed


def test_downloads_are_kept_under_a_lock_that_prune_respects(project: Path, tmp_path: Path) -> None:
    cache = LocalCache(root=tmp_path / "cache")
    definition = generate(SETTINGS, project)
    chosen = choose_builder(SETTINGS, project, definition, wanted=None, downloads=cache.direct_downloads)
    assert chosen is not None
    with with_downloads(chosen, tmp_path) as build:
        (build.downloads / "layers").mkdir(parents=True)
        (build.downloads / "layers/1").write_bytes(bytes(10_000))
        [item] = list_items(cache)
        assert (item.kind, item.name, item.verdict) == ("downloads", "direct", "used")
        assert remove_item(cache, item) == "used"
    [item] = list_items(cache)
    assert (item.verdict, item.size >= 10_000) == ("free", True)
    assert remove_item(cache, item) == "removed"
    assert list_items(cache) == ()


def test_without_kept_downloads_the_builds_own_folder_has_them(project: Path, tmp_path: Path) -> None:
    definition = generate(SETTINGS, project)
    chosen = choose_builder(SETTINGS, project, definition, wanted=None, downloads=tmp_path / "no", keep=False)
    assert chosen is not None
    with with_downloads(chosen, tmp_path / "own") as build:
        assert build.downloads.is_relative_to(tmp_path / "own")
    assert not (tmp_path / "no").exists()
