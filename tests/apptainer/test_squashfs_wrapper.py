"""``login/squashfs.py``, which Apptainer runs instead of mksquashfs, on folders of files."""

import ast
import json
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

from hpcdeploy.apptainer.packing import Packed, Packing, SquashfsTools, install_packer, read_report
from hpcdeploy.definition.code import MARK
from hpcdeploy.image import GZIP, ZSTD
from hpcdeploy.templates import shipped_root

PROGRAM = (shipped_root() / "login" / "squashfs.py").read_text()
EPOCH = 315_532_800
PLAIN = Packing(epoch=EPOCH, addresses={"localhost:5000/x:1": "ghcr.io/a/x:1"})


class Tree:
    """A folder with the files of an image; `pack` runs the wrapper, whose mksquashfs only prints its arguments."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "rootfs"
        self.root.mkdir()
        self.folder = folder
        self.words: list[str] = []

    def write(self, name: str, text: str = "") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def pack(self, *places: str, options: tuple[str, ...] = (), packing: Packing = PLAIN) -> Packed:
        tools = SquashfsTools(mksquashfs="/bin/echo", unsquashfs="")
        chosen = Packing(epoch=packing.epoch, compression=packing.compression, addresses=packing.addresses, places=places)
        report = install_packer(self.folder / "bin", tools, chosen)
        words = [str(self.folder / "bin/mksquashfs"), str(self.root), "out", *options]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "7"}
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
        self.words = done.stdout.split()
        packed = read_report(report)
        assert packed is not None
        return packed


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_the_places_become_links_and_what_is_beside_them_is_reported(tree: Tree) -> None:
    tree.write(f"app/src/{MARK}", MARK)
    tree.write("app/pixi.toml")
    tree.write("app/with blank\n/x")
    tree.write("app/conf.toml", MARK)
    packed = tree.pack("/app/src", "/app/conf.toml")
    assert (packed.problem, packed.left) == ("", 0)
    assert packed.beside == {"/app": ("pixi.toml", "with blank\n")}
    assert (tree.root / "app/src").readlink() == Path("/.hpcdeploy.d/app/src")
    assert (tree.root / "app/conf.toml").readlink() == Path("/.hpcdeploy.d/app/conf.toml")


def test_a_folder_above_that_is_a_link_is_followed_inside_the_image_only(tree: Tree, tmp_path: Path) -> None:
    tree.write(f"opt/real/src/{MARK}", MARK)
    (tree.root / "app").symlink_to("/opt/./real")
    assert tree.pack("/app/src").problem == ""
    assert (tree.root / "opt/real/src").readlink() == Path("/.hpcdeploy.d/app/src")
    outside = tmp_path / "outside"
    (outside / "src").mkdir(parents=True)
    (outside / "src" / MARK).write_text(MARK)
    other = Tree.__new__(Tree)
    other.root, other.folder, other.words = tmp_path / "second", tmp_path / "more", []
    other.root.mkdir()
    other.folder.mkdir()
    (other.root / "app").symlink_to("../" * 30 + str(outside).lstrip("/"))
    assert "other files at /app/src" in other.pack("/app/src").problem
    assert (outside / "src" / MARK).is_file()


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (("app/src/other", f"app/src/{MARK}"), "the image has other files at /app/src"),
        (("app/src/other",), "the image has other files at /app/src"),
        (("app/src",), "the image has other files at /app/src"),
        (("app/other",), "the image has other files at /app/src"),
        ((f"app/src/{MARK}", ".hpcdeploy.d/x"), "the image has a file /.hpcdeploy.d"),
    ],
)
def test_a_place_with_other_files_is_reported_and_stays(tree: Tree, files: tuple[str, ...], reason: str) -> None:
    for name in files:
        tree.write(name, "content")
    packed = tree.pack("/app/src")
    assert packed.problem == reason
    assert all((tree.root / name).is_file() for name in files)


def test_a_loop_of_links_is_reported(tree: Tree) -> None:
    (tree.root / "app").symlink_to("/app")
    assert tree.pack("/app/src").problem == "/app/src has too many links"


def test_options_for_times_and_compression_are_replaced(tree: Tree) -> None:
    given = ("-noappend", "-all-time", "5", "-comp", "gzip", "-Xcompression-level", "1", "-quiet")
    tree.pack(options=given)
    times = ["-mem", "512M", "-all-time", str(EPOCH), "-mkfs-time", str(EPOCH)]
    assert tree.words == [str(tree.root), "out", "-noappend", "-quiet", *ZSTD.options, *times]


def test_another_compressor_replaces_that_of_apptainer_with_its_level_and_block(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    gzip = Packing(epoch=EPOCH, addresses={}, compression=GZIP)
    tree.pack(options=("-noappend", "-comp", "zstd", "-Xcompression-level", "3", "-b", "4096"), packing=gzip)
    assert tree.words[2:9] == ["-noappend", "-comp", "gzip", "-Xcompression-level", "1", "-b", "131072"]


def test_texts_of_apptainer_lose_the_time_and_the_mirror(tree: Tree) -> None:
    labels = '{\n\t"org.label-schema.build-date": "Friday_1_May_2026_1:2:3_UTC",\n\t"from": "localhost:5000/x:1"\n}'
    path = tree.write(".singularity.d/labels.json", labels)
    definition = tree.write(".singularity.d/Singularity", "From: localhost:5000/x:1\n# localhost:5000/x:12\n")
    tree.pack()
    assert json.loads(path.read_text()) == {
        "org.label-schema.build-date": "Tuesday_1_January_1980_0:0:0_UTC",
        "from": "ghcr.io/a/x:1",
    }
    assert definition.read_text() == "From: ghcr.io/a/x:1\n# localhost:5000/x:12\n"


def test_logs_of_this_build_are_removed_and_those_of_the_base_image_stay(tree: Tree) -> None:
    new, old = tree.write("var/log/apt/history.log", "now"), tree.write("var/log/dpkg.log", "old")
    other = tree.write("var/log/of-a-program.log", "kept")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    for path in (new, other):
        os.utime(path)
    tree.pack()
    assert not new.exists()
    assert old.read_text() == "old"
    assert other.read_text() == "kept"


def test_compiled_files_stay_valid_for_python(tree: Tree) -> None:
    sources = [tree.write(f"lib/{name}.py", f"x = '{name}'\n") for name in ("valid", "stale", "hashed", "read_only")]
    modes = (py_compile.PycInvalidationMode.TIMESTAMP, py_compile.PycInvalidationMode.CHECKED_HASH)
    compiled = [
        Path(py_compile.compile(str(path), invalidation_mode=modes[path.stem == "hashed"]) or "") for path in sources
    ]
    before = [path.read_bytes() for path in compiled]
    compiled[3].chmod(0o444)
    sources[1].write_text("x = 'changed'\n")
    assert tree.pack().left == 0
    after = [path.read_bytes() for path in compiled]
    for number in (0, 3):
        assert after[number] == before[number][:8] + EPOCH.to_bytes(4, "little") + before[number][12:]
    assert after[1:3] == before[1:3]
    assert compiled[3].stat().st_mode & 0o777 == 0o444
    for path in sources:
        os.utime(path, (EPOCH, EPOCH))
    words = [sys.executable, "-v", "-c", "import valid, read_only"]
    said = subprocess.run(words, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(tree.root / "lib")})
    assert said.stderr.count(f"matches {tree.root}/lib/") == 2


def test_login_nodes_with_an_old_python_can_run_it() -> None:
    assert PROGRAM.startswith("# --- login/squashfs.py: ")
    ast.parse(PROGRAM, feature_version=(3, 6))
