"""SSH against real sshd: who is let in, who is trusted, and what is said when it goes wrong."""

import base64
import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest
from paramiko.common import AUTH_FAILED, AUTH_PARTIALLY_SUCCESSFUL, AUTH_SUCCESSFUL
from paramiko.server import InteractiveQuery

from hpcdeploy.errors import AuthenticationError, TransportError
from hpcdeploy.limits import OutputLimit
from hpcdeploy.transport.ssh import SshTransport
from hpcdeploy.transport.ssh_connection import LOG
from tests.transport.conftest import Client
from tests.transport.sshd import Server, free_port, make_key, public_key

StartServer = Callable[..., Server]


def says_hello(transport: SshTransport) -> bool:
    with transport:
        return transport.run(["echo", "hello"]).stdout == b"hello\n"


def why_not(transport: SshTransport, expected: type[Exception]) -> str:
    with transport, pytest.raises(expected) as caught:
        transport.run(["echo", "hello"])
    return str(caught.value)


def fingerprint(key: Path) -> str:
    done = subprocess.run(["ssh-keygen", "-l", "-f", f"{key}.pub"], capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


# Whom we trust


def test_an_unknown_host_is_refused_with_its_fingerprint_and_nothing_is_written(client: Client, server: Server) -> None:
    client.host("cluster", server, known=False)
    said = why_not(client.open("cluster"), AuthenticationError)
    assert fingerprint(server.host_keys[0]) in said
    assert f"run `ssh -F {client.config} cluster` once" in said
    assert not client.known_hosts.exists()


def test_the_advice_for_an_unknown_host_helps(client: Client, server: Server) -> None:
    client.host("cluster", server, known=False)
    why_not(client.open("cluster"), AuthenticationError)
    # What a person does who follows it, with the answer given on the command line.
    argv = ["ssh", "-F", str(client.config), "-o", "StrictHostKeyChecking=accept-new", "cluster", "true"]
    subprocess.run(argv, check=True, capture_output=True)
    assert says_hello(client.open("cluster"))


def test_a_changed_key_is_refused_and_the_record_stays(client: Client, server: Server, tmp_path: Path) -> None:
    client.host("cluster", server, known=False)
    client.knows(f"{server.name} {public_key(make_key(tmp_path / 'other'))}\n")
    before = client.known_hosts.read_bytes()
    said = why_not(client.open("cluster"), AuthenticationError)
    assert "NOT the one on record" in said
    assert f"{client.known_hosts}:1" in said
    assert fingerprint(server.host_keys[0]) in said
    assert client.known_hosts.read_bytes() == before


def test_a_revoked_key_is_refused(client: Client, server: Server) -> None:
    client.host("cluster", server)
    client.knows(f"@revoked * {public_key(server.host_keys[0])}\n")
    assert "revoked" in why_not(client.open("cluster"), AuthenticationError)


def test_a_certificate_authority_is_said_to_be_beyond_us(client: Client, server: Server) -> None:
    client.host("cluster", server, known=False)
    client.knows(f"@cert-authority * {public_key(server.host_keys[0])}\n")
    assert "certificate authority" in why_not(client.open("cluster"), AuthenticationError)


def test_a_hashed_name_is_recognised(client: Client, server: Server) -> None:
    client.host("cluster", server)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(client.known_hosts)], check=True, capture_output=True)
    assert "127.0.0.1" not in client.known_hosts.read_text()
    assert says_hello(client.open("cluster"))


def test_the_global_file_is_read_too(client: Client, server: Server, tmp_path: Path) -> None:
    (tmp_path / "global").write_text(server.known_hosts())
    client.host("cluster", server, f"GlobalKnownHostsFile {tmp_path / 'global'}", known=False)
    assert says_hello(client.open("cluster"))


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_a_host_is_asked_for_the_kind_of_key_that_we_know(client: Client, start_server: StartServer, kind: str) -> None:
    server = start_server(kinds=("ed25519", "rsa", "ecdsa"))
    client.host("cluster", server, known=False)
    key = next(path for path in server.host_keys if path.name == f"host_{kind}")
    client.knows(f"{server.name} {public_key(key)}\n")
    assert says_hello(client.open("cluster"))


def test_a_host_key_alias_is_looked_up(client: Client, server: Server) -> None:
    client.host("cluster", server, "HostKeyAlias The-Login", known=False)
    client.knows(f"the-login {public_key(server.host_keys[0])}\n")
    assert says_hello(client.open("cluster"))


# Who lets us in


def test_a_refused_key_says_what_was_tried(client: Client, server: Server, tmp_path: Path) -> None:
    client.key = make_key(tmp_path / "stranger")
    client.host("cluster", server)
    said = why_not(client.open("cluster"), AuthenticationError)
    assert str(client.key) in said
    assert "check User and IdentityFile" in said


def test_no_key_at_all_is_said(client: Client, server: Server, tmp_path: Path) -> None:
    client.key = tmp_path / "missing"
    client.host("cluster", server)
    assert "no usable key at all" in why_not(client.open("cluster"), AuthenticationError)


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_keys_of_each_kind_are_let_in(client: Client, start_server: StartServer, tmp_path: Path, kind: str) -> None:
    client.key = make_key(tmp_path / "key", kind=kind)
    client.host("cluster", start_server(keys=(client.key,)))
    assert says_hello(client.open("cluster"))


def test_a_protected_key_without_an_agent_leads_to_ssh_add(
    client: Client, start_server: StartServer, tmp_path: Path
) -> None:
    client.key = make_key(tmp_path / "key", passphrase="very secret")
    client.host("cluster", start_server(keys=(client.key,)))
    assert f"run `ssh-add {client.key}` first" in why_not(client.open("cluster"), AuthenticationError)


def test_a_key_that_others_may_read_is_not_used(client: Client, start_server: StartServer, tmp_path: Path) -> None:
    client.key = make_key(tmp_path / "key")
    client.key.chmod(0o644)
    client.host("cluster", start_server(keys=(client.key,)))
    assert f"chmod 600 {client.key}" in why_not(client.open("cluster"), AuthenticationError)


def test_a_file_that_is_no_key_is_said(client: Client, server: Server, tmp_path: Path) -> None:
    client.key = tmp_path / "junk"
    client.key.write_text("no key\n")
    client.key.chmod(0o600)
    client.host("cluster", server)
    assert "junk cannot be read as a private key" in why_not(client.open("cluster"), AuthenticationError)


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("agent") / "s"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL) as process:
        while not path.exists():
            assert process.poll() is None
        yield path
        process.kill()


def add_to(agent: Path, key: Path) -> None:
    subprocess.run(
        ["ssh-add", "-q", str(key)], env={**os.environ, "SSH_AUTH_SOCK": str(agent)}, check=True, capture_output=True
    )


def test_the_agent_signs_for_a_key_whose_file_is_gone(
    client: Client, start_server: StartServer, agent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(tmp_path / "key")
    add_to(agent, key)
    key.unlink()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
    client.key = tmp_path / "missing"
    client.host("cluster", start_server(keys=(key,)))
    client.host("without", start_server(keys=(key,)), "IdentityAgent none")
    assert says_hello(client.open("cluster"))
    assert "no usable key" in why_not(client.open("without"), AuthenticationError)


def test_identity_agent_names_another_agent(client: Client, start_server: StartServer, agent: Path, tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    add_to(agent, key)
    client.key = tmp_path / "missing"
    client.host("cluster", start_server(keys=(key,)), f"IdentityAgent {agent}")
    assert says_hello(client.open("cluster"))


def test_identities_only_chooses_among_many_keys_of_the_agent(
    client: Client, start_server: StartServer, agent: Path, tmp_path: Path
) -> None:
    right = make_key(tmp_path / "right")
    for key in (*(make_key(tmp_path / f"wrong{number}") for number in range(4)), right):
        add_to(agent, key)
    right.unlink()  # the public half stays and says which key of the agent is meant
    client.key = right
    server = start_server("MaxAuthTries 3", keys=(right,))
    client.host("only", server, f"IdentityAgent {agent}", "IdentitiesOnly yes")
    assert says_hello(client.open("only"))
    client.host("first", server, f"IdentityAgent {agent}")
    assert says_hello(client.open("first"))
    client.key = tmp_path / "missing"
    client.host("any", server, f"IdentityAgent {agent}")
    assert "IdentitiesOnly yes" in why_not(client.open("any"), AuthenticationError)


def test_an_agent_that_is_gone_is_said(client: Client, server: Server, tmp_path: Path) -> None:
    client.key = tmp_path / "missing"
    client.host("cluster", server, f"IdentityAgent {tmp_path}/gone")
    assert "does not answer" in why_not(client.open("cluster"), AuthenticationError)


def test_a_second_factor_without_a_terminal_is_said(client: Client, start_server: StartServer) -> None:
    server = start_server("AuthenticationMethods publickey,keyboard-interactive", "KbdInteractiveAuthentication yes")
    client.host("cluster", server)
    said = why_not(client.open("cluster"), AuthenticationError)
    assert "took a key of user" in said
    assert "run this command in a terminal, or answer once in a terminal, with `ssh -fNM -S " in said
    assert f"-F {client.config} cluster`" in said


def test_the_password_is_asked_for_where_the_server_offers_another_way_and_asks_nothing(
    client: Client, start_server: StartServer
) -> None:
    server = start_server("PubkeyAuthentication no", "PasswordAuthentication yes", "UsePAM no")
    client.host("cluster", server)
    asked: list[str] = []

    def ask(question: str, _visible: bool) -> str:
        asked.append(question)
        return "wrong"

    said = why_not(SshTransport("cluster", config=str(client.config), ask=lambda: ask), AuthenticationError)
    assert len(asked) == 1
    assert asked[0].endswith("@cluster's password: ")
    assert "did not accept the answer" in said


class TwoFactors(paramiko.ServerInterface):
    """A server that asks for a key and then for a one-time code, as PAM does it on many clusters."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.next = "publickey"

    def get_allowed_auths(self, username: str) -> str:
        return self.next

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        if key.asbytes() != self.key:
            return AUTH_FAILED
        self.next = "keyboard-interactive"
        return AUTH_PARTIALLY_SUCCESSFUL

    def check_auth_interactive(self, username: str, submethods: str) -> int | InteractiveQuery:
        return InteractiveQuery("Two factors", "Look at your telephone.", ("Code: ", False), ("Place: ", True))

    def check_auth_interactive_response(self, responses: list[str]) -> int | InteractiveQuery:
        return AUTH_SUCCESSFUL if responses == ["123456", "here"] else AUTH_FAILED


@contextlib.contextmanager
def two_factors(client: Client, host_key: Path) -> Iterator[int]:
    """Serve one connection after the other, and give the port."""
    key = base64.b64decode(public_key(client.key).split()[1])
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    # A client that disconnects during the key exchange raises here; serve the next one.
                    with contextlib.suppress(EOFError, paramiko.SSHException), paramiko.Transport(sock) as transport:
                        transport.set_log_channel(LOG)
                        transport.add_server_key(paramiko.PKey.from_path(host_key))
                        transport.start_server(server=TwoFactors(key))
                        transport.join()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("code", ["123456", "000000"])
def test_a_second_factor_is_asked_of_the_person(client: Client, tmp_path: Path, code: str) -> None:
    host_key = make_key(tmp_path / "host")
    asked: list[tuple[str, bool]] = []

    def ask(question: str, visible: bool) -> str:
        asked.append((question, visible))
        return "here" if visible else code

    with two_factors(client, host_key) as port:
        client.knows(f"[127.0.0.1]:{port} {public_key(host_key)}\n")
        client.host("cluster", port)
        transport = SshTransport("cluster", config=str(client.config), ask=lambda: ask)
        # This server runs no commands: to be let in is to be told so.
        with transport, pytest.raises(TransportError if code == "123456" else AuthenticationError) as caught:
            transport.run(["true"])
    assert asked[0][0].startswith("Two factors\nLook at your telephone.\n(")
    assert [(question.split()[-1], visible) for question, visible in asked[:2]] == [("Code:", False), ("Place:", True)]
    assert ("did not accept the answer" in str(caught.value)) == (code != "123456")


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_a_signed_certificate_is_enough(client: Client, start_server: StartServer, tmp_path: Path, kind: str) -> None:
    authority, client.key = make_key(tmp_path / "authority"), make_key(tmp_path / "key", kind=kind)
    user = Path("/proc/self").owner()
    argv = ["ssh-keygen", "-q", "-s", str(authority), "-I", "me", "-n", user, f"{client.key}.pub"]
    subprocess.run(argv, check=True, capture_output=True)
    client.host("cluster", start_server(f"TrustedUserCAKeys {authority}.pub", keys=()))
    assert says_hello(client.open("cluster"))


# The way there


def test_a_name_that_does_not_resolve(client: Client) -> None:
    client.host("cluster", 22, "HostName no-such-host.invalid")
    assert "no-such-host.invalid does not resolve" in why_not(client.open("cluster"), TransportError)


def test_a_port_where_nobody_listens(client: Client) -> None:
    client.host("cluster", free_port())
    assert "refuses connections" in why_not(client.open("cluster"), TransportError)


@pytest.fixture
def mute_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_server_that_never_speaks(client: Client, mute_port: int) -> None:
    client.host("cluster", mute_port, "ConnectTimeout 1")
    assert "does not begin to speak SSH within 1 s" in why_not(client.open("cluster"), TransportError)


def test_a_way_that_swallows_packets(client: Client) -> None:
    # A backlog that is full drops what comes, as a firewall does.
    with socket.socket() as listener, contextlib.ExitStack() as fillers:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        client.host("cluster", listener.getsockname()[1], "ConnectTimeout 1")
        assert "did not answer in 1 s" in why_not(client.open("cluster"), TransportError)


def test_a_jump_host_is_gone_through(client: Client, start_server: StartServer) -> None:
    client.host("target", start_server("AllowUsers *@127.0.0.1"), "ProxyJump jump")
    jump = start_server()
    client.host("jump", jump)
    assert says_hello(client.open("target"))
    assert "Accepted publickey" in jump.log()


def test_a_jump_host_may_have_the_address_port_and_user_of_the_host_behind_it(
    client: Client, start_server: StartServer
) -> None:
    server = start_server()
    client.host("target", server, "ProxyJump jump")
    client.host("jump", server)
    assert says_hello(client.open("target"))
    assert server.log().count("Accepted publickey") == 2


def test_a_chain_of_jump_hosts_is_gone_through_in_order(client: Client, start_server: StartServer) -> None:
    first, second = start_server(), start_server()
    client.host("target", start_server(), "ProxyJump first,second")
    client.host("first", first)
    client.host("second", second)
    transport = client.open("target")
    with transport:
        big = b"x" * 3_000_000
        assert transport.run(["cat"], stdin=big, limit=OutputLimit(stdout=len(big))).stdout == big
    assert "Accepted publickey" in first.log()
    assert "Accepted publickey" in second.log()


def test_a_jump_host_is_checked_like_any_other(client: Client, start_server: StartServer) -> None:
    client.host("target", start_server(), "ProxyJump jump")
    client.host("jump", start_server(), known=False)
    said = why_not(client.open("target"), AuthenticationError)
    assert "the host key of jump is unknown" in said


def test_a_jump_host_that_does_not_forward_is_named(client: Client, start_server: StartServer) -> None:
    client.host("target", start_server(), "ProxyJump jump")
    client.host("jump", start_server("AllowTcpForwarding no"))
    assert "the jump host jump does not connect" in why_not(client.open("target"), TransportError)


def test_a_proxy_command_carries_the_connection(client: Client, start_server: StartServer, tmp_path: Path) -> None:
    relay = tmp_path / "relay.py"
    relay.write_text(
        "import os, socket, sys, threading\n"
        "sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def up():\n"
        "    while data := os.read(0, 65536):\n"
        "        sock.sendall(data)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while data := sock.recv(65536):\n"
        "    os.write(1, data)\n"
    )
    used = tmp_path / "used"
    client.host("cluster", start_server(), f"ProxyCommand {sys.executable} {relay} %h %p 2> {used}")
    assert says_hello(client.open("cluster"))
    assert used.exists()


def test_a_proxy_command_that_fails_is_shown(client: Client, server: Server) -> None:
    client.host("cluster", server, "ProxyCommand false %h")
    assert "ProxyCommand gave no connection" in why_not(client.open("cluster"), TransportError)


def test_nothing_of_a_failed_connection_reaches_the_terminal(
    client: Client, mute_port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    client.host("cluster", mute_port, "ConnectTimeout 1")
    why_not(client.open("cluster"), TransportError)
    assert capfd.readouterr() == ("", "")


def test_without_an_ssh_program_the_files_are_read(client: Client, server: Server) -> None:
    client.host("cluster", server)
    assert says_hello(SshTransport("cluster", config=str(client.config), ask=lambda: None, ssh=lambda: None))
