import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from hpcdeploy.folders import cache_folder, config_folder, make_private, read_private, state_folder

Folder = Callable[[Mapping[str, str]], Path]
EACH = pytest.mark.parametrize(
    ("folder", "variable", "default"),
    [
        (config_folder, "XDG_CONFIG_HOME", ".config"),
        (state_folder, "XDG_STATE_HOME", ".local/state"),
        (cache_folder, "XDG_CACHE_HOME", ".cache"),
    ],
)


@EACH
def test_the_folder_is_where_its_variable_says_else_in_the_home(folder: Folder, variable: str, default: str) -> None:
    assert folder({"HOME": "/h", variable: "/x"}) == Path("/x/hpcdeploy")
    assert folder({"HOME": "/h"}) == Path("/h", default, "hpcdeploy")


@EACH
@pytest.mark.parametrize("invalid", ["", "relative", "./x", "~/x"])
def test_a_path_that_is_not_absolute_is_ignored(folder: Folder, variable: str, default: str, invalid: str) -> None:
    assert folder({"HOME": "/h", variable: invalid}) == Path("/h", default, "hpcdeploy")


@EACH
def test_without_a_home_the_system_knows_one(folder: Folder, variable: str, default: str) -> None:
    assert folder({}) == Path.home() / default / "hpcdeploy"


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask")
def test_a_private_folder_is_private_at_every_level_that_was_made(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_private(tmp_path / "cache/hpcdeploy/templates")
    assert [mode(tmp_path / name) for name in ("cache", "cache/hpcdeploy", "cache/hpcdeploy/templates")] == [0o700] * 3
    make_private(tmp_path / "cache/hpcdeploy/templates")
    assert mode(tmp_path) == 0o755


def test_what_an_older_version_let_others_write_to_is_made_private_and_what_is_above_stays(tmp_path: Path) -> None:
    folder = tmp_path / "cache/hpcdeploy/templates"
    folder.mkdir(parents=True)
    for name, bits in (("cache", 0o777), ("cache/hpcdeploy", 0o775), ("cache/hpcdeploy/templates", 0o707)):
        (tmp_path / name).chmod(bits)
    make_private(folder)
    assert [mode(path) for path in (folder, folder.parent, folder.parent.parent)] == [0o705, 0o755, 0o777]


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """Make a private folder with a file ``kept``."""
    folder = tmp_path / "hpcdeploy" / "templates"
    make_private(folder)
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
    with pytest.raises(PermissionError, match="somebody else, or may be written by others"):
        read_private(private, "kept")


@pytest.mark.parametrize("name", ["kept", ".", ".."])
def test_what_belongs_to_somebody_else_is_not_read(private: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    me = os.geteuid()
    if me == 0:  # who alone can give a file away; anybody else is somebody else to another user
        os.chown(private / name, 12345, -1)
    else:
        monkeypatch.setattr("hpcdeploy.folders.os.geteuid", lambda: me + 1)
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        read_private(private, "kept")
    if name != "kept":
        with pytest.raises(PermissionError, match="belongs to somebody else"):
            make_private(private)


@pytest.mark.usefixtures("in_time")
def test_a_link_or_a_pipe_in_a_private_folder_is_not_read(private: Path) -> None:
    (private / "link").symlink_to("kept")
    os.mkfifo(private / "pipe", 0o600)
    for name in ("link", "pipe", "none"):
        with pytest.raises(OSError, match=name):
            read_private(private, name)
