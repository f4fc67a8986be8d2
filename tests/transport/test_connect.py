import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from hpcdeploy.cluster import Cluster, TransportName
from hpcdeploy.errors import ConfigError
from hpcdeploy.transport.connect import open_transport
from hpcdeploy.transport.contract import Transport
from hpcdeploy.transport.local import LocalTransport
from hpcdeploy.transport.openssh import OpensshTransport
from hpcdeploy.transport.ssh import SshTransport
from tests.transport.conftest import Client
from tests.transport.sshd import Server


def test_the_host_local_needs_no_ssh() -> None:
    transport: Transport = open_transport(Cluster(name="here", host="local"))
    assert isinstance(transport, LocalTransport)
    assert transport.where == "this machine"


def test_any_other_host_is_reached_over_ssh_with_the_clusters_own_configuration(client: Client, server: Server) -> None:
    client.host("login", server)
    transport: Transport = open_transport(Cluster(name="there", host="login", ssh_config=str(client.config)))
    assert isinstance(transport, SshTransport)
    assert transport.where == "login"
    with transport:
        assert transport.run(["echo", "there"]).stdout == b"there\n"


def test_what_is_kept_from_paramiko_can_be_had_by_others() -> None:
    code = (
        "import sys\n"
        "from hpcdeploy.cluster import Cluster\n"
        "from hpcdeploy.transport.connect import open_transport\n"
        "transport = open_transport(Cluster(name='there', host='there', transport='paramiko'))\n"
        "assert 'paramiko' not in sys.modules\n"
        "transport.begin(['true'])\n"
        "assert 'paramiko' in sys.modules and 'invoke' not in sys.modules\n"
        "import invoke\n"
        "invoke.Context"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_paramiko_is_loaded_only_where_it_is_needed() -> None:
    code = (
        "import sys\n"
        "from hpcdeploy.cluster import Cluster\n"
        "from hpcdeploy.transport.connect import open_transport\n"
        "open_transport(Cluster(name='here', host='local'))\n"
        "sys.exit('paramiko' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Who speaks


LOADED = """
import sys
from hpcdeploy.cluster import Cluster
from hpcdeploy.transport.connect import open_transport
with open_transport(Cluster(name="there", host="login", ssh_config=sys.argv[1], transport=sys.argv[2])) as transport:
    assert transport.run(["echo", "there"]).stdout == b"there\\n"
names = ("paramiko", "hpcdeploy.transport.openssh", "hpcdeploy.transport.openssh_mux", "hpcdeploy.transport.openssh_master")
print(*(name.rpartition(".")[2] for name in names if name in sys.modules))
"""


def loaded(client: Client, transport: str, folder: Path) -> tuple[list[str], int]:
    """Run a command in a process of its own; return what was loaded for it, and how often ssh was asked for settings."""
    real = shutil.which("ssh")
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "ssh").write_text(f'#!/bin/sh\necho "$*" >> {folder}/asked\nexec {real} "$@"\n')
    (folder / "bin" / "ssh").chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}", "XDG_RUNTIME_DIR": str(folder)}
    argv = [sys.executable, "-c", LOADED, str(client.config), transport]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env=environment)
    return done.stdout.split(), sum(" -G " in line for line in (folder / "asked").read_text().splitlines())


OPENSSH = ["openssh", "openssh_mux", "openssh_master"]


@pytest.mark.parametrize(
    ("transport", "held", "expected"),
    [
        ("auto", False, ["paramiko"]),
        ("auto", True, OPENSSH),
        ("paramiko", True, ["paramiko"]),
        ("openssh", False, OPENSSH),
    ],
)
def test_the_cluster_says_who_speaks_and_only_that_is_loaded(
    client: Client, server: Server, short: Path, transport: str, *, held: bool, expected: list[str]
) -> None:
    client.host("login", server, f"ControlPath {short}/theirs", "IdentityAgent none")
    ssh = ["ssh", "-F", str(client.config), "-S", str(short / "theirs")]
    if held:
        subprocess.run([*ssh, "-fNM", "login"], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    try:
        assert loaded(client, transport, short) == (expected, 1)
    finally:
        if held:
            subprocess.run([*ssh, "-O", "exit", "login"], check=True, capture_output=True)


def test_a_socket_that_nobody_listens_at_is_no_connection(client: Client, server: Server, short: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(short / "theirs"))
    client.host("login", server, f"ControlPath {short}/theirs")
    assert isinstance(open_transport(Cluster(name="there", host="login", ssh_config=str(client.config))), SshTransport)


@pytest.mark.parametrize(
    ("options", "key", "alone"),
    [
        ([], "id", False),
        (["GSSAPIAuthentication yes"], "id", False),
        (["GSSAPIAuthentication yes"], None, True),
        (["GSSAPIAuthentication yes", "IdentityAgent /agent"], None, False),
        (["GSSAPIAuthentication yes", "PubkeyAuthentication no"], "id", True),
        (["GSSAPIAuthentication yes", "PreferredAuthentications gssapi-with-mic,password"], "id", True),
        (["PreferredAuthentications publickey,password"], "id", False),
        (["PKCS11Provider /usr/lib/card.so"], None, True),
        ([], "id_ed25519_sk", True),
        ([], None, False),
    ],
)
def test_openssh_is_taken_where_it_alone_has_a_way_in(
    client: Client, tmp_path: Path, options: list[str], key: str | None, *, alone: bool
) -> None:
    client.key = tmp_path / (key or "missing")
    if key:
        client.key.touch()
    client.host("login", 22, *options)
    opened = open_transport(Cluster(name="there", host="login", ssh_config=str(client.config)))
    assert isinstance(opened, OpensshTransport if alone else SshTransport)


def test_a_wrong_configuration_is_said_by_whoever_speaks(client: Client) -> None:
    client.config.write_text("Host login\n    Port many\n")
    for transport in get_args(TransportName):
        cluster = Cluster(name="there", host="login", ssh_config=str(client.config), transport=transport)
        with (
            pytest.raises(ConfigError, match="rejected its own configuration"),
            open_transport(cluster) as opened,
        ):
            opened.run(["true"])
