"""Differences between Linux and macOS, one by one, in a process that imitates macOS where that is needed."""

import ast
import errno
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.flows.trust import commands_of
from hpcdeploy.run import State, TaskStatus
from hpcdeploy.scheduler import htcondor
from hpcdeploy.store import Store
from hpcdeploy.transport import contract, openssh_mux
from hpcdeploy.transport.contract import UNNAMED_SIGNAL, killed_by
from hpcdeploy.transport.dialling import _EagerSocket, dial
from hpcdeploy.transport.openssh_mux import Mux, NoMasterError
from hpcdeploy.transport.ssh_settings import Hop, look_up, this_person
from tests.macos.conftest import IMITATION

ROOT = Path(__file__).parents[2]
NAMES_OF_THE_SYSTEM = {("sys", "platform"), ("os", "name"), ("os", "uname"), ("platform", "system")}


def in_imitation(code: str, *arguments: str) -> str:
    """Run `code` in a Python that imitates macOS; return its output."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(IMITATION)}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_no_module_asks_for_the_name_of_the_system() -> None:
    """A feature is tested for, not a name: so a system that nobody thought of works too."""
    found = []
    for file in sorted((ROOT / "hpcdeploy").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                found += [f"{file}:{node.lineno}"] if (node.value.id, node.attr) in NAMES_OF_THE_SYSTEM else []
    assert found == []


def test_the_imitation_lacks_what_macos_lacks(tmp_path: Path) -> None:
    code = """
import os, select, selectors, socket, sys, signal, subprocess, time
print(*(hasattr(*pair) for pair in ((os, "getxattr"), (socket, "SO_PEERCRED"), (socket, "TCP_QUICKACK"), (select, "epoll"))))
print(selectors.DefaultSelector.__name__)
def told(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return type(error).__name__, error.errno
print(told(open, "/proc/self/stat"), told(os.stat, "/proc"), told(os.listdir, "/sys"))
os.mkdir(sys.argv[1] + "/folder")
print(told(os.unlink, sys.argv[1] + "/folder"), told(socket.socket(socket.AF_UNIX).connect, "/" * 104))
process = subprocess.Popen(["true"], start_new_session=True)
time.sleep(1)
print(told(os.killpg, process.pid, signal.SIGKILL))
process.wait()
"""
    missing = f"('FileNotFoundError', {errno.ENOENT})"
    denied = f"('PermissionError', {errno.EPERM})"
    assert in_imitation(code, str(tmp_path)).splitlines() == [
        "False False False False",
        "PollSelector",
        f"{missing} {missing} {missing}",
        f"{denied} ('OSError', None)",
        denied,
    ]


def test_a_command_that_has_ended_but_was_not_waited_for_is_killed_without_an_error() -> None:
    """On macOS killpg(2) fails with EPERM then."""
    code = """
import os, time
from hpcdeploy.transport.local import _LocalProcess
process = _LocalProcess(["true"])
time.sleep(1)
process.kill()
print(process.wait())
"""
    assert in_imitation(code) == "0"


def test_a_proxy_command_that_has_ended_is_closed_without_an_error() -> None:
    code = """
import socket, time
from hpcdeploy.transport import dialling
line = dialling._reach_by_command("true")
time.sleep(1)
line.close()
print("closed")
"""
    assert in_imitation(code) == "closed"


def test_a_socket_in_the_place_of_an_unfinished_download_is_replaced(tmp_path: Path) -> None:
    code = """
import os, socket, sys
from pathlib import Path
from hpcdeploy.remote.unfinished import resumed
os.chdir(sys.argv[1])
socket.socket(socket.AF_UNIX).bind("part")
with resumed(Path("part")) as file:
    file.write(b"x")
print(Path("part").read_bytes())
"""
    assert in_imitation(code, str(tmp_path)) == "b'x'"


def test_a_quick_acknowledgement_is_asked_for_only_where_the_system_has_it() -> None:
    code = """
import socket
from hpcdeploy.transport.dialling import _EagerSocket
with socket.create_server(("127.0.0.1", 0)) as listener:
    client = _EagerSocket(socket.AF_INET, socket.SOCK_STREAM)
    client.connect(listener.getsockname())
    there, _ = listener.accept()
    there.sendall(b"hello")
    print(client.recv(5))
"""
    assert in_imitation(code) == "b'hello'"


def test_options_of_a_connection_are_set_before_it_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """macOS rejects them (EINVAL) once the server has closed the connection."""
    kept = _EagerSocket.setsockopt

    def setsockopt(self: _EagerSocket, *words: int) -> None:
        try:
            self.getpeername()
        except OSError:
            return kept(self, *words)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(_EagerSocket, "setsockopt", setsockopt)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (tmp_path / "config").write_text(f"Host x\n  HostName 127.0.0.1\n  Port {listener.getsockname()[1]}\n")
        line = dial(look_up(Hop(host="x"), config=str(tmp_path / "config"), person=this_person(), ssh=None))
        assert line.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        assert line.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
        line.close()


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Path]:
    """Give the socket of a master that answers what `Mux` asks first."""
    path = tmp_path / "master"

    def answer(listener: socket.socket) -> None:
        try:
            with listener.accept()[0] as client:
                for body in (struct.pack(">II", 1, 4), struct.pack(">III", openssh_mux._ALIVE, 0, 77)):
                    length = struct.unpack(">I", client.recv(4, socket.MSG_WAITALL))[0]
                    client.recv(length, socket.MSG_WAITALL)
                    client.sendall(struct.pack(">I", len(body)) + body)
        except (OSError, struct.error):  # the client has left
            return

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        yield path
        thread.join(30)


def test_without_so_peercred_the_owner_of_the_socket_counts(master: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_PEERCRED")
    mux = Mux(master)
    assert mux.pid == 77
    mux.close()


def test_without_so_peercred_a_socket_of_another_user_is_refused(master: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_PEERCRED")
    os.chown(master, 12345, 12345)
    with pytest.raises(NoMasterError, match="belongs to another user"):
        Mux(master)


def test_signals_have_the_numbers_of_the_login_node() -> None:
    """This machine is Linux too, where the tests run: its numbers are what they must be."""
    for number, name in enumerate(contract._SIGNALS, start=1):
        assert getattr(signal, f"SIG{name}") == number
        assert killed_by(name) == -number
    assert killed_by("SIG@openssh.com") == UNNAMED_SIGNAL == -65


def test_errors_of_the_pool_s_machines_keep_their_meaning_where_errors_have_other_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number, name in htcondor.reasons._LINUX_ERRORS.items():
        assert getattr(errno, name) == number
    status = TaskStatus(task=0, state=State.HELD, word="HELD", code="13.110")
    monkeypatch.setattr(errno, "errorcode", {60: "ETIMEDOUT"})
    assert f"({os.strerror(errno.ETIMEDOUT)})" in htcondor.explain(status)


def test_the_own_ssh_folder_is_recognised_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS /etc, /tmp and /var are links to folders in /private."""
    (tmp_path / "private" / ".ssh").mkdir(parents=True)
    (tmp_path / "private" / ".ssh" / "hpc").write_text("Host hpc\n")
    (tmp_path / "home").symlink_to("private")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    cluster = Cluster(name="hpc", host="hpc", of_project=True, ssh_config=str(tmp_path / "home" / ".ssh" / "hpc"))
    found = commands_of(replace(cluster, project=str(tmp_path)), {})
    assert [command.sha256 for command in found if command.text.startswith("ssh-config")] == [""]


def test_the_record_is_on_the_disk_before_a_submission(tmp_path: Path) -> None:
    """Without this pragma macOS decides when the disk writes; on Linux it has no effect."""
    with Store(tmp_path / "hpcdeploy" / "runs.db").opened() as connection:
        assert connection.execute("PRAGMA fullfsync").fetchone() == (1,)
