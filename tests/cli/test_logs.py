"""Lines of several tasks, told apart."""

from dataclasses import replace
from pathlib import Path

from hpcdeploy.cli.logs import numbered
from hpcdeploy.remote.logs import Piece
from hpcdeploy.store import Store, default_path
from tests.cli.test_templates import RUN, Project


def test_each_line_has_its_tasks_number_and_none_is_broken_in_two() -> None:
    pieces = [
        Piece(task=3, out=b"begins\nhalf of", err=b""),
        Piece(task=11, out=b"another\n", err=b"caf\xe9\n"),
        Piece(task=3, out=b" a line\n", err=b"no end"),
    ]
    told = list(numbered(pieces, 12))
    assert b"".join(piece.out for piece in told) == b"[ 3] begins\n[11] another\n[ 3] half of a line\n"
    assert b"".join(piece.err for piece in told) == b"[11] caf\xe9\n[ 3] no end\n"


def test_what_was_written_once_is_told_once() -> None:
    assert [piece.out for piece in numbered([Piece(task=0, out=b"a\n", err=b"")], 2)] == [b"[0] a\n"]


def test_progress_that_is_written_over_itself_is_told_as_it_goes() -> None:
    def told(*pieces: bytes) -> list[bytes]:
        return [piece.out for piece in numbered([Piece(task=0, out=out, err=b"") for out in pieces], 2)]

    assert told(b"10 %\r20 %\r", b"30 %\rdone\n") == [b"[0] 20 %\n", b"[0] done\n"]
    # What tqdm writes: the carriage return comes first. A line is never told before all of it is there.
    assert told(b"\r10 %", b"\r20 %\r3", b"0 %", b"\n") == [b"", b"[0] 20 %\n", b"", b"[0] 30 %\n"]
    assert told(b"100 %\r", b"\n", b"\n") == [b"[0] 100 %\n", b"", b"[0] \n"]
    assert told(b"a\r\nb\r", b"\nc\r\n\r\n") == [b"[0] a\n[0] b\n", b"[0] c\n[0] \n"]
    assert told(b"5 %\r", b"5 %\r", b"5 %\n", b"5 %\n") == [b"[0] 5 %\n", b"", b"", b"[0] 5 %\n"]
    assert told(b"1\r2") == [b"[0] 1\n", b"[0] 2\n"]


def test_progress_of_output_and_errors_is_told_apart() -> None:
    pieces = [Piece(task=1, out=b"out\r", err=b"er"), Piece(task=1, out=b"\n", err=b"r\r")]
    found = [(piece.out, piece.err) for piece in numbered(pieces, 2)]
    assert found == [(b"[1] out\n", b""), (b"", b"[1] err\n")]


def test_a_task_that_wrote_nothing_is_said_to_have_and_where_to_look(tmp_path: Path) -> None:
    project = Project(tmp_path)
    store = Store(default_path(project.environment))
    store.add(replace(RUN, project=str(tmp_path)), "")
    store.submitted(RUN)
    done = project.run("logs")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "note: there is no output yet; check the state with: hpcdeploy status train-1\n"
    assert project.run("logs", "--json").stderr == ""
