"""One connection to a cluster, shared by its sessions: when it is opened, closed, kept, and when a call is repeated."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConnectionLostError, OverLimitError, SchedulerError, TransportError
from hpcdeploy.limits import OutputLimit
from hpcdeploy.progress import ignore_output
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.session import RetryPolicy, ScriptResult
from hpcdeploy.transport.contract import Completed, Input, Output
from hpcdeploy.transport.local import LocalTransport

CLUSTER = Cluster(name="hpc")


class Counted(LocalTransport):
    """A transport whose closings are counted, and whose commands end as `completed`."""

    def __init__(self, completed: Completed | None = None) -> None:
        super().__init__()
        self.closed = 0
        self.completed = completed or Completed(exit_code=0, stdout=b"HPCDEPLOY begins\n", stderr=b"")

    def close(self) -> None:
        self.closed += 1

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Input = b"",
        on_stdout: Output = ignore_output,
        on_stderr: Output = ignore_output,
        timeout: float | None = None,
        limit: OutputLimit | None = None,
    ) -> Completed:
        on_stderr(self.completed.stderr)
        return self.completed


class Opened:
    """Opens transports, and keeps them."""

    def __init__(self) -> None:
        self.transports: list[Counted] = []

    def __call__(self, _cluster: Cluster) -> Counted:
        self.transports.append(Counted())
        return self.transports[-1]


@pytest.mark.parametrize("losses", range(4))
def test_a_lost_connection_is_opened_again_for_each_attempt(losses: int) -> None:
    opened, left = Opened(), [ConnectionLostError("lost")] * losses
    with Connections(opened, retry=RetryPolicy(pauses=(0, 0, 0))) as connections:
        session = connections.to(CLUSTER)

        def attempt() -> str:
            session.run("script")
            if left:
                raise left.pop()
            return "done"

        assert session.repeat(attempt) == "done"
        assert len(opened.transports) == losses + 1
        assert [one.closed for one in opened.transports] == [1] * losses + [0]
    assert opened.transports[-1].closed == 1


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (ConnectionLostError("lost"), 3),
        (OverLimitError("too long"), 1),
        (TransportError("no"), 1),
        (SchedulerError("no"), 1),
    ],
)
def test_only_a_lost_connection_is_worth_another_attempt(error: Exception, attempts: int) -> None:
    made: list[int] = []

    def attempt() -> None:
        made.append(1)
        raise error

    with Connections(Opened(), retry=RetryPolicy(pauses=(0, 0))) as connections, pytest.raises(type(error)):
        connections.to(CLUSTER).repeat(attempt)
    assert len(made) == attempts


def test_a_connection_that_another_thread_uses_is_abandoned_and_not_closed() -> None:
    opened = Opened()
    with Connections(opened) as connections:
        session = connections.to(CLUSTER)
        other = session.pinned()
        other.run("script")
        session.abandon()
        session.run("script")
        other.run("script")
        assert len(opened.transports) == 2
        other.reconnect()
        assert [one.closed for one in opened.transports] == [1, 0]
        session.run("script")
        assert len(opened.transports) == 2


def test_a_pinned_session_that_loses_its_connection_takes_it_from_the_others_too() -> None:
    opened = Opened()
    with Connections(opened) as connections:
        session = connections.to(CLUSTER)
        other = session.pinned()
        other.run("script")
        other.reconnect()
        session.run("script")
    assert [one.closed for one in opened.transports] == [1, 1]


def test_two_projects_share_a_connection_and_keep_their_templates(tmp_path: Path) -> None:
    opened = Opened()
    with Connections(opened, overrides=tmp_path / "a") as connections:
        first, second = connections.to(CLUSTER), connections.for_project(tmp_path / "b").to(CLUSTER)
        first.run("script")
        second.run("script")
    assert (first.overrides, second.overrides) == (tmp_path / "a", tmp_path / "b")
    assert [one.closed for one in opened.transports] == [1]


@pytest.mark.parametrize(
    ("exit_code", "number"), [(0, 0), (15, 0), (128, 0), (129, 1), (137, 9), (-9, 9), (192, 64), (193, 0)]
)
def test_a_signal_is_known_from_both_ways_to_report_it(exit_code: int, number: int) -> None:
    completed = Completed(exit_code=exit_code, stdout=b"", stderr=b"")
    assert ScriptResult(where="hpc", completed=completed, message="").signal == number


@pytest.mark.parametrize("exit_code", [0, 1, 15])
def test_a_shell_that_did_not_read_the_script_is_an_error(exit_code: int) -> None:
    silent = Counted(Completed(exit_code=exit_code, stdout=b"welcome\n", stderr=b"profile: exit\n"))
    with Connections(lambda _: silent) as connections, pytest.raises(SchedulerError, match=r"login shell .* profile: exit"):
        connections.to(CLUSTER).run("script")


def test_a_script_that_a_signal_killed_is_left_to_the_caller() -> None:
    killed = Counted(Completed(exit_code=-9, stdout=b"", stderr=b""))
    with Connections(lambda _: killed) as connections:
        assert connections.to(CLUSTER).run("script").signal == 9
