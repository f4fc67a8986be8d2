"""Files are written atomically, and a killed writer's incomplete file is removed by a later call."""

import fcntl
from pathlib import Path

import pytest

from hpcdeploy.whole_file import remove_parts, whole_file


def test_parts_of_killed_processes_are_removed_and_those_of_living_ones_are_kept(tmp_path: Path) -> None:
    target = tmp_path / "a[b].json"
    left, other = tmp_path / "a[b].json.part-0123", tmp_path / "ab.json.part-0123"
    left.touch()
    other.touch()
    with whole_file(target) as file:
        file.write(b"content")
        remove_parts(target)
        assert not left.exists()
    assert target.read_bytes() == b"content"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a[b].json", "ab.json.part-0123"]


def test_a_part_that_is_removed_before_it_is_locked_is_written_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, real, seen = tmp_path / "x", fcntl.flock, []

    def sweep_first(file: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        seen.append(operation)
        remove_parts(target)
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    with whole_file(target) as file:
        file.write(b"content")
    assert (target.read_bytes(), len(seen)) == (b"content", 1)
    assert list(tmp_path.iterdir()) == [target]
