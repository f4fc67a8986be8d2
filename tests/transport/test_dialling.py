import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpcdeploy.transport.dialling import GREETING, dial
from hpcdeploy.transport.ssh_settings import Hop, look_up, this_person
from tests.transport.conftest import Client
from tests.transport.sshd import Server

LINE = f"{GREETING}\r\n".encode()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        yield listener


def test_a_server_is_greeted_before_it_says_anything(client: Client, listener: socket.socket) -> None:
    client.host("cluster", listener.getsockname()[1])
    line = dial(look_up(Hop(host="cluster"), config=str(client.config), person=this_person(), ssh=None))
    try:
        visitor, _ = listener.accept()
        with visitor:
            assert visitor.recv(1000) == LINE
            # A library that sends the greeting later, as paramiko does, sends it once; its other data is sent.
            assert line.socket.send(LINE) == len(LINE)
            assert line.socket.send(b"more") == 4
            assert line.socket.send(LINE) == len(LINE)
            assert visitor.recv(4) == b"more"
            assert visitor.recv(len(LINE)) == LINE
    finally:
        line.close()
        line.close()


@pytest.mark.parametrize("jump", [False, True])
def test_every_server_on_the_way_hears_who_we_are_once(
    client: Client, start_server: Callable[..., Server], *, jump: bool
) -> None:
    server, door = start_server("LogLevel DEBUG1"), start_server("LogLevel DEBUG1")
    client.host("door", door)
    client.host("cluster", server, *(["ProxyJump door"] if jump else []))
    with client.open("cluster") as transport:
        assert transport.run(["true"]).exit_code == 0
    for one in (server, door) if jump else (server,):
        assert one.log().count(f"remote software version {GREETING.removeprefix('SSH-2.0-')}") == 1


def test_a_family_that_the_kernel_does_not_know_holds_up_no_other(
    client: Client, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.host("cluster", listener.getsockname()[1])
    unknown = (12345, socket.SOCK_STREAM, 0, "", ("::1", 22))
    known = (socket.AF_INET, socket.SOCK_STREAM, 0, "", listener.getsockname())
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [unknown, known])
    dial(look_up(Hop(host="cluster"), config=str(client.config), person=this_person(), ssh=None)).close()


def test_a_proxy_command_that_does_not_want_to_end_is_ended(client: Client, tmp_path: Path) -> None:
    stubborn = f"sh -c 'trap \"\" TERM; echo $$ >{tmp_path}/pid; while :; do sleep 1; done'"
    client.host("cluster", 22, f"ProxyCommand {stubborn}")
    line = dial(look_up(Hop(host="cluster"), config=str(client.config), person=this_person(), ssh=None))
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        pass
    line.close()
    assert not Path(f"/proc/{int((tmp_path / 'pid').read_text())}").exists()
