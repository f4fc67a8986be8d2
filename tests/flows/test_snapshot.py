"""What of a folder travels, and that the same files give the same bytes."""

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.snapshot import Nowhere, Tree, keep, largest, look, pack
from tests.special_files import SPECIAL

ODD = (
    *(
        "a b.py",
        "it's",
        '"quoted"',
        "$HOME",
        "$(id)",
        "new\nline",
        "naïve ☃",
        "-dash",
        "--help",
        "back\\slash",
        "*",
        "#hash",
    ),
    *("ü/deep er/ö", " leading", "trailing ", "semi;colon", "col:on", "com,ma", "x" * 150 + "/" + "y" * 150, "latin-\udce9"),
)


def write(folder: Path, *names: str, content: str = "x") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "protocol.file.allow=always")
    return subprocess.run(["git", *who, "-C", str(folder), *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    return folder


def archived(tree: Tree) -> tuple[str, dict[str, tarfile.TarInfo]]:
    sink = io.BytesIO()
    packed = pack(tree, sink)
    assert packed.sha256 == hashlib.sha256(sink.getvalue()).hexdigest()
    assert packed.size == len(sink.getvalue())
    with tarfile.open(fileobj=io.BytesIO(sink.getvalue())) as archive:
        return packed.sha256, {member.name: member for member in archive}


def test_git_says_what_travels_tracked_or_new_but_not_ignored_nor_deleted(repository: Path) -> None:
    write(repository, ".gitignore", content="*.log\ndata/\n")
    write(repository, "tracked.py", "gone.py", "new.py", "out.log", "data/big", "src/mod.py", "forced.log", "image.sif")
    git(repository, "add", "tracked.py", "gone.py")
    git(repository, "add", "--force", "forced.log")
    (repository / "gone.py").unlink()
    assert look(repository).names == (".gitignore", "forced.log", "new.py", "src/mod.py", "tracked.py")


def test_a_folder_of_a_repository_travels_alone(repository: Path) -> None:
    write(repository, "outside.py", "src/a.py", "src/b/c.py", "src/.gitignore", content="skip\n")
    write(repository, "src/skip")
    assert look(repository / "src").names == (".gitignore", "a.py", "b/c.py")


def test_hpcdeployignore_counts_for_tracked_files_too(repository: Path) -> None:
    write(repository, "a.py", "data/big", "src/keep.bin", "src/b.bin")
    git(repository, "add", ".")
    write(repository, ".hpcdeployignore", content="data/\n*.bin\n")
    write(repository, "src/.hpcdeployignore", content="!keep.bin\n")
    assert look(repository).names == (".hpcdeployignore", "a.py", "src/.hpcdeployignore", "src/keep.bin")


def test_submodules_that_are_checked_out_travel_and_the_others_are_empty(repository: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    write(other, "module.py", ".gitignore", content="*.o\n")
    git(other, "add", ".")
    git(other, "commit", "-qm", "x")
    write(repository, "main.py")
    git(repository, "submodule", "add", "-q", str(other), "vendor/it is")
    git(repository, "submodule", "add", "-q", str(other), "vendor/absent")
    write(repository, "vendor/it is/new.py", "vendor/it is/skip.o")
    git(repository, "submodule", "deinit", "-q", "--force", "vendor/absent")
    write(repository, "nested/inner.py")
    git(repository / "nested", "init", "-q")
    there = {name for name in look(repository).names if name != ".gitmodules"}
    assert there == {
        "main.py",
        "nested/inner.py",
        "vendor/it is/.gitignore",
        "vendor/it is/module.py",
        "vendor/it is/new.py",
    }


def test_git_facts_are_the_commit_and_whether_the_files_differ_from_it(repository: Path) -> None:
    write(repository, "a.py")
    assert (look(repository).commit, look(repository).dirty) == ("", True)
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "x")
    tree = look(repository)
    assert (tree.commit, tree.dirty) == (git(repository, "rev-parse", "HEAD").strip(), False)
    write(repository, "a.py", content="y")
    assert look(repository).dirty


def test_without_git_caches_and_what_is_ignored_stay(tmp_path: Path) -> None:
    write(tmp_path, ".gitignore", content="*.log\n")
    write(tmp_path, "src/.hpcdeployignore", content="big\n")
    write(
        tmp_path, "a.py", "x.log", "src/b.py", "src/big", "__pycache__/a.pyc", ".venv/bin/python", ".env", "node_modules/x"
    )
    os.mkfifo(tmp_path / "pipe")
    assert look(tmp_path).names == (".gitignore", "a.py", "src/.hpcdeployignore", "src/b.py")
    assert (look(tmp_path).commit, look(tmp_path).dirty) == ("", False)


def test_data_travels_whole_whatever_git_ignores(repository: Path) -> None:
    write(repository, ".gitignore", content="data/\n")
    write(repository, "data/a.log", "data/.env", "data/__pycache__/x", "data/b/model.sif")
    assert look(repository / "data", is_code=False).names == (".env", "__pycache__/x", "a.log", "b/model.sif")
    with pytest.raises(ConfigError, match="has no file to upload"):
        look(repository / "data")


def test_what_was_fetched_is_no_code(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "train-1/.hpcdeploy-run", "train-1/output/model.pt", "train-10/mine.py")
    assert look(tmp_path).names == ("a.py", "train-10/mine.py")


@pytest.mark.parametrize("with_git", [True, False])
def test_odd_names_arrive_as_they_are(with_git: bool, repository: Path) -> None:
    if not with_git:
        subprocess.run(["rm", "-rf", str(repository / ".git")], check=True)
    write(repository, *ODD)
    tree = look(repository)
    assert set(tree.names) == set(ODD)
    sink = repository.parent / "odd.tar"
    with sink.open("wb") as file:
        pack(tree, file)
    out = repository.parent / "out"
    out.mkdir()
    done = subprocess.run(["tar", "-xf", str(sink), "-C", str(out)], capture_output=True, check=True)
    assert done.stderr == b""
    assert {os.fsdecode(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == set(ODD)


def test_links_stay_links_and_programs_stay_programs(tmp_path: Path) -> None:
    write(tmp_path, "run.sh", "src/a")
    (tmp_path / "run.sh").chmod(0o764)
    (tmp_path / "folder").symlink_to("src/")
    (tmp_path / "dangling").symlink_to("./no/where")
    (tmp_path / "loop").symlink_to(".")
    _, members = archived(look(tmp_path))
    assert {name: (member.linkname, member.mode) for name, member in members.items()} == {
        "run.sh": ("", 0o755),
        "src/a": ("", 0o644),
        "folder": ("src/", 0o777),
        "dangling": ("./no/where", 0o777),
        "loop": (".", 0o777),
    }


def test_the_same_files_are_the_same_archive_whoever_made_them_when(tmp_path: Path) -> None:
    shas = []
    for number, names in enumerate((ODD, tuple(reversed(ODD)))):
        folder = tmp_path / str(number)
        write(folder, *names)
        for name in names:
            os.utime(folder / name, (number, number))
            (folder / name).chmod(0o600 if number else 0o664)
        shas.append(archived(look(folder))[0])
    assert shas[0] == shas[1]
    (tmp_path / "1" / "$HOME").chmod(0o700)
    assert archived(look(tmp_path / "1"))[0] != shas[0]


@pytest.mark.parametrize("empty", ["nothing", "ignored", "folders"])
def test_a_folder_without_files_is_refused(empty: str, tmp_path: Path) -> None:
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    if empty == "ignored":
        write(tmp_path / "folder", ".hpcdeployignore", content="*\n")
    with pytest.raises(ConfigError, match="has no file to upload"):
        look(tmp_path / "folder")


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "file")
    for name in ("file", "missing"):
        with pytest.raises(ConfigError, match="is not a folder on this machine"):
            look(tmp_path / name)


class Meddler:
    """Takes bytes, and does something with the first piece."""

    def __init__(self, path: Path, deed: str) -> None:
        self._path, self._deed = path, deed

    def write(self, _block: bytes, /) -> None:
        deed, self._deed = self._deed, ""
        if deed == "grow":
            self._path.write_text("x" * 9_000_000)
        elif deed == "shrink":
            self._path.write_text("x")
        elif deed == "rewrite":
            self._path.write_text("y" * 4_000_000)
        elif deed == "remove":
            self._path.unlink()
        elif deed == "folder":
            self._path.unlink()
            self._path.mkdir()


@pytest.mark.parametrize("deed", ["grow", "shrink", "rewrite"])
def test_a_file_that_changes_while_it_is_packed_is_told(deed: str, tmp_path: Path) -> None:
    write(tmp_path, "a", content="x" * 4_000_000)
    with pytest.raises(ConfigError, match="a changed while it was packed"):
        pack(look(tmp_path), Meddler(tmp_path / "a", deed))


@pytest.mark.parametrize("deed", ["remove", "folder"])
def test_a_file_that_vanishes_before_its_turn_is_told(deed: str, tmp_path: Path) -> None:
    write(tmp_path, "a", content="x" * 100_000)
    write(tmp_path, "b")
    with pytest.raises(ConfigError, match="b changed while it was packed"):
        pack(look(tmp_path), Meddler(tmp_path / "b", deed))


def test_a_snapshot_that_fails_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "code", "a")
    tree = look(tmp_path / "code")
    (tmp_path / "code" / "a").unlink()
    with pytest.raises(ConfigError):
        keep(tree, tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


def test_two_at_once_keep_one_archive(tmp_path: Path) -> None:
    write(tmp_path / "code", "a", content="x" * 1_000_000)
    tree = look(tmp_path / "code")
    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            kept = list(pool.map(lambda _: keep(tree, tmp_path / "kept"), range(8)))
        [path] = (tmp_path / "kept").iterdir()
        assert {place for _, place in kept} == {path}
        assert path.name == f"{hashlib.sha256(path.read_bytes()).hexdigest()}.tar"
        assert pack(tree, Nowhere()).sha256 == path.stem


def test_archives_that_nobody_asked_for_in_a_month_are_removed(tmp_path: Path) -> None:
    write(tmp_path / "code", "a")
    write(tmp_path / "kept", "old.tar", "young.tar")
    os.utime(tmp_path / "kept" / "old.tar", (time.time() - 31 * 86400,) * 2)
    packed, path = keep(look(tmp_path / "code"), tmp_path / "kept")
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"young.tar", f"{packed.sha256}.tar"}
    assert path.stat().st_size == packed.size


def test_the_largest_parts_are_told(tmp_path: Path) -> None:
    write(tmp_path, "a", content="x")
    write(tmp_path, "data/1", "data/2", content="x" * 10)
    assert largest(look(tmp_path), 1) == [("data/", 20)]
    assert look(tmp_path).size == 21


def test_links_that_lead_to_nothing_that_travels_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    write(folder, "src/a.py", "data/x", ".gitignore", content="data/\n")
    links = {
        "good": "src/a.py",
        "src/folder": "../src",
        "src/top": "..",
        "chain": "src/folder/a.py",
        "dir/x": "../src/a.py",
        "ignored": "data/x",
        "out": "/etc/passwd",
        "up": "../other",
        "broken": "nowhere",
        "loop": "loop",
        "two": "out",
        "through": "src/top/data",
    }
    (folder / "dir").mkdir()
    for name, target in links.items():
        (folder / name).symlink_to(target)
    astray = {"ignored", "out", "up", "broken", "loop", "two", "through"}
    assert look(folder).astray == tuple((name, links[name]) for name in sorted(astray))
    assert {name for name, _ in look(folder, is_code=False).astray} == astray - {"ignored", "through"}


def test_an_input_may_hold_what_was_fetched_before(tmp_path: Path) -> None:
    write(tmp_path, "results/train-1/.hpcdeploy-run", "results/train-1/model.pt", "main.py")
    assert "results/train-1/model.pt" not in look(tmp_path).names
    assert "results/train-1/model.pt" in look(tmp_path, is_code=False).names


def test_a_file_that_may_not_be_read_is_not_told_as_one_that_changed(request: pytest.FixtureRequest) -> None:
    folder = Path(tempfile.mkdtemp())
    request.addfinalizer(lambda: shutil.rmtree(folder))
    folder.chmod(0o755)
    write(folder, "secret")
    (folder / "secret").chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
        request.addfinalizer(lambda: os.seteuid(0))
    with pytest.raises(ConfigError, match=r"secret cannot be read: Permission denied; .* exclude it in .hpcdeployignore"):
        pack(look(folder), Nowhere())


def test_a_disk_that_is_full_is_not_told_as_a_file_that_changed(tmp_path: Path) -> None:
    write(tmp_path, "a", content="x" * 100_000)
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space left"):
        pack(look(tmp_path), full)


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize("name", [".gitignore", ".hpcdeployignore"])
def test_a_list_of_what_to_ignore_that_is_no_file_is_refused_and_not_waited_for(
    tmp_path: Path, name: str, special: str
) -> None:
    write(tmp_path, "a.py")
    with SPECIAL[special](tmp_path / name), pytest.raises(ConfigError, match=rf"{name} cannot be read: it is {special}"):
        look(tmp_path)


def test_a_list_of_what_to_ignore_of_absurd_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpcdeploy.flows.snapshot.LARGEST_TEXT", 10)
    write(tmp_path, "a.py")
    write(tmp_path, ".gitignore", content="x" * 10)
    assert look(tmp_path).names == (".gitignore", "a.py")
    write(tmp_path, ".gitignore", content="x" * 11)
    with pytest.raises(ConfigError, match=r"\.gitignore cannot be read: it has 11 bytes, above the limit"):
        look(tmp_path)
