"""Lines of several tasks, told apart."""

from pathlib import Path

from hpcdeploy.cli.logs import numbered
from hpcdeploy.flows.logs import Piece
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


def test_a_task_that_wrote_nothing_is_said_to_have_and_where_to_look(tmp_path: Path) -> None:
    project = Project(tmp_path)
    store = Store(default_path(project.environment))
    store.add(RUN, "")
    store.submitted(RUN)
    done = project.run("logs")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "note: nothing is written so far; where it is: hpcdeploy status train-1\n"
    assert project.run("logs", "--json").stderr == ""
