"""A log that is followed over a connection that dies: what is reported, how long is waited, and what is raised."""

import secrets
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConnectionLostError, TransportError
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.logs import LogReader, Piece
from hpcdeploy.remote.session import RetryPolicy
from hpcdeploy.transport.contract import Completed
from hpcdeploy.transport.local import LocalTransport
from tests.scheduler.samples import PLAIN, run_of

SECTIONS = (("ended", ""), ("out.0", "x"), ("err.0", ""))
ANSWER = "".join(f"HPCDEPLOY fence begin {name}\n{text}\nHPCDEPLOY fence end {name} 0\n" for name, text in SECTIONS)


class Dying(LocalTransport):
    """A login node where a task has written x, and whose connection dies in the calls that are `lost`."""

    def __init__(self, lost: Sequence[bool]) -> None:
        super().__init__()
        self.lost = list(lost)

    def run(self, argv: Sequence[str], **_options: Any) -> Completed:
        if self.lost.pop(0):
            raise ConnectionLostError("the connection died")
        return Completed(exit_code=0, stdout=f"HPCDEPLOY begins\n{ANSWER}".encode(), stderr=b"")


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Callable[..., LogReader]:
    monkeypatch.setattr(secrets, "token_hex", lambda _bytes: "fence")

    def over(*lost: bool, **options: Any) -> LogReader:
        node = Dying(lost)
        session = Connections(lambda _: node, retry=RetryPolicy(longest=4)).to(Cluster(name="hpc"))
        return LogReader(session=session, run=run_of(PLAIN), **options)

    return over


def test_pauses_after_losses_grow_up_to_a_limit_and_begin_anew_after_an_answer(reader: Callable[..., LogReader]) -> None:
    pauses: list[float] = []
    reports: list[str] = []
    lost = (False, True, True, True, False, True)
    log = reader(*lost, pause=pauses.append, report=reports.append, interval=2.0)
    answers = [log.keep_reading([0]) for _ in lost]
    assert [answer is None for answer in answers] == list(lost)
    assert answers[0] == [Piece(task=0, out=b"x", err=b"")]
    assert pauses == [3.0, 4.0, 4.0, 3.0]
    assert reports == ["the connection died"] * 4
    assert log.offsets == {0: (2, 0)}


def test_a_first_connection_that_fails_is_an_error(reader: Callable[..., LogReader]) -> None:
    with pytest.raises(TransportError, match="the connection died"):
        reader(True).keep_reading([0])
