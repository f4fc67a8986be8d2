"""Files that another user may have written: limits of reading them, and rejection before they are opened."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcdeploy.regular_file import UnsuitableFileError, open_regular, read_chosen, read_regular
from tests.special_files import SPECIAL


def test_a_file_is_read_up_to_the_limit_and_no_further(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for size in (0, 1, 99, 100):
        file.write_bytes(b"x" * size)
        assert read_regular(file, 100) == b"x" * size
    file.write_bytes(b"x" * 101)
    for read in (read_regular, read_chosen):
        with pytest.raises(UnsuitableFileError, match=r"101 bytes, above the limit of 100 |more than 100 bytes, the limit"):
            read(file, 100)


def test_a_file_that_has_no_size_is_read_up_to_the_limit_too() -> None:
    file = Path("/proc/self/status")
    assert file.stat().st_size == 0
    assert read_regular(file, 100_000).startswith(b"Name:")
    with pytest.raises(UnsuitableFileError, match="more than 10 bytes"):
        read_regular(file, 10)


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("by_link", [False, True])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path, kind: str, by_link: bool) -> None:
    file = tmp_path / "file"
    with SPECIAL[kind](file):
        if by_link:
            file, to = tmp_path / "link", file
            file.symlink_to(to)
        for read in (lambda: read_regular(file, 100), lambda: open_regular(file)):
            with pytest.raises(UnsuitableFileError) as refused:
                read()
            assert refused.value.strerror == str(refused.value) == f"it is {kind}; expected a regular file"
            assert refused.value.filename == str(file)


def test_a_folder_is_what_the_system_calls_it(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        read_regular(tmp_path, 100)


@pytest.mark.usefixtures("in_time")
def test_a_pipe_that_a_person_named_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for text, fits in (("value", True), ("x" * 200_000, True), ("x" * 300_001, False)):
        with subprocess.Popen(["sh", "-c", f'printf %s "$(printf "%0{len(text)}d" 0)" >"$1"', "sh", str(pipe)]):
            if fits:
                assert read_chosen(pipe, 300_000) == b"0" * len(text)
            else:
                with pytest.raises(UnsuitableFileError, match="more than 300000 bytes"):
                    read_chosen(pipe, 300_000)


@pytest.mark.usefixtures("in_time")
def test_what_becomes_a_pipe_while_it_is_opened_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    opened: Callable[..., int] = os.open

    def swapped(path: Path, flags: int, *words: int) -> int:
        file.unlink()
        os.mkfifo(file)
        return opened(path, flags, *words)

    monkeypatch.setattr("hpcdeploy.regular_file.os.open", swapped)
    with pytest.raises(UnsuitableFileError, match="a named pipe"):
        read_regular(file, 100)
