"""The images without code, to copies of which code is appended."""

from pathlib import Path

import pytest

from hpcdeploy.apptainer.append import mode_of
from hpcdeploy.apptainer.environments import Environments
from hpcdeploy.build_keys import epoch_of
from hpcdeploy.errors import ConfigError
from hpcdeploy.image import Toolchain

KEY = "ab" * 32
TOOLCHAIN = Toolchain(builder="direct", program="hpcdeploy 1.0 (direct)", tools=(("mksquashfs", "4.6.1"),))
BESIDE = {"/app": ("pixi.toml", "a b")}


def kept(tmp_path: Path, content: bytes = b"image") -> Environments:
    environments = Environments(tmp_path / "environments")
    made = environments.prepare(KEY)
    made.write_bytes(content)
    environments.keep(KEY, made, TOOLCHAIN, BESIDE)
    return environments


def test_an_entry_is_found_with_what_is_beside_the_code(tmp_path: Path) -> None:
    found = kept(tmp_path).find(KEY)
    assert found is not None
    assert (found.image.read_bytes(), found.problem, found.beside) == (b"image", "", BESIDE)
    assert found.image.stat().st_mode & 0o777 == 0o600
    assert found.image.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("content", [b"imagf", b"imag", b""])
def test_a_damaged_image_is_moved_aside(tmp_path: Path, content: bytes) -> None:
    environments = kept(tmp_path)
    environments.path(KEY).write_bytes(content)
    assert environments.find(KEY) is None
    assert [path.name for path in (tmp_path / "environments").iterdir()] == [f"{KEY}.damaged"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"problem": "", "beside": 1, "size": 5, "sha256": ""}', "null"])
def test_an_entry_with_a_damaged_record_is_removed(tmp_path: Path, text: str) -> None:
    environments = kept(tmp_path)
    (tmp_path / "environments" / f"{KEY}.json").write_text(text)
    assert environments.find(KEY) is None
    assert list((tmp_path / "environments").iterdir()) == []


def test_an_image_without_a_record_is_none_and_left_files_are_removed(tmp_path: Path) -> None:
    environments = kept(tmp_path)
    (tmp_path / "environments" / f"{KEY}.json").unlink()
    assert environments.find(KEY) is None
    (tmp_path / "environments" / f".{KEY}.new.moved").write_bytes(b"left")
    environments.prepare(KEY)
    assert list((tmp_path / "environments").iterdir()) == []


def test_a_problem_is_remembered_without_an_image(tmp_path: Path) -> None:
    environments = Environments(tmp_path / "environments")
    environments.keep(KEY, environments.prepare(KEY), TOOLCHAIN, {}, "the image has other files at /app")
    found = environments.find(KEY)
    assert found is not None
    assert found.problem == "the image has other files at /app"
    assert not found.image.exists()


@pytest.mark.parametrize(
    ("text", "mode"),
    [("rwxr-xr-x", 0o755), ("rwx------", 0o700), ("rwxrwxrwt", 0o1777), ("rwsr-Sr-T", 0o7744), ("---------", 0)],
)
def test_permissions_are_read_as_unsquashfs_shows_them(text: str, mode: int) -> None:
    assert mode_of(text) == mode


def test_the_time_of_an_image_is_a_number_of_seconds() -> None:
    assert epoch_of({}) == epoch_of({"SOURCE_DATE_EPOCH": ""}) == 315_532_800
    assert epoch_of({"SOURCE_DATE_EPOCH": "1700000000"}) == 1_700_000_000
    for text in ("yesterday", "-1", "1.5", "4294967296", "9" * 30, " 5", "\u0665"):
        with pytest.raises(ConfigError, match="SOURCE_DATE_EPOCH is"):
            epoch_of({"SOURCE_DATE_EPOCH": text})
