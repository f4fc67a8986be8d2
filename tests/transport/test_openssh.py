"""Riding on OpenSSH's connections: the person's own and ours, who is let in, and what is known when one goes away."""

import contextlib
import os
import pty
import select
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from hpcdeploy.errors import AuthenticationError, ConfigError, ConnectionLostError, MissingProgramError, TransportError
from hpcdeploy.transport import openssh_master, openssh_mux
from hpcdeploy.transport.contract import UNNAMED_SIGNAL
from hpcdeploy.transport.openssh import OpensshTransport
from hpcdeploy.transport.openssh_mux import Mux, master_at
from hpcdeploy.transport.ssh_settings import Hop, SshSettings, find_ssh, look_up, this_person
from hpcdeploy_lab.state import Lab
from tests.once.proxy import Cut, Proxy
from tests.transport.conftest import Client
from tests.transport.sshd import Server, free_port, make_key, public_key
from tests.transport.test_ssh import fingerprint, two_factors
from tests.users import BOB

StartServer = Callable[..., Server]


@pytest.fixture(autouse=True)
def runtime(short: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep our own connections in a folder that is looked at afterwards."""
    (short / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short / "run"))
    return short / "run" / "hpcdeploy"


def settings_of(client: Client, name: str) -> SshSettings:
    return look_up(Hop(host=name), config=str(client.config), person=this_person(), ssh=find_ssh())


@pytest.fixture
def hold() -> Iterator[Callable[[SshSettings], Mux]]:
    """Do what a person does who follows the advice: open a connection in a terminal, and leave it open."""
    talks: list[Mux] = []

    def begin(settings: SshSettings) -> Mux:
        subprocess.run(shlex.split(settings.master), check=True, stdin=subprocess.DEVNULL, capture_output=True)
        talk = master_at(settings.control_path)
        assert talk is not None
        talks.append(talk)
        return talk

    yield begin
    for talk in talks:
        talk.end_master()
        talk.close()


Hold = Callable[[SshSettings], Mux]


def logins(server: Server) -> int:
    return server.log().count("Accepted publickey")


def says_hello(transport: OpensshTransport) -> bool:
    with transport:
        return transport.run(["echo", "hello"]).stdout == b"hello\n"


def why_not(transport: OpensshTransport, expected: type[Exception]) -> str:
    with transport, pytest.raises(expected) as caught:
        transport.run(["echo", "hello"])
    assert not isinstance(caught.value, ConnectionLostError)
    return str(caught.value)


def wait_until(true: Callable[[], bool], *, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


# Our own connection


def test_one_connection_serves_many_commands_and_is_gone_when_closed(
    client: Client, start_server: StartServer, runtime: Path
) -> None:
    server = start_server()
    client.host("cluster", server)
    with client.open_openssh("cluster") as transport:
        for _ in range(5):
            assert transport.run(["true"]).exit_code == 0
        assert logins(server) == 1
        assert len(list(runtime.iterdir())) == 1
    assert list(runtime.iterdir()) == []
    wait_until(lambda: server.sessions() == [])


def test_several_commands_run_at_once_over_one_connection(client: Client, start_server: StartServer, short: Path) -> None:
    server = start_server()
    client.host("cluster", server)
    there = short / "there"
    with client.open_openssh("cluster") as transport:
        waiting = ["sh", "-c", 'while [ ! -e "$1" ]; do sleep 0.01; done; echo "$2"', "sh", str(there)]
        said: list[bytes] = []
        threads = [
            threading.Thread(target=lambda word=word: said.append(transport.run([*waiting, word]).stdout)) for word in "abcd"
        ]
        for thread in threads:
            thread.start()
        transport.run(["touch", str(there)])
        for thread in threads:
            thread.join()
        assert sorted(said) == [b"a\n", b"b\n", b"c\n", b"d\n"]
    assert logins(server) == 1


def test_our_connection_waits_for_us_longer_than_it_outlives_us(
    client: Client, start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openssh_master, "LINGERS", 2)
    server = start_server()
    client.host("cluster", server)
    with client.open_openssh("cluster") as transport:
        transport.run(["true"])
        time.sleep(4)
        transport.run(["true"])
    assert logins(server) == 1


def test_our_connection_ends_soon_after_a_process_that_is_killed(
    client: Client, start_server: StartServer, runtime: Path
) -> None:
    server = start_server()
    client.host("cluster", server)
    code = (
        "import sys, time\n"
        "from hpcdeploy.transport import openssh_master\n"
        "from hpcdeploy.transport.openssh import OpensshTransport\n"
        "openssh_master.LINGERS = 2\n"
        "transport = OpensshTransport('cluster', config=sys.argv[1], asks=lambda: False)\n"
        "transport.run(['true'])\n"
        "print('connected', flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(client.config)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"connected\n"
        assert len(list(runtime.iterdir())) == 1
        process.kill()
    wait_until(lambda: list(runtime.iterdir()) == [])
    wait_until(lambda: server.sessions() == [])


def test_what_a_connection_left_that_was_killed_is_taken_away_by_the_next(
    client: Client, server: Server, runtime: Path
) -> None:
    client.host("cluster", server)
    with client.open_openssh("cluster") as living, client.open_openssh("cluster") as killed:
        living.run(["true"])
        [kept] = runtime.iterdir()
        killed.run(["true"])
        [left] = set(runtime.iterdir()) - {kept}
        talk = Mux(left)
        os.kill(talk.pid, signal.SIGKILL)
        talk.close()
        wait_until(lambda: master_at(left) is None)
        killed.run(["true"])
        assert kept.exists()
        assert not left.exists()
        assert len(list(runtime.iterdir())) == 2


def test_a_login_that_hangs_ends_with_a_process_that_does_not_wait(client: Client, server: Server, tmp_path: Path) -> None:
    client.host("cluster", server, f"ProxyCommand sh -c 'echo $PPID >{tmp_path}/pid; cat >/dev/null'")
    code = (
        "import pathlib, sys, threading, time\n"
        "from hpcdeploy.transport.openssh import OpensshTransport\n"
        "transport = OpensshTransport('cluster', config=sys.argv[1], asks=lambda: False)\n"
        "threading.Thread(target=lambda: transport.run(['true']), daemon=True).start()\n"
        "while not pathlib.Path(sys.argv[2]).exists():\n"
        "    time.sleep(0.01)\n"
        "time.sleep(1)  # so that it waits, and would not notice by itself\n"
    )
    subprocess.run([sys.executable, "-c", code, str(client.config), str(tmp_path / "pid")], check=True, capture_output=True)
    pid = (tmp_path / "pid").read_text().strip()

    def gone() -> bool:
        try:
            return not Path(f"/proc/{pid}/cmdline").read_bytes()  # empty if it has ended and was not waited for
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_until(gone, seconds=5)


def test_forwardings_and_commands_of_the_configuration_are_left_alone(
    client: Client, start_server: StartServer, tmp_path: Path
) -> None:
    port = free_port()
    client.host(
        "cluster",
        start_server(),
        f"LocalForward {port} 127.0.0.1:1",
        "ExitOnForwardFailure yes",
        "RemoteCommand echo wrong",
        "PermitLocalCommand yes",
        f"LocalCommand touch {tmp_path}/local",
        "RequestTTY force",
    )
    with socket.create_server(("127.0.0.1", port)):
        assert says_hello(client.open_openssh("cluster"))
    assert not (tmp_path / "local").exists()


def test_a_folder_that_others_may_enter_is_not_used(client: Client, server: Server, runtime: Path) -> None:
    client.host("cluster", server)
    runtime.mkdir()
    runtime.chmod(0o755)
    assert says_hello(client.open_openssh("cluster"))
    assert not list(runtime.iterdir())


@pytest.mark.parametrize("planted", ["folder", "link", "file"])
def test_a_name_that_somebody_else_has_taken_is_answered_with_one_that_nobody_can_foresee(
    planted: str, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setattr("tempfile.tempdir", str(short))
    short.chmod(0o1777)
    expected, theirs = short / f"hpcdeploy-{os.getuid()}", short / "theirs"
    theirs.mkdir(mode=0o700)
    if planted == "folder":
        expected.mkdir(mode=0o700)
        os.chown(expected, BOB, BOB)
    elif planted == "link":
        expected.symlink_to(theirs)
    else:
        expected.touch()
    folder = openssh_master._private_folder()
    assert folder not in (expected, theirs)
    assert folder.parent == short
    status = folder.lstat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (os.getuid(), 0o700)


def test_a_folder_in_which_others_can_rename_ours_is_passed_over(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setattr("tempfile.tempdir", str(short))
    short.chmod(0o777)
    assert openssh_master._private_folder().parent == Path("/tmp")


def test_a_runtime_folder_with_a_long_name_is_passed_over(
    client: Client, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.host("cluster", server)
    far = tmp_path / ("x" * 80)
    far.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(far))
    assert says_hello(client.open_openssh("cluster"))
    assert list(far.iterdir()) == []


def test_another_users_runtime_folder_is_left_alone(
    client: Client, server: Server, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.host("cluster", server)
    theirs = short / "theirs"
    theirs.mkdir()
    if os.getuid():
        theirs = Path("/tmp")  # root's
    else:
        os.chown(theirs, 1, 1)
    before = set(theirs.iterdir())
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(theirs))
    assert says_hello(client.open_openssh("cluster"))
    assert theirs / "hpcdeploy" not in set(theirs.iterdir()) - before


def ssh_that(tmp_path: Path, logs_in: str) -> Callable[[], str]:
    """Give a program that reads the configuration as ssh does, and does something else to log in."""
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\ncase " $* " in *" -G "*) exec ssh "$@" ;; esac\n{logs_in}\n')
    program.chmod(0o755)
    return lambda: str(program)


def test_an_older_ssh_that_keeps_its_standard_error_open_is_not_waited_for(
    client: Client, server: Server, tmp_path: Path
) -> None:
    client.host("cluster", server)
    ssh = ssh_that(tmp_path, 'ssh "$@"; code=$?; sleep 20 >&2 & exit $code')
    assert says_hello(OpensshTransport("cluster", config=str(client.config), asks=lambda: False, ssh=ssh))


def test_a_firewall_that_denies_permission_is_no_server_that_does(client: Client, server: Server, tmp_path: Path) -> None:
    client.host("cluster", server)
    # What connect(2) says where a route is "prohibit" (ip-route(8)), which takes a network of one's own.
    ssh = ssh_that(tmp_path, "echo 'ssh: connect to host 192.0.2.1 port 22: Permission denied' >&2; exit 255")
    transport = OpensshTransport("cluster", config=str(client.config), asks=lambda: False, ssh=ssh)
    assert "cluster cannot be reached: ssh: connect to host" in why_not(transport, TransportError)


# The person's connection


@pytest.mark.parametrize("configured", [True, False])
def test_a_connection_that_the_person_holds_open_is_ridden_on_and_left_open(
    client: Client, start_server: StartServer, short: Path, hold: Hold, runtime: Path, *, configured: bool
) -> None:
    server = start_server()
    client.host("cluster", server, *([f"ControlPath {short}/%C"] if configured else []))
    settings = settings_of(client, "cluster")
    if not configured:
        person = replace(this_person(), home=short)
        (short / ".ssh").mkdir()
        settings = look_up(Hop(host="cluster"), config=str(client.config), person=person, ssh=find_ssh())
        assert str(settings.control_path) in settings.master
    theirs = hold(settings)
    (server.folder / "authorized_keys").write_text("")  # no key is accepted any more
    for _ in range(2):
        transport = OpensshTransport("cluster", config=str(client.config), settings=settings, asks=lambda: False)
        assert says_hello(transport)
    assert theirs.lasts()
    assert logins(server) == 1
    assert not runtime.exists()


def test_a_connection_that_ends_when_idle_stays_while_we_wait(
    client: Client, start_server: StartServer, short: Path, hold: Hold
) -> None:
    server = start_server()
    client.host("cluster", server, f"ControlPath {short}/%C", "ControlPersist 2")
    theirs = hold(settings_of(client, "cluster"))
    with client.open_openssh("cluster") as transport:
        transport.run(["true"])
        theirs.close()
        time.sleep(4)
        transport.run(["true"])
        assert logins(server) == 1
    wait_until(lambda: not settings_of(client, "cluster").control_path.exists())


def test_where_the_persons_connection_has_ended_one_of_our_own_is_opened(
    client: Client, start_server: StartServer, short: Path, hold: Hold
) -> None:
    server = start_server()
    client.host("cluster", server, f"ControlPath {short}/%C")
    theirs = hold(settings_of(client, "cluster"))
    with client.open_openssh("cluster") as transport:
        assert transport.run(["echo", "one"]).stdout == b"one\n"
        os.kill(theirs.pid, signal.SIGKILL)  # leaves its socket behind
        wait_until(lambda: not theirs.lasts())
        assert transport.run(["echo", "two"]).stdout == b"two\n"
    assert logins(server) == 2


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_where_a_connection_has_no_door_any_more_another_is_opened(
    client: Client, start_server: StartServer, short: Path, hold: Hold, runtime: Path, whose: str
) -> None:
    server = start_server()
    client.host("cluster", server, f"ControlPath {short}/%C")
    if whose == "theirs":
        hold(settings_of(client, "cluster"))
    with client.open_openssh("cluster") as transport:
        assert transport.run(["echo", "one"]).stdout == b"one\n"
        if whose == "theirs":
            subprocess.run(["ssh", "-F", client.config, "-O", "stop", "cluster"], check=True, capture_output=True)
        else:
            shutil.rmtree(runtime)
        assert transport.run(["echo", "two"]).stdout == b"two\n"
    assert logins(server) == 2


@pytest.mark.parametrize("name", ["a b", "it's", 'say"so"', "äöü", "a;b", "$HOME", "#a"])
def test_a_connection_is_found_under_any_name(
    client: Client, start_server: StartServer, short: Path, hold: Hold, name: str
) -> None:
    server = start_server()
    escaped = name.replace('"', '\\"')
    client.host("cluster", server, f'ControlPath "{short}/{escaped}"')
    hold(settings_of(client, "cluster"))
    assert says_hello(client.open_openssh("cluster"))
    assert logins(server) == 1


def test_a_connection_that_hangs_is_passed_over(
    client: Client, start_server: StartServer, short: Path, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server()
    client.host("cluster", server, f"ControlPath {short}/%C")
    theirs = hold(settings_of(client, "cluster"))
    monkeypatch.setattr(openssh_mux, "ANSWER_TIMEOUT", 0.5)
    os.kill(theirs.pid, signal.SIGSTOP)
    try:
        assert says_hello(client.open_openssh("cluster"))
    finally:
        os.kill(theirs.pid, signal.SIGCONT)
    assert logins(server) == 2


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\x08\0\0\0\x01\0\0\0\x05", b"\0\0\0\0"]
)
def test_what_speaks_another_language_is_passed_over(client: Client, server: Server, short: Path, answer: bytes) -> None:
    client.host("cluster", server, f"ControlPath {short}/theirs")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short / "theirs"))
        listener.listen()

        def speak() -> None:
            with contextlib.suppress(OSError):
                while True:
                    visitor, _ = listener.accept()
                    with visitor:
                        visitor.sendall(answer)
                        visitor.recv(12)

        threading.Thread(target=speak, daemon=True).start()
        assert says_hello(client.open_openssh("cluster"))
        listener.shutdown(socket.SHUT_RDWR)


# Who is let in, and where


def test_an_unknown_host_is_refused_with_its_fingerprint_and_nothing_is_written(client: Client, server: Server) -> None:
    client.host("cluster", server, "StrictHostKeyChecking accept-new", known=False)
    said = why_not(client.open_openssh("cluster"), AuthenticationError)
    assert f"the host has the ssh-ed25519 key {fingerprint(server.host_keys[0])}" in said
    assert f"run `ssh -F {client.config} cluster` once" in said
    assert not client.known_hosts.exists()


def test_a_changed_key_is_refused_and_the_record_stays(client: Client, server: Server, tmp_path: Path) -> None:
    client.host("cluster", server, known=False)
    client.knows(f"{server.name} {public_key(make_key(tmp_path / 'other'))}\n")
    before = client.known_hosts.read_bytes()
    said = why_not(client.open_openssh("cluster"), AuthenticationError)
    assert f"does NOT match {client.known_hosts}:1" in said
    assert fingerprint(server.host_keys[0]) in said
    assert client.known_hosts.read_bytes() == before


def test_a_revoked_key_is_refused(client: Client, server: Server) -> None:
    client.host("cluster", server)
    client.knows(f"@revoked * {public_key(server.host_keys[0])}\n")
    assert "revoked" in why_not(client.open_openssh("cluster"), AuthenticationError)


def test_a_host_certificate_is_enough(client: Client, start_server: StartServer, tmp_path: Path) -> None:
    authority = make_key(tmp_path / "authority")
    server = start_server(f"HostCertificate {tmp_path}/server0/host_ed25519-cert.pub")
    host_key = server.host_keys[0]
    argv = ["ssh-keygen", "-q", "-s", str(authority), "-I", "host", "-h", "-n", "127.0.0.1", f"{host_key}.pub"]
    subprocess.run(argv, check=True, capture_output=True)
    server.process.send_signal(signal.SIGHUP)  # it reads its configuration again
    client.knows(f"@cert-authority * {public_key(authority)}\n")
    client.host("cluster", server, known=False)
    wait_until(lambda: "Received SIGHUP" in server.log() and server.log().count("Server listening") == 2)
    assert says_hello(client.open_openssh("cluster"))


def test_a_refused_key_is_said_and_how_to_answer_questions_once(client: Client, server: Server, tmp_path: Path) -> None:
    client.key = make_key(tmp_path / "stranger")
    client.host("cluster", server, f"ControlPath {tmp_path}/%C")
    said = why_not(client.open_openssh("cluster"), AuthenticationError)
    assert "Permission denied (publickey" in said
    assert f"`ssh -fNM -F {client.config} cluster`" in said


def test_a_second_factor_without_a_terminal_is_said(client: Client, start_server: StartServer) -> None:
    server = start_server("AuthenticationMethods publickey,keyboard-interactive", "KbdInteractiveAuthentication yes")
    client.host("cluster", server)
    said = why_not(client.open_openssh("cluster"), AuthenticationError)
    assert "Permission denied (keyboard-interactive)" in said
    assert "log in once in a terminal with `ssh -fNM " in said


ASKED = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # the terminal is this session's own, as a person's is
from hpcdeploy.transport.openssh import OpensshTransport
with OpensshTransport("cluster", config=sys.argv[1]) as transport:
    for word in ("one", "two"):
        print(transport.run(["echo", "hello", word]).stdout.decode())
"""


def at_a_terminal(client: Client, answers: dict[bytes, str]) -> tuple[int, bytes]:
    """Run two commands in a process at a terminal of its own, and answer what ends with one of the words there."""
    terminal, inner = pty.openpty()
    argv = [sys.executable, "-c", ASKED, str(client.config)]
    with subprocess.Popen(argv, stdin=inner, stdout=inner, stderr=inner, start_new_session=True) as process:
        os.close(inner)
        said, answered = b"", 0
        with contextlib.suppress(OSError):  # Linux's error for a terminal whose other end is closed
            while select.select([terminal], [], [], 30)[0] and (piece := os.read(terminal, 65536)):
                said += piece
                for question, answer in answers.items():
                    if said[answered:].rstrip().endswith(question):
                        answered = len(said)
                        os.write(terminal, f"{answer}\n".encode())
        os.close(terminal)
    return process.returncode, said


@pytest.mark.parametrize("answer", ["very secret", "wrong"])
def test_who_sits_at_a_terminal_is_asked_there_once(
    client: Client, start_server: StartServer, tmp_path: Path, answer: str
) -> None:
    (tmp_path / "banner").write_text("The site says good morning.\n")
    client.key = make_key(tmp_path / "key", passphrase="very secret")
    client.host("cluster", start_server(f"Banner {tmp_path}/banner", keys=(client.key,)))
    code, said = at_a_terminal(client, {b":": answer})
    assert b"The site says good morning." in said
    assert b"Enter passphrase for key" in said
    right = answer == "very secret"
    assert (code, said.count(b"hello one"), said.count(b"hello two")) == ((0, 1, 1) if right else (1, 0, 0))
    assert (b"AuthenticationError" in said) != right
    assert said.count(b"Enter passphrase") == (1 if right else 3)


@pytest.mark.parametrize("code", ["123456", "000000"])
def test_a_second_factor_is_asked_with_all_that_the_server_says(client: Client, tmp_path: Path, code: str) -> None:
    host_key = make_key(tmp_path / "host")
    with two_factors(client, host_key) as port:
        client.knows(f"[127.0.0.1]:{port} {public_key(host_key)}\n")
        client.host("cluster", port, "NumberOfPasswordPrompts 1")
        _, said = at_a_terminal(client, {b"Code:": code, b"Place:": "here"})
    assert b"Look at your telephone." in said
    # This server runs no commands: to be let in is to be told so.
    assert (b"so this was not started: run echo hello one" in said) == (code == "123456")
    assert (b"AuthenticationError" in said) == (code != "123456")


def test_a_kerberos_site_is_explained_by_whoever_speaks(client: Client, start_server: StartServer, tmp_path: Path) -> None:
    client.key = make_key(tmp_path / "stranger")
    client.host("cluster", start_server("GSSAPIAuthentication yes"), "GSSAPIAuthentication yes")
    assert "get a ticket with `kinit`" in why_not(client.open_openssh("cluster"), AuthenticationError)
    with client.open("cluster") as transport, pytest.raises(AuthenticationError, match='set transport = "openssh"'):
        transport.run(["true"])


def test_a_port_where_nobody_listens(client: Client) -> None:
    client.host("cluster", free_port())
    assert "Connection refused" in why_not(client.open_openssh("cluster"), TransportError)


def test_a_name_that_does_not_resolve(client: Client) -> None:
    client.host("cluster", 22, "HostName no-such-host.invalid")
    assert "no-such-host.invalid" in why_not(client.open_openssh("cluster"), TransportError)


def test_a_server_that_never_speaks(client: Client, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client.host("cluster", listener.getsockname()[1], "ConnectTimeout 1")
        assert "timed out" in why_not(client.open_openssh("cluster"), TransportError)
    assert capfd.readouterr() == ("", "")


def test_a_server_that_lets_us_wait_at_the_door(client: Client, start_server: StartServer) -> None:
    server = start_server()
    client.host("cluster", server, f"ProxyCommand {sys.executable} -c 'import time; time.sleep(600)'", "ConnectTimeout 1")
    assert "cannot be reached" in why_not(client.open_openssh("cluster"), TransportError)


def test_a_jump_host_is_gone_through(client: Client, start_server: StartServer) -> None:
    client.host("target", start_server(), "ProxyJump jump")
    jump = start_server()
    client.host("jump", jump)
    assert says_hello(client.open_openssh("target"))
    assert logins(jump) == 1


def test_a_name_that_is_an_option_is_refused(tmp_path: Path) -> None:
    transport = OpensshTransport(f"-oProxyCommand=touch {tmp_path}/x", asks=lambda: False)
    assert "is not a host" in why_not(transport, ConfigError)
    assert list(tmp_path.iterdir()) == []


def test_without_an_ssh_program_nothing_is_tried(client: Client, server: Server) -> None:
    client.host("cluster", server)
    transport = OpensshTransport("cluster", config=str(client.config), ssh=lambda: None)
    assert "OpenSSH's client" in why_not(transport, MissingProgramError)


# What is known when it goes away


def test_a_channel_that_is_refused_ran_nothing(client: Client, start_server: StartServer) -> None:
    client.host("cluster", start_server("MaxSessions 0"))
    assert "so this was not started: run echo hello" in why_not(client.open_openssh("cluster"), TransportError)


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_a_master_that_dies_in_the_middle_takes_the_answer_with_it(
    client: Client, start_server: StartServer, short: Path, hold: Hold, runtime: Path, whose: str
) -> None:
    client.host("cluster", start_server(), f"ControlPath {short}/%C")
    if whose == "theirs":
        hold(settings_of(client, "cluster"))

    def kill(_piece: bytes) -> None:
        path = settings_of(client, "cluster").control_path if whose == "theirs" else next(runtime.iterdir())
        talk = Mux(path)
        os.kill(talk.pid, signal.SIGKILL)
        talk.close()

    with client.open_openssh("cluster") as transport:
        with pytest.raises(ConnectionLostError, match=r"was lost, and it is not known.*echo started; exec sleep"):
            transport.run(["sh", "-c", "echo started; exec sleep 20"], on_stdout=kill)
        assert transport.run(["echo", "again"]).stdout == b"again\n"


def test_a_server_that_gives_no_channel_may_have_run_it(client: Client, start_server: StartServer) -> None:
    server = start_server()
    client.host("cluster", server)
    with client.open_openssh("cluster") as transport:
        transport.run(["true"])
        server.signal_sessions(signal.SIGSTOP)
        with pytest.raises(ConnectionLostError, match=r"no answer for 0\.5 s.*run true.*-O exit cluster"):
            transport.run(["true"], timeout=0.5)
        server.signal_sessions(signal.SIGCONT)
        assert transport.run(["echo", "again"]).stdout == b"again\n"


def test_a_command_that_a_signal_ended_is_no_lost_connection_and_255_is_an_exit_code(client: Client, server: Server) -> None:
    client.host("cluster", server)
    with client.open_openssh("cluster") as transport:
        codes = [transport.run(["sh", "-c", what]).exit_code for what in ("exit 255", "kill -9 $$", "exit 137", "exit 0")]
    assert codes == [255, UNNAMED_SIGNAL, 137, 0]


@pytest.mark.parametrize("way", ["up", "down"])
def test_what_is_said_of_a_connection_that_is_cut_after_any_byte_is_true(
    client: Client, server: Server, tmp_path: Path, way: str
) -> None:
    client.host("cluster", server)
    lab = cast("Lab", SimpleNamespace(ssh_port=server.port, state=client.folder, ssh_config=client.config))
    told = {"done": 0, "nothing": 0, "unknown": 0}

    def attempt(cut: Cut) -> tuple[int, int]:
        with Proxy(lab, tmp_path, [cut]) as proxy:
            mark = tmp_path / f"mark{sum(told.values())}"
            transport = OpensshTransport("cluster", config=str(proxy.ssh_config), asks=lambda: False)
            try:
                with transport:
                    assert transport.run(["sh", "-c", 'echo >> "$1"; exit 7', "sh", str(mark)]).exit_code == 7
            except ConnectionLostError:
                told["unknown"] += 1
            except TransportError:
                told["nothing"] += 1
                time.sleep(0.05)
                assert not mark.exists()
            else:
                told["done"] += 1
                assert mark.exists()
            assert not mark.exists() or mark.read_text() == "\n"
            wait_until(lambda: len(proxy.passed) >= 1)
            return proxy.passed[0]

    whole = dict(zip(("up", "down"), attempt(Cut()), strict=True))[way]
    # Logging in is half of it; what follows is cut every few bytes.
    for point in (*range(1, whole * 2 // 3, whole // 8), *range(whole * 2 // 3, whole, 48)):
        attempt(Cut(**{way: point}))
    assert told["nothing"] >= 5
    assert told["unknown"] >= 3
    assert told["done"] >= 1
