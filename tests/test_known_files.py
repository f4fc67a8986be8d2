"""Files that did not change are not read a second time, and files that may have changed are."""

import json
import os
import time
from pathlib import Path

import pytest

from hpcdeploy.known_files import GRAIN_NS, KnownFiles, digest_of, document_of, remembering, text_of
from hpcdeploy.whole_file import sha256_of


def later() -> int:
    return time.time_ns() + GRAIN_NS + 10_000_000


def forged(known: KnownFiles) -> KnownFiles:
    """Return the memory with other content than the files have: what is told of them then cannot have been read."""
    values = json.loads(known.written())
    files = [[*entry[:5], "f" * 64, entry[6] and "forged"] for entry in values["files"]]
    return KnownFiles(json.dumps({**values, "files": files}), now=later)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(b"one\r\n")
    return path


def test_an_unchanged_file_is_not_read_again(file: Path) -> None:
    first = KnownFiles(now=later)
    assert first.sha256(file) == sha256_of(file)
    assert first.text(file) == "one\r\n"
    assert first.learned
    again = forged(first)
    assert (again.sha256(file), again.text(file)) == ("f" * 64, "forged")
    assert not again.learned
    assert again.read == {file: "f" * 64}


def test_what_a_command_did_not_use_is_forgotten(file: Path, tmp_path: Path) -> None:
    first = KnownFiles(now=later)
    first.sha256(file)
    second = KnownFiles(first.written(), now=later)
    (tmp_path / "other").write_bytes(b"")
    second.sha256(tmp_path / "other")
    assert len(json.loads(second.written())["files"]) == 1


@pytest.mark.parametrize("change", ["content", "size", "time", "another file"])
def test_a_changed_file_is_read_again(file: Path, change: str) -> None:
    first = KnownFiles(now=later)
    first.sha256(file)
    status = file.stat()
    if change == "content":  # and the time set back to what it was, as cp -p and tar do
        file.write_bytes(b"two\r\n")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "size":
        file.write_bytes(b"one")
    elif change == "time":
        os.utime(file, ns=(1, 1))
    else:
        other = file.with_name("new")
        other.write_bytes(b"two\r\n")
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        other.replace(file)
    assert forged(first).sha256(file) == sha256_of(file)


def test_a_file_that_was_just_written_is_read_again(file: Path) -> None:
    # Within one tick of the clock it may be changed once more and look the same.
    changed = max(file.stat().st_mtime_ns, file.stat().st_ctime_ns)
    for age, trusted in ((0, False), (GRAIN_NS - 1, False), (GRAIN_NS, True)):
        first = KnownFiles(now=lambda age=age: changed + age)  # type: ignore[misc]
        first.sha256(file)
        assert (forged(first).sha256(file) == "f" * 64) is trusted, age


def test_a_file_of_the_future_is_read_again(file: Path) -> None:
    ahead = time.time_ns() + 3600 * 1_000_000_000
    os.utime(file, ns=(ahead, ahead))
    first = KnownFiles(now=later)
    first.sha256(file)
    assert not first.learned


def test_a_text_that_is_not_to_be_kept_is_not_in_the_memory(file: Path) -> None:
    first = KnownFiles(now=later)
    assert first.text(file, keep=lambda _text: False) == "one\r\n"
    assert "one" not in first.written()
    assert forged(first).sha256(file) == "f" * 64
    assert forged(first).text(file) == "one\r\n"


def test_a_document_is_parsed_once_if_json_gives_it_back() -> None:
    calls: list[int] = []

    def parse() -> dict[str, object]:
        calls.append(1)
        return {"a": [1, None, "x"]}

    first = KnownFiles()
    assert first.document("text", parse) == {"a": [1, None, "x"]}
    again = KnownFiles(first.written())
    assert again.document("text", parse) == {"a": [1, None, "x"]}
    assert (len(calls), again.learned) == (1, False)
    again.document("other text", parse)
    assert (len(calls), again.learned) == (2, True)
    assert KnownFiles(first.written()).document("pairs", lambda: {"a": (1, 2)}) == {"a": (1, 2)}
    assert "pairs" not in json.loads(first.written())["documents"]


@pytest.mark.parametrize("text", ["{", "[]", '{"files": [[1]], "documents": {}}', '{"files": 1}'])
def test_a_memory_that_cannot_be_read_is_none(text: str, file: Path) -> None:
    assert KnownFiles(text).sha256(file) == sha256_of(file)


def test_the_memory_in_use_is_asked_and_no_other(file: Path) -> None:
    with remembering(KnownFiles(now=later)) as known:
        assert digest_of(file) == sha256_of(file)
        assert document_of("x", lambda: {"a": 1}) == {"a": 1}
    with remembering(forged(known)):
        assert digest_of(file) == "f" * 64
    assert digest_of(file) == sha256_of(file)
    assert text_of(file) == "one\r\n"
    assert document_of("x", lambda: {"a": 2}) == {"a": 2}
