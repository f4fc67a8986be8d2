import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcdeploy.errors import HpcdeployError, TransportError
from hpcdeploy.transport.prompts import Ahead, Ask
from hpcdeploy.transport.ssh import SshTransport
from tests.transport.conftest import Client
from tests.transport.sshd import Server

PATIENCE = 30.0


class Bin:
    """Collect results that were not used."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._came = threading.Event()

    def take(self, made: str) -> None:
        self.found.append(made)
        self._came.set()

    def wait(self) -> None:
        assert self._came.wait(PATIENCE)


def never(_question: str, _visible: bool) -> str:
    raise AssertionError("there must be no prompt")


def asking(ask: Ask | None) -> str:
    assert ask is not None
    return f"{ask('Code: ', False)} {ask('Place: ', True)}"


def test_what_was_made_is_the_result() -> None:
    assert Ahead(lambda _ask: "made", never, Bin().take).result() == "made"


def test_what_went_wrong_is_raised_where_the_result_is_wanted() -> None:
    def fail(_ask: Ask | None) -> str:
        raise TransportError("no way")

    with pytest.raises(TransportError, match="no way"):
        Ahead(fail, None, Bin().take).result()


def test_questions_are_put_by_whoever_wants_the_result() -> None:
    asked: list[tuple[str, bool, threading.Thread]] = []

    def ask(question: str, visible: bool) -> str:
        asked.append((question, visible, threading.current_thread()))
        return question[0]

    ahead = Ahead(asking, ask, Bin().take)
    assert not asked
    assert ahead.result() == "C P"
    here = threading.current_thread()
    assert asked == [("Code: ", False, here), ("Place: ", True, here)]


def test_where_nobody_can_be_asked_that_is_known() -> None:
    assert Ahead(lambda ask: "nobody" if ask is None else "somebody", None, Bin().take).result() == "nobody"


def test_an_interrupt_at_a_question_ends_it() -> None:
    ended = threading.Event()

    def make(ask: Ask | None) -> str:
        try:
            return asking(ask)
        finally:
            ended.set()

    def interrupt(_question: str, _visible: bool) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Ahead(make, interrupt, Bin().take).result()
    assert ended.wait(PATIENCE)


@pytest.mark.parametrize("late", [True, False])
def test_what_nobody_takes_is_let_go_of(late: bool) -> None:
    go, waste = threading.Event(), Bin()

    def make(_ask: Ask | None) -> str:
        assert go.wait(PATIENCE)
        return "made"

    ahead = Ahead(make, None, waste.take)
    steps: list[Callable[[], None]] = [ahead.abandon, go.set]
    for step in steps if late else reversed(steps):
        step()
    waste.wait()
    assert waste.found == ["made"]


def test_a_connection_that_was_begun_serves_the_commands(client: Client, start_server: Callable[..., Server]) -> None:
    server = start_server()
    client.host("cluster", server)
    with client.open("cluster") as transport:
        transport.begin(["true"])
        transport.begin(["true"])
        assert transport.run(["true"]).exit_code == 0
        transport.begin(["true"])
        assert transport.run(["true"]).exit_code == 0
        assert server.log().count("Accepted publickey") == 1


def test_a_command_that_was_begun_is_the_one_that_runs(client: Client, start_server: Callable[..., Server]) -> None:
    server = start_server("LogLevel VERBOSE")
    client.host("cluster", server)
    with client.open("cluster") as transport:
        transport.begin(["sh", "-s"])
        while server.log().count("Starting session: command") < 1:
            pass
        assert transport.run(["sh", "-s"], stdin=b"echo fed").stdout == b"fed\n"
        assert server.log().count("Starting session: command") == 1
        assert transport.run(["sh", "-s"], stdin=b"echo again").stdout == b"again\n"
        assert server.log().count("Starting session: command") == 2


def test_another_command_than_the_one_that_was_begun_runs_alone(
    client: Client, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = start_server()
    client.host("cluster", server)
    with client.open("cluster") as transport:
        transport.begin(["sh", "-c", f"read line; echo $line >{tmp_path}/fed"])
        while "Accepted publickey" not in server.log():
            pass
        assert transport.run(["cat"], stdin=b"mine\n").stdout == b"mine\n"
    while server.sessions():
        pass
    assert not (tmp_path / "fed").exists() or (tmp_path / "fed").read_text() == "\n"


def test_what_goes_wrong_ahead_is_told_by_the_first_command_and_the_next_tries_anew(
    client: Client, start_server: Callable[..., Server]
) -> None:
    server = start_server()
    client.host("cluster", server, known=False)
    with SshTransport("cluster", config=str(client.config), ask=lambda: None) as transport:
        transport.begin(["true"])
        with pytest.raises(HpcdeployError, match="unknown"):
            transport.run(["true"])
        client.knows(server.known_hosts())
        assert transport.run(["true"]).exit_code == 0


def test_a_connection_that_was_begun_for_nothing_is_closed(client: Client, start_server: Callable[..., Server]) -> None:
    server = start_server("LogLevel VERBOSE")
    client.host("cluster", server)
    transport = client.open("cluster")
    transport.begin(["true"])
    while "Accepted publickey" not in server.log():
        pass
    transport.close()
    while server.sessions():
        pass


def test_a_connection_that_died_before_anything_ran_on_it_is_made_anew(
    client: Client, start_server: Callable[..., Server]
) -> None:
    server = start_server("LogLevel VERBOSE")
    client.host("cluster", server)
    with client.open("cluster") as transport:
        transport.begin(["sh", "-s"])
        while "Starting session: command" not in server.log():
            pass
        server.signal_sessions(signal.SIGKILL)
        while server.sessions():
            pass
        time.sleep(0.5)  # until it is noticed here
        assert transport.run(["sh", "-s"], stdin=b"echo fed").stdout == b"fed\n"


def test_a_proxy_command_that_still_connects_ends_with_the_program(client: Client, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    client.host("cluster", 1, f"ProxyCommand sh -c 'echo $$ >{note}; exec sleep 300'")
    program = (
        "import pathlib, sys\n"
        "from hpcdeploy.transport.ssh import SshTransport\n"
        "with SshTransport('cluster', config=sys.argv[1], ask=lambda: None) as transport:\n"
        "    transport.begin(['true'])\n"
        "    while not pathlib.Path(sys.argv[2]).exists(): pass\n"
    )
    subprocess.run([sys.executable, "-c", program, str(client.config), str(note)], check=True, timeout=PATIENCE)
    assert ended(int(note.read_text()))


def ended(pid: int) -> bool:
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
    os.kill(pid, signal.SIGKILL)
    return False
