"""``inspect`` as a whole process: over workspaces, lock files, images, git's history, and words that mean nothing."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.apptainer.build_record import write_record
from hpcdeploy.image import BuiltImage
from hpcdeploy.store import Store, default_path
from hpcdeploy.whole_file import sha256_of
from tests.apptainer.sifs import DEFINITION, JSON, Part, partition, sif, signature, squashfs

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
CHANNEL = "https://conda.anaconda.org/conda-forge"
MANIFEST = """
[workspace]
name = "w"
channels = ["conda-forge"]
platforms = ["linux-64"]
[system-requirements]
cuda = "12.9"
"""
IMAGE = BuiltImage(name="train", sha256="ab" * 32, size=9, inputs="", apptainer="1.4.5", created="2026-01-02T03:04:05Z")


def lock(**packages: tuple[str, int]) -> str:
    files = {f"{CHANNEL}/linux-64/{name}-{version}-h0_0.conda": size for name, (version, size) in packages.items()}
    named = "".join(f"      - conda: {url}\n" for url in files)
    sized = "".join(f"- conda: {url}\n  size: {size}\n" for url, size in files.items())
    wheel = "https://files.pythonhosted.org/packages/tiny-1.0-py3-none-any.whl"
    return (
        f"version: 6\nenvironments:\n  default:\n    channels:\n    - url: {CHANNEL}/\n    packages:\n"
        f"      linux-64:\n{named}"
        f"      - pypi: {wheel}\npackages:\n{sized}- pypi: {wheel}\n  name: tiny\n  version: '1.0'\n"
    )


OLD = lock(libtorch=("2.8", 800_000_000), zlib=("1.3", 100_000))
NEW = lock(libtorch=("2.9", 900_000_000), libcublas=("12.9", 400_000_000))


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path
        home = path / "home"
        home.mkdir()
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}
        (path / "pixi.toml").write_text(MANIFEST)
        (path / "pixi.lock").write_text(NEW)

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [COMMAND, "inspect", *words], cwd=self.path, env=self.environment, capture_output=True, text=True, check=False
        )

    def git(self, *words: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *words], cwd=self.path, env=self.environment, check=True, capture_output=True)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_workspace_is_told_by_size_with_what_it_wants_and_what_nobody_measured(folder: Folder) -> None:
    done = folder.run()
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "pixi.lock, environment default, linux-64"
    assert "  packages      3 (2 conda, 1 pypi)" in lines
    assert "  download      1.30 GB, and 1 of unknown size" in lines
    assert "  CUDA wanted   12.9" in lines
    assert "  glibc wanted  2.28" in lines
    assert lines[-4:] == [
        "NAME       VERSION  KIND   SIZE    SHARE",
        "libtorch   2.9      conda  900 MB  69.2%",
        "libcublas  12.9     conda  400 MB  30.8%",
        "tiny       1.0      pypi   ?       -",
    ]


def test_top_leaves_the_rest_as_one_line(folder: Folder) -> None:
    done = folder.run(".", "--top", "1")
    assert done.stdout.endswith("and 2 more, 400 MB; --top 0 lists all\n")


@pytest.mark.parametrize("how", ["file", "folder", "revision", "revision and path"])
def test_another_lock_file_is_compared_wherever_it_lies(folder: Folder, how: str) -> None:
    (folder.path / "old").mkdir()
    (folder.path / "old" / "pixi.lock").write_text(OLD)
    if how.startswith("revision"):
        (folder.path / "pixi.lock").write_text(OLD)
        folder.git("init", "-q")
        folder.git("add", "pixi.lock")
        folder.git("commit", "-qm", "old")
        folder.git("tag", "v1")
        (folder.path / "pixi.lock").write_text(NEW)
    other = {"file": "old/pixi.lock", "folder": "old", "revision": "v1", "revision and path": "HEAD:pixi.lock"}[how]
    done = folder.run("--against", other)
    assert done.returncode == 0, done.stderr
    assert "1 added, 1 removed, 1 in another version; +500 MB" in done.stdout
    assert [line.split() for line in done.stdout.splitlines()[-3:]] == [
        ["+", "libcublas", "12.9", "+400", "MB"],
        ["-", "zlib", "1.3", "-100", "kB"],
        ["~", "libtorch", "2.8", "->", "2.9", "+100", "MB"],
    ]


def project(folder: Folder) -> Store:
    (folder.path / "hpcdeploy.toml").write_text(
        '[images.train]\nfiles = { "app" = "/app/src" }\n[images.other]\noci = "docker.io/library/x:1"\n'
    )
    (folder.path / "app").mkdir()
    (folder.path / "app" / "weights").write_bytes(bytes(5000))
    return Store(default_path(folder.environment))


def test_an_image_of_the_project_is_compared_with_its_last_build(folder: Folder) -> None:
    store = project(folder)
    assert "since" not in folder.run("train").stdout
    store.built(folder.path, IMAGE)
    store.locked(folder.path, IMAGE, OLD.encode())
    said = folder.run("train").stdout
    assert "since the last build (2026-01-02T03:04:05Z)  1 added, 1 removed, 1 in another version; +500 MB" in said
    assert "1, 5.00 kB" in said
    store.locked(folder.path, IMAGE, NEW.encode())
    assert "nothing changed" in folder.run("train").stdout


def test_without_a_name_every_image_of_the_project_is_told(folder: Folder) -> None:
    project(folder)
    found = json.loads(folder.run("--json").stdout)
    assert [(one["image"], one["source"]) for one in found] == [("train", "pixi"), ("other", "oci")]
    assert found[1]["base"] == "docker.io/library/x:1"
    assert [item["kind"] for item in found[0]["items"]] == ["conda", "conda", "file", "pypi"]


SPACK = "spack:\n  specs: [zlib]\n  packages:\n    all:\n      require: target=zen3\n"


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ("", {"cuda": "12.9", "base": "ghcr.io/prefix-dev/pixi:noble-cuda-12.9.1"}),
        ('pixi = { cuda = "13.1" }', {"cuda": "13.1", "base": "ghcr.io/prefix-dev/pixi:noble-cuda-13.0.0"}),
        ('pixi = { cuda = "" }', {"cuda": "", "base": "ghcr.io/prefix-dev/pixi:noble"}),
        ('base = "me/pixi:1"', {"base": "me/pixi:1", "final_base": "me/pixi:1"}),
        ('final-base = "debian:12"', {"base": "ghcr.io/prefix-dev/pixi:noble-cuda-12.9.1", "final_base": "debian:12"}),
        ("spack = {}", {"base": "docker.io/spack/ubuntu-noble:1.2.2", "final_base": "docker.io/ubuntu:24.04"}),
        ("spack = {}", {"targets": ["zen3"]}),
        ('spack = { target = "x86_64_v4" }', {"targets": ["x86_64_v4"]}),
    ],
)
def test_an_image_of_the_project_shows_what_its_definition_will_choose(
    folder: Folder, settings: str, facts: dict[str, object]
) -> None:
    (folder.path / "spack.yaml").write_text(SPACK)
    (folder.path / "hpcdeploy.toml").write_text(f"[image]\n{settings}\n")
    [found] = json.loads(folder.run("--json").stdout)
    assert {name: found[name] for name in facts} == facts
    said = folder.run().stdout
    generated = subprocess.run(
        [COMMAND, "generate"], cwd=folder.path, env=folder.environment, capture_output=True, text=True, check=True
    )
    starts = [line.removeprefix("From: ") for line in generated.stdout.splitlines() if line.startswith("From: ")]
    assert starts == [found["base"], found["final_base"]]
    assert f"base image        {found['base']}\n".replace(" ", "") in said.replace(" ", "")
    assert ("final base image" in said) is (found["base"] != found["final_base"])


def test_json_holds_everything(folder: Folder) -> None:
    found = json.loads(folder.run("pixi.lock", "--against", "pixi.lock", "--json").stdout)
    assert (found["type"], found["environment"], found["platform"]) == ("source", "default", "linux-64")
    assert [(item["name"], item["size"]) for item in found["items"]] == [
        ("libtorch", 900_000_000), ("libcublas", 400_000_000), ("tiny", None),
    ]  # fmt: skip
    assert found["changes"] == {"added": [], "removed": [], "changed": [], "size": 0}


def test_a_picture_is_drawn_as_its_name_says(folder: Folder) -> None:
    assert folder.run("--picture", "a.svg").returncode == 0
    assert (folder.path / "a.svg").read_text().startswith("<svg ")
    assert folder.run("--picture", "a.html").returncode == 0
    assert "<td>conda</td><td>CUDA</td>" in (folder.path / "a.html").read_text()
    done = folder.run("--picture", "a.png")
    assert (done.returncode, "ends in .svg or .html" in done.stderr) == (2, True)
    assert sorted(path.name for path in folder.path.glob("*a.*")) == ["a.html", "a.svg"]


def test_an_image_file_is_told_without_apptainer(folder: Folder) -> None:
    metadata = {"data": {"attributes": {"labels": {"who": "\x1b[31mme"}, "test": "#!/bin/sh\ntrue"}}}
    content = sif(
        Part(kind=DEFINITION, content=b"Bootstrap: docker\nFrom: debian\n"),
        Part(kind=JSON, name="inspect-metadata.json", content=json.dumps(metadata).encode()),
        partition(squashfs()),
        signature(bytes(range(20))),
    )
    path = folder.path / "x.sif"
    path.write_bytes(content)
    write_record(replace(IMAGE, path=str(path), sha256=sha256_of(path), size=len(content), inputs="cd" * 32))
    done = folder.run("x.sif")
    assert done.returncode == 0, done.stderr
    for part in (
        "squashfs zstd",
        IMAGE.created,  # that of the record; the file has a constant time
        "signature of group 1",
        "  who: \\x1b[31mme",
        "TEST\n  #!/bin/sh\n  true",
        "  From: debian",
    ):
        assert part in done.stdout
    assert sha256_of(path) in done.stdout
    assert "\x1b" not in done.stdout
    found = json.loads(folder.run("x.sif", "--json").stdout)
    assert found["contents"]["labels"] == {"who": "\x1b[31mme"}
    assert found["record"]["created"] == IMAGE.created
    path.write_bytes(content + b"more")
    assert "does not match x.sif" in folder.run("x.sif").stderr


def test_an_image_s_keys_and_tools_and_who_shares_them_are_told(folder: Folder) -> None:
    path = folder.path / "x.sif"
    path.write_bytes(sif(partition(squashfs())))
    built = replace(
        IMAGE,
        path=str(path),
        sha256=sha256_of(path),
        size=path.stat().st_size,
        inputs="1" * 64,
        environment="e" * 64,
        builder="apptainer",
        tools=(("hpcdeploy", "1.0"), ("mksquashfs", "4.6.1")),
    )
    write_record(built)
    store = Store(default_path(folder.environment))
    store.built(folder.path, built)
    store.built(folder.path / "twin", replace(built, name="twin", path="/twin.sif"))
    store.built(folder.path / "kin", replace(built, name="kin", path="/kin.sif", inputs="2" * 64))
    store.built(folder.path / "other", replace(built, name="other", path="/o.sif", inputs="3" * 64, environment="f" * 64))
    store.built(folder.path / "old", replace(IMAGE, name="old", path="/old.sif", inputs="4" * 64))
    lines = [" ".join(line.split()) for line in folder.run("x.sif").stdout.splitlines()]
    for line in (
        f"image key {'1' * 64}",
        f"environment key {'e' * 64}",
        f"same image as twin in {folder.path}/twin",
        f"same environment as kin in {folder.path}/kin",
        "builder apptainer",
        "other tools hpcdeploy 1.0, mksquashfs 4.6.1",
    ):
        assert line in lines
    found = json.loads(folder.run("x.sif", "--json").stdout)
    assert found["same_environment"] == [f"kin in {folder.path}/kin"]
    assert found["record"]["tools"] == [["hpcdeploy", "1.0"], ["mksquashfs", "4.6.1"]]


def test_a_spack_environment_s_matrices_and_groups_are_expanded(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "spack.yaml").write_text(
        "spack:\n  definitions: [{mpis: [openmpi@5, mpich]}]\n  specs: [{group: apps, matrix: [[hdf5@develop], [$^mpis]]}]\n"
    )
    done = folder.run("s")
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()[-2:]]
    assert lines == ["hdf5 develop ^mpich spack ? -", "hdf5 develop ^openmpi@5 spack ? -"]
    assert "spack.yaml has 2 specs, matrices and lists expanded, in the groups apps" in done.stderr
    assert "a later build may find other sources: hdf5@develop" in done.stderr


def test_a_spack_environment_without_a_lock_file_says_that_only_the_roots_are_known(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "spack.yaml").write_text(
        "spack:\n  specs:\n  - root@6\n  - geant4\n  packages:\n    all:\n      require: target=zen3\n"
    )
    done = folder.run("s")
    assert done.returncode == 0, done.stderr
    assert "target    zen3" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[-2:]] == ["geant4", "root"]
    assert "only the root specs are known" in done.stderr


def test_a_definition_shows_its_bases_stages_arguments_files_and_notes(folder: Folder) -> None:
    (folder.path / "data.csv").write_text("12345")
    text = "Bootstrap: docker\nFrom: a:{{ V }}\nStage: one\n%arguments\nV=1\n%pre\ntrue\n"
    (folder.path / "own.def").write_text(
        text + "Bootstrap: docker\nFrom: docker://b\n%files from one\n/x /x\n%files\ndata.csv /y\n"
    )
    done = folder.run("own.def")
    assert done.returncode == 0, done.stderr
    for part in (
        "a:1",
        "final base image  docker://b",
        "one (docker a:1); (no name) (docker docker://b, copies from one)",
        "V=1",
    ):
        assert part in done.stdout
    assert "data.csv  -        file  5 B" in done.stdout
    assert "stage one: %pre runs on the build host" in done.stderr
    assert "stage 2: From: docker://b under 'Bootstrap: docker' means a registry" in done.stderr
    found = json.loads(folder.run("own.def", "--json").stdout)
    assert [stage["copies_from"] for stage in found["stages"]] == [[], ["one"]]
    (folder.path / "own.def").write_text(text.replace("docker\n", "busybox\n").replace("V=1", "W=1"))
    done = folder.run("own.def")
    assert (done.returncode, done.stdout) == (66, ""), done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nothing",), 2, "neither an image of this project"),
        (("empty",), 2, "has nothing to inspect"),
        (("some.txt",), 2, "not an Apptainer image"),
        (("locks/pixi.lock",), 65, "version"),
        (("unlocked",), 65, "run 'pixi lock'"),
        (("--environment", "gpu"), 65, "gpu"),
        (("--against", "nowhere"), 65, "or a git revision"),
        (("--against", "--output=x"), 65, "or a git revision"),
        (("some.txt", "--against", "x"), 2, "omit it"),
        (("oras://", ), 2, "oras://HOST"),
        (("oras://127.0.0.1:9/x/y",), 68, "127.0.0.1:9"),
    ],
)  # fmt: skip
def test_what_cannot_be_inspected_is_refused_with_a_reason(
    folder: Folder, words: tuple[str, ...], code: int, said: str
) -> None:
    for name in ("empty", "locks", "unlocked"):
        (folder.path / name).mkdir()
    (folder.path / "locks" / "pixi.lock").write_text("version: 99\n")
    (folder.path / "unlocked" / "pixi.toml").write_text(MANIFEST)
    (folder.path / "some.txt").write_text("hello")
    done = folder.run(*words)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert not (folder.path / "x").exists()


def test_a_project_is_offered_the_name_that_was_meant(folder: Folder) -> None:
    project(folder)
    assert "did you mean 'train'?" in folder.run("trian").stderr
