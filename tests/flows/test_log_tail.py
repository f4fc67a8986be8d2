"""``logs --tail``: the last lines of each stream, of which nothing else is read, and everything that is written later."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import SchedulerError
from hpcdeploy.flows import logs
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.logs import LogReader, Piece
from hpcdeploy.remote.session import Session
from hpcdeploy.run import Run, RunStatus
from hpcdeploy.transport.local import LocalTransport
from tests.scheduler.samples import TRAIN, run_of

RUN = run_of(TRAIN, job_id="7")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("logs", "tasks"):
        (tmp_path / "runs" / RUN.id / name).mkdir(parents=True)
    return tmp_path / "runs" / RUN.id


def session(folder: Path) -> Session:
    root = str(folder.parent.parent)
    return Connections(lambda _: LocalTransport()).to(Cluster(name="here", host="local", root=root))


def reader(folder: Path, tail: int | None, run: Run = RUN) -> LogReader:
    return LogReader(session=session(folder), run=run, tail=tail)


def last(text: bytes, lines: int) -> bytes:
    return b"".join(text.splitlines(keepends=True)[-lines:]) if lines else b""


@pytest.mark.parametrize("tail", [0, 1, 3, 10_000])
@pytest.mark.parametrize("text", [b"", b"one\n", b"one\ntwo\nthree\nfour\nopen", b"\n\n\n\n", b"x" * 200_000 + b"\ny\n"])
def test_the_first_read_starts_at_the_last_lines_and_the_next_one_continues(folder: Path, tail: int, text: bytes) -> None:
    out = folder / "logs" / "0.out"
    out.write_bytes(text)
    log = reader(folder, tail)
    found = log.read([0])
    expected = last(text, tail)
    assert b"".join(piece.out for piece in found) == expected
    with out.open("ab") as file:
        file.write(b"later\n")
    assert log.read([0]) == [Piece(task=0, out=b"later\n", err=b"")]
    assert log.offsets == {0: (len(text) + 6, 0)}


@settings(max_examples=15, deadline=None)  # each example starts a shell
@given(st.lists(st.integers(0, 40_000), max_size=12), st.integers(0, 12))
def test_any_lengths_of_lines(tmp_path_factory: pytest.TempPathFactory, lengths: list[int], tail: int) -> None:
    place = tmp_path_factory.mktemp("log") / "runs" / RUN.id
    (place / "logs").mkdir(parents=True)
    text = b"".join(b"." * length + b"\n" for length in lengths)
    (place / "logs" / "0.err").write_bytes(text)
    found = reader(place, tail).read([0])
    assert b"".join(piece.err for piece in found) == last(text, tail)


def test_of_a_large_log_only_the_end_is_sent(folder: Path) -> None:
    with (folder / "logs" / "0.out").open("wb") as file:
        file.truncate(3_000_000_000)  # sparse: reading it from the start would take long
        file.seek(0, 2)
        file.write(b"\nlast\n")
    known = RunStatus(run=RUN, tasks=(), asked=1)
    assert [piece.out for piece in logs.pieces(known, 0, session(folder), tail=1)] == [b"last\n"]
    assert logs.read(known, 0, session(folder), tail=1).out == b"last\n"


def test_each_task_starts_at_its_own_last_lines(folder: Path) -> None:
    for task, text in ((0, "a\nb\n"), (2, "c\nd\n")):
        (folder / "logs" / f"{task}.out").write_text(text)
    log = reader(folder, 1)
    assert {piece.task: piece.out for piece in log.read([0, 1, 2])} == {0: b"b\n", 2: b"d\n"}
    (folder / "logs" / "1.out").write_text("late\nlater\n")
    assert {piece.task: piece.out for piece in log.read([0, 1, 2])} == {1: b"late\nlater\n"}


def test_a_recorded_end_is_seen(folder: Path) -> None:
    (folder / "tasks" / "0.end").write_text("")
    log = reader(folder, None)
    log.read([0, 1])
    assert log.ended == {0}


@pytest.mark.parametrize("answer", ["", "1", "0 1", "x y", "1 2 3"])
def test_first_bytes_that_are_no_numbers_are_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    from hpcdeploy.remote import logs as module
    from hpcdeploy.scheduler.contract import Section

    sections = {name: Section(content=text.encode(), exit_code=0) for name, text in (("ended", ""), ("from.0", answer))}
    monkeypatch.setattr(module, "read_sections", lambda *_: sections)
    with pytest.raises(SchedulerError, match="could not be read"):
        reader(folder, 5).read([0])
