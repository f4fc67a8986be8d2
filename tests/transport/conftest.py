import getpass
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hpcdeploy.transport.contract import Transport
from hpcdeploy.transport.local import LocalTransport
from hpcdeploy.transport.openssh import OpensshTransport
from hpcdeploy.transport.ssh import SshTransport
from tests.transport.sshd import Server, make_key, start


@dataclass
class Client:
    """A person's SSH configuration in a folder of the test's own."""

    folder: Path
    key: Path
    blocks: list[str] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.folder / "config"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def knows(self, *lines: str) -> None:
        with self.known_hosts.open("a") as file:
            file.writelines(lines)

    def host(self, name: str, server: Server | int, *options: str, known: bool = True) -> None:
        port = server if isinstance(server, int) else server.port
        if known and isinstance(server, Server):
            self.knows(server.known_hosts())
        lines = [
            f"Host {name}",
            *options,
            "HostName 127.0.0.1",
            f"Port {port}",
            f"User {getpass.getuser()}",
            f"IdentityFile {self.key}",
            f"UserKnownHostsFile {self.known_hosts}",
            "GlobalKnownHostsFile /dev/null",
        ]
        self.blocks.append("\n    ".join(lines))
        self.config.write_text("\n".join(self.blocks) + "\n")

    def open(self, name: str) -> SshTransport:
        return SshTransport(name, config=str(self.config), ask=lambda: None)

    def open_openssh(self, name: str) -> OpensshTransport:
        return OpensshTransport(name, config=str(self.config), asks=lambda: False)


@pytest.fixture(scope="session")
def user_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("user") / "id")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, user_key: Path) -> Iterator[Server]:
    server = start(tmp_path_factory.mktemp("sshd") / "server", [user_key])
    yield server
    server.stop()


@pytest.fixture
def start_server(tmp_path: Path, user_key: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def begin(*options: str, kinds: tuple[str, ...] = ("ed25519",), keys: tuple[Path, ...] | None = None) -> Server:
        users = [user_key] if keys is None else list(keys)
        servers.append(start(tmp_path / f"server{len(servers)}", users, options=options, kinds=kinds))
        return servers[-1]

    yield begin
    for server in servers:
        server.stop()


@pytest.fixture
def client(tmp_path: Path, user_key: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    folder = tmp_path / "client"
    folder.mkdir()
    return Client(folder=folder, key=user_key)


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory, server: Server, user_key: Path) -> Iterator[SshTransport]:
    client = Client(folder=tmp_path_factory.mktemp("client"), key=user_key)
    client.host("cluster", server, "IdentityAgent none")
    with client.open("cluster") as transport:
        yield transport


@pytest.fixture(scope="module")
def openssh(tmp_path_factory: pytest.TempPathFactory, server: Server, user_key: Path) -> Iterator[OpensshTransport]:
    client = Client(folder=tmp_path_factory.mktemp("client"), key=user_key)
    client.host("cluster", server, "IdentityAgent none")
    with client.open_openssh("cluster") as transport:
        yield transport


@pytest.fixture(params=["local", "ssh", "openssh"])
def transport(request: pytest.FixtureRequest) -> Transport:
    if request.param == "local":
        return LocalTransport()
    transport = request.getfixturevalue(request.param)
    assert isinstance(transport, SshTransport | OpensshTransport)
    return transport
