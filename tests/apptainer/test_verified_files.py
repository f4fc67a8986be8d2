"""A recorded checksum counts exactly while the file is unchanged."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcdeploy.apptainer import verified_files
from hpcdeploy.apptainer.verified_files import VerifiedFiles
from hpcdeploy.whole_file import sha256_of


@pytest.fixture
def verified(tmp_path: Path) -> VerifiedFiles:
    (tmp_path / "cache").mkdir(mode=0o700)
    return VerifiedFiles(tmp_path / "cache" / "verified")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read."""
    read: list[Path] = []

    def noting(path: Path) -> str:
        read.append(path)
        return sha256_of(path)

    monkeypatch.setattr(verified_files, "sha256_of", noting)
    return read


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "x.sif"
    path.write_bytes(b"one")
    return path


def test_a_file_that_was_just_written_is_read_once(verified: VerifiedFiles, reads: list[Path], image: Path) -> None:
    assert [verified.sha256(image) for _ in range(3)] == [sha256_of(image)] * 3
    assert reads == [image]
    assert VerifiedFiles(verified.folder).sha256(image) == sha256_of(image)
    assert reads == [image]


def rewrite(path: Path) -> None:
    path.write_bytes(b"two")


def rewrite_with_old_times(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_by_another(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"two")
    other.replace(path)


@pytest.mark.parametrize("change", [rewrite, rewrite_with_old_times, replace_by_another])
def test_any_change_is_seen_at_once(verified: VerifiedFiles, image: Path, change: Callable[[Path], None]) -> None:
    verified.sha256(image)
    change(image)
    assert verified.sha256(image) == sha256_of(image)


def test_another_name_of_the_same_file_is_not_read(verified: VerifiedFiles, reads: list[Path], image: Path) -> None:
    verified.sha256(image)
    with verified.renaming(image):
        os.link(image, image.with_name("y.sif"))
    assert verified.sha256(image.with_name("y.sif")) == verified.sha256(image)
    assert reads == [image]


def test_a_file_that_changes_while_it_gets_a_name_is_read_again(verified: VerifiedFiles, image: Path) -> None:
    verified.sha256(image)
    with verified.renaming(image):
        rewrite(image)
    assert verified.sha256(image) == sha256_of(image)


@pytest.mark.parametrize("damage", ["", "{", '{"signature": [1], "sha256": "x"}', "[]"])
def test_a_damaged_record_does_not_count(verified: VerifiedFiles, image: Path, damage: str) -> None:
    verified.sha256(image)
    [record] = verified.folder.iterdir()
    record.write_text(damage)
    assert verified.sha256(image) == sha256_of(image)


def test_a_record_that_others_could_have_written_does_not_count(verified: VerifiedFiles, image: Path) -> None:
    verified.sha256(image)
    [record] = verified.folder.iterdir()
    record.write_text(json.dumps({**json.loads(record.read_text()), "sha256": "0" * 64}))
    verified.folder.chmod(0o777)
    assert verified.sha256(image) == sha256_of(image)


def test_a_checksum_that_cannot_be_recorded_is_computed(tmp_path: Path, image: Path) -> None:
    (tmp_path / "file").touch()
    assert VerifiedFiles(tmp_path / "file" / "verified").sha256(image) == sha256_of(image)


def test_a_time_without_fractions_is_recorded_only_when_it_is_old(
    verified: VerifiedFiles, reads: list[Path], image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VerifiedFiles, "_has_fractions", lambda _self, _signed: False)
    for _ in range(2):
        verified.sha256(image)
    assert reads == [image, image]


def test_records_of_files_that_are_gone_are_removed(verified: VerifiedFiles, image: Path, tmp_path: Path) -> None:
    other = tmp_path / "y.sif"
    other.write_bytes(b"other")
    for path in (image, other):
        verified.sha256(path)
    other.unlink()
    verified.remove_stale()
    assert len(list(verified.folder.iterdir())) == 1
