"""What goes wrong once a command runs over SSH, and what a login node may be like, whichever transport speaks."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcdeploy.errors import ConnectionLostError, TransportError
from hpcdeploy.transport.streamed import StreamedTransport
from tests.transport.conftest import Client
from tests.transport.sshd import Server

StartServer = Callable[..., Server]
Reach = Callable[[str], StreamedTransport]


@pytest.fixture(params=["paramiko", "openssh"])
def reach(request: pytest.FixtureRequest, client: Client) -> Reach:
    return client.open if request.param == "paramiko" else client.open_openssh


def test_a_connection_that_dies_says_what_was_running(client: Client, reach: Reach, start_server: StartServer) -> None:
    server = start_server()
    client.host("cluster", server)

    def cut(_piece: bytes) -> None:
        server.signal_sessions(signal.SIGKILL)

    with reach("cluster") as transport:
        with pytest.raises(ConnectionLostError, match=r"was lost, and it is not known.*echo started; exec sleep"):
            transport.run(["sh", "-c", "echo started; exec sleep 20"], on_stdout=cut)
        assert transport.run(["echo", "again"]).stdout == b"again\n"


def test_a_connection_that_falls_silent_is_noticed(client: Client, reach: Reach, start_server: StartServer) -> None:
    server = start_server()
    client.host("cluster", server, "ServerAliveInterval 1", "ServerAliveCountMax 1")

    def freeze(_piece: bytes) -> None:
        server.signal_sessions(signal.SIGSTOP)

    with reach("cluster") as transport, pytest.raises(ConnectionLostError, match="was lost, and it is not known"):
        transport.run(["sh", "-c", "echo started; exec sleep 20"], on_stdout=freeze)


def test_a_put_whose_connection_dies_leaves_nothing(
    client: Client, reach: Reach, start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server()
    client.host("cluster", server)
    (tmp_path / "source").write_bytes(b"x" * 20_000_000)
    there = tmp_path / "there"
    there.mkdir()

    def cut(done: int, _total: int) -> None:
        if done > 1_000_000:
            server.signal_sessions(signal.SIGKILL)

    with reach("cluster") as transport:
        with pytest.raises(ConnectionLostError, match="was lost, and it is not known"):
            transport.put(tmp_path / "source", str(there / "file"), progress=cut)
        wait = 'n=0; while [ -n "$(ls -A "$1")" ] && [ $n -lt 500 ]; do sleep 0.02; n=$((n+1)); done; ls -A "$1"'
        assert transport.run(["sh", "-c", wait, "sh", str(there)]).stdout == b""


def test_a_put_that_came_out_wrong_is_refused(
    client: Client, reach: Reach, start_server: StartServer, tmp_path: Path
) -> None:
    # A disk that gives back other bytes than it was given, played by programs that read other bytes.
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("openssl", "sha256sum"):
        (programs / name).write_text("#!/bin/sh\necho 0000 -\n")
        (programs / name).chmod(0o755)
    server = start_server('ForceCommand PATH=%s:$PATH; eval "$SSH_ORIGINAL_COMMAND"' % programs)  # noqa: UP031 - $ and {}
    client.host("cluster", server)
    (tmp_path / "source").write_text("text")
    before = sorted(tmp_path.rglob("*"))
    with reach("cluster") as transport, pytest.raises(TransportError, match="is damaged: sent sha256 982d9e3e"):
        transport.put(tmp_path / "source", str(tmp_path / "there"))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("digester", [[], ["sha256sum"], ["openssl"]])
def test_a_machine_is_served_with_the_programs_that_it_has(
    client: Client, reach: Reach, start_server: StartServer, tmp_path: Path, digester: list[str]
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "cat", "wc", "rm", "mv", "chmod", "head", *digester):
        (programs / name).symlink_to(f"/bin/{name}" if Path(f"/bin/{name}").exists() else f"/usr/bin/{name}")
    server = start_server('ForceCommand PATH=%s; eval "$SSH_ORIGINAL_COMMAND"' % programs)  # noqa: UP031 - $ and {}
    client.host("cluster", server)
    (tmp_path / "source").write_text("text")
    with reach("cluster") as transport:
        transport.put(tmp_path / "source", str(tmp_path / "there"))
        transport.get(str(tmp_path / "there"), tmp_path / "back")
    assert (tmp_path / "back").read_text() == "text"


def test_banners_of_a_login_shell_do_no_harm(
    client: Client, reach: Reach, start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(
        'ForceCommand echo "*** Welcome ***"; echo "*** 100 bytes"; echo careful >&2; eval "$SSH_ORIGINAL_COMMAND"'
    )
    client.host("cluster", server)
    (tmp_path / "source").write_bytes(bytes(range(256)))
    with reach("cluster") as transport:
        transport.put(tmp_path / "source", str(tmp_path / "there"))
        transport.get(str(tmp_path / "there"), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == bytes(range(256))


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_words_arrive_through_other_login_shells(
    client: Client, reach: Reach, start_server: StartServer, shell: str
) -> None:
    client.host("cluster", start_server(f'ForceCommand {shell} -c "$SSH_ORIGINAL_COMMAND"'))
    argv = ["", "a b", "it's", '"', "\\", "$HOME", "`id`", "\n", "é", "!", "=x", "~", "*"]
    with reach("cluster") as transport:
        done = transport.run(["printf", "%s\\0", *argv])
    assert done.stdout.decode().split("\0")[:-1] == argv


def test_a_command_too_long_to_carry_is_refused_before_it_is_sent(client: Client, reach: Reach, server: Server) -> None:
    client.host("cluster", server)
    with reach("cluster") as transport:
        assert transport.run(["true", "x" * 120_000]).exit_code == 0
        with pytest.raises(TransportError, match="standard input"):
            transport.run(["true", "x" * 140_000])


def test_one_connection_serves_many_commands(client: Client, reach: Reach, start_server: StartServer) -> None:
    server = start_server()
    client.host("cluster", server)
    with reach("cluster") as transport:
        for _ in range(5):
            assert transport.run(["true"]).exit_code == 0
        assert server.log().count("Accepted publickey") == 1
