"""Names of a run's files that APFS rejects or does not distinguish. Linux accepts them all, so a folder imitates APFS."""

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpcdeploy.boundary import in_git
from hpcdeploy.cluster import Cluster
from hpcdeploy.flows.fetch import fetch
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.local_names import FolderNames, unusable_names
from hpcdeploy.transport.local import LocalTransport
from tests.scheduler.samples import PLAIN, run_of

RUN = run_of(PLAIN)
COMPOSED, DECOMPOSED = "na\u00efve", "nai\u0308ve"


class Folding:
    """The names of a file system that ignores case and normal form, and takes only UTF-8."""

    def refusal(self, place: str) -> str:
        return "Illegal byte sequence" if "\udce9" in place else ""

    def are_same(self, one: str, other: str) -> bool:
        return fold(one) == fold(other)


def fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).lower()


@pytest.mark.parametrize(
    ("places", "unusable"),
    [
        (["output/a", "output/b", "logs/a"], set()),
        (["output/Model.pt", "output/model.pt", "output/MODEL.PT"], {"output/model.pt", "output/MODEL.PT"}),
        ([f"output/{COMPOSED}", f"output/{DECOMPOSED}"], {f"output/{DECOMPOSED}"}),
        (["output/A/x", "output/a/y", "output/a/X"], {"output/a/X"}),
        (["output/A", "output/a/y"], {"output/a/y"}),
        (["output/A/x", "output/a"], {"output/a"}),
        (["output/latin-\udce9", "output/utf-8-é"], {"output/latin-\udce9"}),
    ],
)
def test_of_files_that_are_one_here_the_first_is_used(places: list[str], unusable: set[str]) -> None:
    assert set(unusable_names(places, Folding())) == unusable


def test_a_file_system_that_tells_them_apart_takes_all(tmp_path: Path) -> None:
    places = ["output/Model.pt", "output/model.pt", f"output/{COMPOSED}", f"output/{DECOMPOSED}", "output/latin-\udce9"]
    assert unusable_names(places, FolderNames(tmp_path / "parts")) == {}


@pytest.fixture
def folding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder in which the functions of `os` ignore case and normal form, and take only UTF-8."""
    top = tmp_path / "apfs"
    top.mkdir()

    def folded(path: Any) -> Any:
        text = path if isinstance(path, int) else os.fsdecode(path)
        if isinstance(text, int) or not text.startswith(str(top)):
            return path
        if "\udce9" in text:
            raise OSError(84, "Illegal byte sequence", text)
        return str(top) + fold(text.removeprefix(str(top)))

    def wrapped(call: Callable[..., Any], paths: int) -> Callable[..., Any]:
        return lambda *given, **named: call(*map(folded, given[:paths]), *given[paths:], **named)

    one = ("open", "stat", "lstat", "mkdir", "unlink", "chmod", "utime", "readlink", "listdir", "scandir")
    for name in one:
        monkeypatch.setattr(os, name, wrapped(getattr(os, name), 1))
    monkeypatch.setattr(os, "replace", wrapped(os.replace, 2))
    link = os.symlink
    monkeypatch.setattr(os, "symlink", lambda target, path, *more, **named: link(target, folded(path), *more, **named))
    return top


def test_fetch_leaves_out_what_would_replace_another_file_or_has_no_name_here(tmp_path: Path, folding: Path) -> None:
    there = tmp_path / "root" / "runs" / RUN.id
    for name in ("output/Model.pt", "output/model.pt", f"output/{COMPOSED}", "output/latin-\udce9", "logs/0.out"):
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_text(name.encode("utf-8", "surrogateescape").hex())
    (there / "output" / DECOMPOSED).symlink_to("Model.pt")
    with Connections(lambda _: LocalTransport()) as connections:
        session = connections.to(Cluster(name="c", root=str(tmp_path / "root")))
        done = fetch(RUN, folding / "home", session)
        again = fetch(RUN, folding / "home", session)
    kept = {path.relative_to(folding / "home").as_posix() for path in done.files}
    assert len(kept) == 3
    assert {fold(name) for name in kept} == {"output/model.pt", f"output/{COMPOSED}", "logs/0.out"}
    for name in kept:
        content = (folding / "home" / fold(name)).read_text() if not (folding / "home" / name).is_symlink() else ""
        assert content in ("", name.encode().hex())
    assert again.brought == ()
    assert sorted("Illegal byte sequence" in note for note in done.notes) == [False, False, True]
    assert sum("it is the same file as output/" in note for note in done.notes) == 2
    assert again.notes == done.notes


def test_fetch_leaves_out_a_path_that_is_too_long_here(tmp_path: Path) -> None:
    there = tmp_path / "root" / "runs" / RUN.id / "output"
    there.mkdir(parents=True)
    (there.parent / "logs").mkdir()
    (there / "short").write_text("x")
    place = os.open(there, os.O_RDONLY)
    for _ in range(17):
        os.mkdir("d" * 240, dir_fd=place)
        deeper = os.open("d" * 240, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = deeper
    os.close(os.open("deep", os.O_WRONLY | os.O_CREAT, dir_fd=place))
    os.close(place)
    with Connections(lambda _: LocalTransport()) as connections:
        done = fetch(RUN, tmp_path / "home", connections.to(Cluster(name="c", root=str(tmp_path / "root"))))
    assert done.files == (tmp_path / "home" / "output" / "short",)
    [note] = done.notes
    assert note.endswith("/deep, because this machine's file system rejects its name (File name too long)")


@pytest.mark.parametrize("name", [".git", ".GIT", ".Git", ".g\u200cit", "\ufeff.git"])
def test_git_s_folder_is_recognised_by_every_name_that_a_file_system_finds_it_by(name: str) -> None:
    assert in_git(Path("/project/a") / name / "config", Path("/project"))


@pytest.mark.parametrize("name", ["git", ".gitignore", ".github", "x.git", ".g\u00eft"])
def test_other_names_are_not_git_s(name: str) -> None:
    assert not in_git(Path("/project") / name / "config", Path("/project"))
