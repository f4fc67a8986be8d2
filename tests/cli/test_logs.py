"""Lines of several tasks, told apart."""

from hpcdeploy.cli.logs import numbered
from hpcdeploy.flows.logs import Piece


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
