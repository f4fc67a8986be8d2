"""The receiver of records, as a process: only right bytes are written, and listed, and nothing else is touched."""

import ast
import fcntl
import hashlib
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hpcdeploy.remote.answers import ranges_of, read_answer
from hpcdeploy.remote.records import LONGEST, Record
from hpcdeploy.templates import shipped_root
from tests.disks import small_disk
from tests.users import BOB

PROGRAM = (shipped_root() / "login" / "receive.py").read_text()
CONTENT = hashlib.sha256(b"content").digest() * 1000
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def part(folder: Path, ending: str = "records") -> Path:
    return folder / f".{SHA256}.{ending}"


def argv(folder: Path, size: int = SIZE, silence: float = 60, *, first: bool = True) -> list[str]:
    return [
        *(sys.executable, "-I", "-S", "-c", PROGRAM),
        *(str(folder), SHA256, str(size), str(silence), "yes" if first else "no"),
    ]


def received(folder: Path, sent: bytes = b"", *, size: int = SIZE, first: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv(folder, size, first=first), input=sent, capture_output=True, check=False)


def records(*starts: int, length: int = 1000) -> bytes:
    return b"".join(Record(start=start, data=CONTENT[start : start + length]).packed() for start in starts)


def answers(stdout: bytes, size: int = SIZE) -> Iterator[list[tuple[int, int]]]:
    for line in stdout.splitlines():
        if answer := read_answer(line):
            yield [(span.start, len(span)) for span in ranges_of(answer, size)]


def test_the_program_runs_on_the_oldest_python_and_is_one_quoted_word_of_the_script() -> None:
    ast.parse(PROGRAM, feature_version=(3, 6))
    assert set(PROGRAM) & set("'$`\\\0") <= {"\\"}
    assert PROGRAM.startswith("# --- login/receive.py: ")


def test_records_in_any_order_and_twice_are_written_and_listed(tmp_path: Path) -> None:
    done = received(tmp_path, records(5000, 0, 31000, 5000, 1000))
    assert (done.returncode, done.stderr) == (0, b"")
    assert list(answers(done.stdout)) == [[], *([(start, 1000)] for start in (5000, 0, 31000, 5000, 1000))]
    expected = bytearray(SIZE)
    for start in (0, 1000, 5000, 31000):
        expected[start : start + 1000] = CONTENT[start : start + 1000]
    assert part(tmp_path).read_bytes() == expected
    assert part(tmp_path).stat().st_mode & 0o777 == 0o600
    again = received(tmp_path)
    assert list(answers(again.stdout)) == [[(0, 2000), (5000, 1000), (31000, 1000)]]


def test_a_second_receiver_writes_into_the_same_file_and_does_not_list_what_it_has_not_written(tmp_path: Path) -> None:
    received(tmp_path, records(0))
    done = received(tmp_path, records(2000), first=False)
    assert list(answers(done.stdout)) == [[(2000, 1000)]]
    assert list(answers(received(tmp_path).stdout)) == [[(0, 1000), (2000, 1000)]]


@pytest.mark.parametrize("first", [True, False])
def test_a_second_receiver_makes_nothing(tmp_path: Path, first: bool) -> None:
    if first:
        received(tmp_path)
        part(tmp_path).unlink()
    done = received(tmp_path, records(0), first=False)
    assert (done.returncode, done.stderr) == (15, b"error: another call continues this upload\n")
    assert not part(tmp_path).exists()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (records(0)[:-1] + b"\0", b"the record at 0 arrived damaged"),
        (struct.pack(">QI32s", 0, 0, b""), b"a record of 0 bytes at 0 is too long, or beyond the end"),
        (struct.pack(">QI32s", SIZE - 999, 1000, b""), b"a record of 1000 bytes at 31001 is too long, or beyond the end"),
        (struct.pack(">QI32s", 2**64 - 1, 1, b""), b"beyond the end"),
        (struct.pack(">QI32s", 0, 2**32 - 1, b""), b"too long"),
    ],
)
def test_a_record_that_is_damaged_or_does_not_fit_is_refused_and_those_before_it_are_kept(
    tmp_path: Path, bad: bytes, reason: bytes
) -> None:
    done = received(tmp_path, records(3000) + bad + records(0))
    assert done.returncode == 11
    assert reason in done.stderr
    assert list(answers(received(tmp_path).stdout)) == [[(3000, 1000)]]
    assert part(tmp_path).stat().st_size == 4000


def test_a_record_has_a_maximum_length_however_large_the_file_is(tmp_path: Path) -> None:
    sent = struct.pack(">QI32s", 0, LONGEST + 1, b"")
    assert received(tmp_path, sent, size=2**40).returncode == 11
    data = bytes(LONGEST)
    assert received(tmp_path, Record(start=2**40 - LONGEST, data=data).packed(), size=2**40).returncode == 0


@pytest.mark.parametrize("length", [1, 43, 44, 45, 1043])
def test_a_record_that_is_cut_off_is_not_listed(tmp_path: Path, length: int) -> None:
    done = received(tmp_path, records(1000) + records(0)[:length])
    assert (done.returncode, done.stderr) == (15, b"error: the connection ended within a record\n")
    assert list(answers(received(tmp_path).stdout)) == [[(1000, 1000)]]


def test_an_empty_file_needs_no_record_and_takes_none(tmp_path: Path) -> None:
    done = received(tmp_path, size=0)
    assert (done.returncode, list(answers(done.stdout))) == (0, [[]])
    assert received(tmp_path, records(0, length=1), size=0).returncode == 11


@pytest.mark.parametrize(
    "torn", [b"\n", b"\n20", b"\n2000", b"\n2000 10", b"\n2000 1000", b"\n2000 1000 ", b"\nx y ;", b"\n;;"]
)
def test_a_line_of_the_journal_that_was_torn_counts_for_nothing(tmp_path: Path, torn: bytes) -> None:
    received(tmp_path, records(0))
    with part(tmp_path, "ranges").open("ab") as journal:
        journal.write(torn)
    received(tmp_path, records(4000))
    assert list(answers(received(tmp_path).stdout)) == [[(0, 1000), (4000, 1000)]]


def test_a_journal_without_its_file_is_of_an_earlier_upload(tmp_path: Path) -> None:
    received(tmp_path, records(0))
    part(tmp_path).unlink()
    assert list(answers(received(tmp_path).stdout)) == [[]]


@pytest.mark.parametrize(("here", "expected"), [(700, [(0, 700)]), (0, []), (SIZE, [(0, SIZE)]), (SIZE + 1, [])])
def test_what_a_single_stream_brought_is_continued(tmp_path: Path, here: int, expected: Sequence[tuple[int, int]]) -> None:
    part(tmp_path, "parcel").write_bytes((CONTENT + b"x")[:here])
    part(tmp_path, "ranges").write_bytes(b"\n5 5 ;")
    assert list(answers(received(tmp_path).stdout)) == [expected]
    assert part(tmp_path).read_bytes() == (CONTENT[:here] if expected else b"")


@pytest.mark.parametrize("ending", ["records", "ranges", "parcel"])
@pytest.mark.parametrize("kind", ["symlink", "hardlink", "fifo", "folder", "another's"])
def test_what_lies_in_the_way_is_refused_and_nothing_is_written_through_it(tmp_path: Path, ending: str, kind: str) -> None:
    folder, victim = tmp_path / "images", tmp_path / "thesis"
    folder.mkdir()
    received(folder, records(0))
    if ending == "parcel":
        part(folder).unlink()
    victim.write_bytes(b"thesis")
    planted = part(folder, ending)
    planted.unlink(missing_ok=True)
    match kind:
        case "symlink":
            planted.symlink_to(victim)
        case "hardlink":
            planted.hardlink_to(victim)
        case "fifo":
            os.mkfifo(planted)
        case "folder":
            planted.mkdir()
        case _:
            planted.touch()
            os.chown(planted, BOB, BOB)
    done = received(folder, records(1000))
    assert done.returncode == 10
    assert done.stderr.startswith(b"error: ")
    assert b"Traceback" not in done.stderr
    assert victim.read_bytes() == b"thesis"


def test_a_file_that_was_renamed_while_the_receiver_waited_for_it_gets_nothing(tmp_path: Path) -> None:
    received(tmp_path, records(0))
    with part(tmp_path).open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with subprocess.Popen(argv(tmp_path, first=False), stdin=-1, stdout=-1, stderr=-1) as late:
            assert late.stdin
            late.stdin.write(records(1000))
            late.stdin.flush()
            while not any(fd.samefile(part(tmp_path)) for fd in open_files(late.pid)):
                assert late.poll() is None
                time.sleep(0.01)
            part(tmp_path).rename(part(tmp_path, "parcel"))
            fcntl.flock(held, fcntl.LOCK_UN)
            _, errors = late.communicate()
    assert (late.returncode, errors) == (15, b"error: another call continues this upload\n")
    assert part(tmp_path, "parcel").read_bytes() == CONTENT[:1000]


def open_files(pid: int) -> list[Path]:
    return [fd for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.exists()]


def test_while_a_receiver_lives_nobody_gets_the_file_alone(tmp_path: Path) -> None:
    with subprocess.Popen(argv(tmp_path), stdin=-1, stdout=-1) as receiver:
        assert receiver.stdout
        while receiver.stdout.readline() != b'HPCDEPLOY {"have": []}\n':
            assert receiver.poll() is None
        with part(tmp_path).open("r+b") as file:
            with pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            receiver.kill()
            receiver.wait()
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_client_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    with subprocess.Popen(argv(tmp_path, silence=0.5), stdin=-1, stdout=-1, stderr=-1) as receiver:
        assert receiver.stdin
        assert receiver.stderr
        receiver.stdin.write(records(0) + records(1000)[:500])
        receiver.stdin.flush()
        assert receiver.stderr.read() == b"error: received nothing for 0.5 s\n"
    assert receiver.returncode == 15
    assert part(tmp_path).read_bytes() == CONTENT[:1000]


def test_a_client_that_takes_no_answer_loses_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(argv(tmp_path), stdin=-1, stdout=-1, stderr=-1) as receiver:
        assert receiver.stdin
        assert receiver.stdout
        receiver.stdout.close()
        receiver.stdin.write(records(0, 1000))
        receiver.stdin.close()
        assert receiver.wait() == 0
    assert list(answers(received(tmp_path).stdout)) == [[(0, 2000)]]


def test_a_full_disk_is_one_message_and_what_came_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    with small_disk(folder, "1m"):
        large = bytes(range(256)) * 1200
        sent = b"".join(Record(start=start, data=large).packed() for start in range(0, 3_072_000, len(large)))
        done = subprocess.run(argv(folder, 3_072_000), input=sent, capture_output=True, check=False)
        assert done.returncode == 10
        [line] = done.stderr.splitlines()
        assert b"No space left on device: make room there" in line
        [have] = answers(
            subprocess.run(argv(folder, 3_072_000), input=b"", capture_output=True, check=True).stdout, 3_072_000
        )
        [(start, length)] = have
        assert start == 0
        assert length % len(large) == 0
        assert 0 < length < 2**20
