"""Private files stay private with any umask, and files of another user are not used."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpcdeploy.private import own_folder, private_file, private_folder, read_private, safe_for_temporary
from hpcdeploy.whole_file import write_whole
from tests.users import ALICE, BOB, as_user


@pytest.fixture(autouse=True)
def _no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_every_folder_that_is_made_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "a" / "b" / "c")
    assert [mode(path) for path in (folder, *list(folder.parents)[:2])] == [0o700] * 3


def test_what_is_above_a_private_folder_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for _ in range(2):
        private_folder(tmp_path / "a" / "b")
        assert (mode(tmp_path), mode(tmp_path / "a/b")) == (0o755, 0o700)


def test_what_an_earlier_version_left_open_is_closed(tmp_path: Path) -> None:
    folder, file = tmp_path / "state", tmp_path / "state" / "file"
    folder.mkdir()
    file.write_text("kept")
    private_folder(folder)
    private_file(file)
    assert (mode(folder), mode(file), file.read_text()) == (0o700, 0o600, "kept")


def test_a_private_file_is_never_open_to_others(tmp_path: Path) -> None:
    write_whole(tmp_path / "in" / "file", "text", private=True)
    assert (mode(tmp_path / "in"), mode(tmp_path / "in" / "file")) == (0o700, 0o600)
    write_whole(tmp_path / "public", "text")
    assert mode(tmp_path / "public") == 0o666


@pytest.mark.parametrize("make", [private_file, private_folder])
def test_what_belongs_to_somebody_else_is_not_used(make: Callable[[Path], object], short: Path) -> None:
    short.chmod(0o755)
    theirs = short / "theirs"
    theirs.mkdir()
    theirs.chmod(0o777)
    os.chown(theirs, ALICE, ALICE)
    with (
        as_user(BOB),
        pytest.raises(PermissionError, match=rf"belongs to user {ALICE}, not to you \(user {BOB}\) or root"),
    ):
        make(theirs)


def test_a_folder_is_safe_for_temporary_files_where_nobody_can_rename_them(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    assert not safe_for_temporary(folder)
    folder.mkdir()
    for bits, safe in ((0o700, True), (0o755, True), (0o775, False), (0o777, False), (0o1777, True)):
        folder.chmod(bits)
        assert safe_for_temporary(folder) == safe, oct(bits)


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """Make a private folder with a file ``kept``."""
    folder = tmp_path / "hpcdeploy" / "templates"
    own_folder(folder)
    (folder / "kept").write_text("content")
    (folder / "kept").chmod(0o600)
    return folder


def test_a_private_file_is_read_though_others_may_read_it_too(private: Path) -> None:
    assert read_private(private, "kept") == b"content"
    for path, bits in ((private, 0o755), (private.parent, 0o755), (private / "kept", 0o644)):
        path.chmod(bits)
    assert read_private(private, "kept") == b"content"


@pytest.mark.parametrize("name", ["kept", ".", ".."])
@pytest.mark.parametrize("bits", [0o720, 0o702, 0o777])
def test_what_others_may_write_is_not_read(private: Path, name: str, bits: int) -> None:
    (private / name).chmod(bits)
    with pytest.raises(PermissionError, match="another user, or may be written by others"):
        read_private(private, "kept")


@pytest.mark.parametrize("name", ["kept", ".", ".."])
def test_what_belongs_to_somebody_else_is_not_read(private: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    me = os.geteuid()
    if me == 0:  # only root can change an owner; other users act as another user here
        os.chown(private / name, 12345, -1)
    else:
        monkeypatch.setattr("hpcdeploy.private.os.geteuid", lambda: me + 1)
    with pytest.raises(PermissionError, match="belongs to another user"):
        read_private(private, "kept")
    if name != "kept":
        with pytest.raises(PermissionError, match=r"belongs to (another user|user)"):
            own_folder(private)


@pytest.mark.usefixtures("in_time")
def test_a_link_or_a_pipe_in_a_private_folder_is_not_read(private: Path) -> None:
    (private / "link").symlink_to("kept")
    os.mkfifo(private / "pipe", 0o600)
    for name in ("link", "pipe", "none"):
        with pytest.raises(OSError, match=name):
            read_private(private, name)
