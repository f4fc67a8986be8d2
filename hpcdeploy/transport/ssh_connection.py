"""One SSH connection, through as many hosts as it takes, each with its own settings and its host key checked."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence

import paramiko
from paramiko.channel import Channel
from paramiko.common import MSG_CHANNEL_REQUEST
from paramiko.ssh_exception import IncompatiblePeer

from hpcdeploy.errors import AuthenticationError, TransportError
from hpcdeploy.transport.contract import UNNAMED_SIGNAL
from hpcdeploy.transport.known_hosts import KnownKey, distrust, fingerprint, judge, known_kinds, parse_known_hosts
from hpcdeploy.transport.ssh_auth import Ask, authenticate
from hpcdeploy.transport.ssh_settings import SshSettings

LOG = "hpcdeploy.ssh"

_RECEIVED = 64 * 1024

# Measured on loopback: with GCM one pass does what counter mode and a separate MAC do in two.
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-ctr")


def _handle_channel_request(channel: Channel, message: paramiko.Message) -> None:
    """Note a signal as a negative exit code (RFC 4254, 6.10), which paramiko itself passes over."""
    if message.get_text() == "exit-signal":
        message.get_boolean()
        name = message.get_text()
        known = signal.Signals.__members__.get(f"SIG{name}")
        transport = channel.get_transport()
        assert isinstance(transport, SignallingTransport)
        transport.signals[channel.get_id()] = -int(known) if known else UNNAMED_SIGNAL
        return
    message.rewind()
    message.get_int()  # the channel's number
    Channel._handle_request(channel, message)  # type: ignore[attr-defined]  # what the table held before


class SignallingTransport(paramiko.Transport):
    """paramiko's transport, which also learns that a command was ended by a signal."""

    _channel_handler_table = {  # noqa: RUF012 - the base class looks it up under this name
        **vars(paramiko.Transport)["_channel_handler_table"],
        MSG_CHANNEL_REQUEST: _handle_channel_request,
    }

    def __init__(self, sock: socket.socket | Channel) -> None:
        super().__init__(sock)
        self.signals: dict[int, int] = {}


class _EagerSocket(socket.socket):
    """A socket that acknowledges the first packets at once, and takes all that has come in one go.

    sshd writes its small packets of the beginning one after the other and waits for each to be acknowledged (Nagle), which
    the kernel puts off for 40 ms (tcp(7), TCP_QUICKACK): a connection and its first command took 90 ms instead of 40.
    paramiko asks for a packet's first 16 bytes and then for the rest; sshd acknowledges an upload every 96 KiB with a packet
    of its own, and each question to the kernel took the interpreter's lock from whoever sends.
    """

    _left = 64 * 1024
    _ahead = b""

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive as any socket does."""
        if not self._ahead:
            self._ahead = super().recv(max(bufsize, _RECEIVED), flags)
            if self._left > 0 and sys.platform == "linux":  # the kernel forgets the option with each packet
                self._left -= len(self._ahead)
                self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        data, self._ahead = self._ahead[:bufsize], self._ahead[bufsize:]
        return data


class Connection:
    """An open connection to the last host of a route; closing it closes all on the way."""

    def __init__(self, transport: SignallingTransport, cleanup: contextlib.ExitStack) -> None:
        self.transport = transport
        self._cleanup = cleanup

    def close(self) -> None:
        """Close everything. Closing twice is allowed."""
        self._cleanup.close()


def connect(route: Sequence[SshSettings], ask: Ask | None) -> Connection:
    """Connect to the last host of `route` through the others.

    Raises `TransportError` where a host cannot be reached and `AuthenticationError` where it is not the one we know or does
    not know us; nothing stays open then.
    """
    logging.getLogger(LOG).addHandler(logging.NullHandler())  # else Python prints paramiko's own traces to standard error
    with contextlib.ExitStack() as cleanup:
        previous: SignallingTransport | None = None
        transport: SignallingTransport
        for number, settings in enumerate(route):
            reached = _reach(settings, previous, route[number - 1].alias, cleanup)
            transport = _greet(settings, reached, cleanup)
            authenticate(transport, settings, ask, master=route[-1].master)
            _keep_alive(transport, settings, cleanup)
            previous = transport
        assert previous is not None
        return Connection(previous, cleanup.pop_all())


def _reach(
    settings: SshSettings, through: SignallingTransport | None, jump: str, cleanup: contextlib.ExitStack
) -> socket.socket | Channel:
    if through is not None:
        return _reach_through(settings, through, jump)
    if settings.proxy_command:
        return _reach_by_command(settings.proxy_command, cleanup)
    return _reach_directly(settings, cleanup)


def _reach_directly(settings: SshSettings, cleanup: contextlib.ExitStack) -> socket.socket:
    families = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
    name = f"{settings.hostname} port {settings.port}"
    try:
        family = families.get(settings.address_family, socket.AF_UNSPEC)
        addresses = socket.getaddrinfo(settings.hostname, settings.port, family, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        message = f"the name {settings.hostname} does not resolve ({error}); check Host and HostName, or the network (VPN?)"
        raise TransportError(message) from error
    problem: OSError | None = None
    for kind, what, protocol, _, address in addresses:
        sock = _EagerSocket(kind, what, protocol)
        try:
            sock.settimeout(settings.connect_timeout)
            sock.connect(address)
        except OSError as error:
            problem = error
            sock.close()
            continue
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        cleanup.callback(sock.close)
        return sock
    match problem:
        case ConnectionRefusedError():
            message = f"{name} refuses connections; check the port, and that its SSH server runs"
        case TimeoutError():
            message = f"{name} did not answer in {settings.connect_timeout:g} s; check the network (VPN?) or ConnectTimeout"
        case _:
            message = f"{name} cannot be reached ({problem}); check the network (VPN?)"
    raise TransportError(message) from problem


def _reach_through(settings: SshSettings, through: SignallingTransport, jump: str) -> Channel:
    try:
        return through.open_channel(
            "direct-tcpip", (settings.hostname, settings.port), ("127.0.0.1", 0), timeout=settings.connect_timeout
        )
    except (paramiko.SSHException, EOFError, OSError) as error:
        message = (
            f"the jump host {jump} does not connect to {settings.hostname} port {settings.port} ({error}); "
            f"check the name as the jump host knows it, and that it allows forwarding"
        )
        raise TransportError(message) from error


def _reach_by_command(command: str, cleanup: contextlib.ExitStack) -> socket.socket:
    ours, theirs = socket.socketpair()
    cleanup.callback(ours.close)
    with theirs:
        # The person's own shell reads the line, as with OpenSSH (ssh_config(5), ProxyCommand).
        shell = os.environ.get("SHELL") or "/bin/sh"
        try:
            process = subprocess.Popen(
                [shell, "-c", f"exec {command}"], stdin=theirs.fileno(), stdout=theirs.fileno(), start_new_session=True
            )
        except OSError as error:
            message = f"the shell {shell} for ProxyCommand does not start ({error.strerror}); check $SHELL"
            raise TransportError(message) from error

    def end() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()

    cleanup.callback(end)
    return ours


def _greet(settings: SshSettings, sock: socket.socket | Channel, cleanup: contextlib.ExitStack) -> SignallingTransport:
    """Agree on algorithms and keys, and check that the host is the one we know."""
    known = _known_hosts(settings)
    transport = SignallingTransport(sock)
    cleanup.callback(transport.close)
    transport.set_log_channel(LOG)
    # Not start_client's own timeout: after that it returns as if all were well.
    transport.banner_timeout = transport.handshake_timeout = settings.connect_timeout
    transport.auth_timeout = max(settings.connect_timeout, 120)
    options = transport.get_security_options()
    options.ciphers = tuple(name for name in _CIPHERS if name in options.ciphers)
    options.key_types = key_types(tuple(options.key_types), settings, known)
    try:
        transport.start_client()
        key = transport.get_remote_server_key().asbytes()
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise TransportError(_no_greeting(settings, error)) from error
    check_host_key(key, settings, known)
    return transport


def key_types(available: Sequence[str], settings: SshSettings, known: Sequence[KnownKey]) -> tuple[str, ...]:
    """Order the kinds of host key: those by which we know the host first (sshconnect2.c, ``order_hostkeyalgs``)."""
    allowed = [name for name in settings.host_key_algorithms if name in available] or list(available)
    kinds = known_kinds(settings.hostname, settings.port, settings.host_key_alias, known)
    return tuple(sorted(allowed, key=lambda name: _kind(name) not in kinds))


def _kind(algorithm: str) -> str:
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _known_hosts(settings: SshSettings) -> tuple[KnownKey, ...]:
    lines: list[KnownKey] = []
    for path in (*settings.known_hosts, *settings.global_known_hosts):
        with contextlib.suppress(OSError):
            lines.extend(parse_known_hosts(path.read_text(encoding="utf-8", errors="replace"), str(path)))
    return tuple(lines)


def check_host_key(key: bytes, settings: SshSettings, known: Sequence[KnownKey]) -> None:
    """Raise `AuthenticationError` unless `known` vouches for the public `key` that the host showed."""
    finding = judge(key, settings.hostname, settings.port, settings.host_key_alias, known)
    if finding.verdict != "known":
        shown = f"{paramiko.Message(key).get_text()} key {fingerprint(key)}"
        raise AuthenticationError(distrust(shown, settings, finding))


def _no_greeting(settings: SshSettings, error: BaseException) -> str:
    name = f"{settings.alias} ({settings.hostname} port {settings.port})"
    if isinstance(error, IncompatiblePeer):
        return f"{name} and hpcdeploy have no algorithm in common ({error}); use a newer SSH server"
    if settings.proxy_command:
        return f"ProxyCommand gave no connection to {name} ({error}): {settings.proxy_command}"
    return (
        f"{name} is reached but does not begin to speak SSH within {settings.connect_timeout:g} s ({error}); "
        f"check the port, and whether the server is overloaded or turns this address away"
    )


def _keep_alive(transport: SignallingTransport, settings: SshSettings, cleanup: contextlib.ExitStack) -> None:
    """Ask the server now and then whether it is there, and close where it does not say so (ServerAliveInterval)."""
    done = threading.Event()
    patience = settings.alive_interval * max(settings.alive_count, 1)

    def beat() -> None:
        while not done.wait(settings.alive_interval) and transport.is_active():
            watchdog = threading.Timer(patience, transport.close)
            watchdog.daemon = True
            watchdog.start()
            with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                transport.global_request("keepalive@openssh.com", wait=True)
            watchdog.cancel()

    threading.Thread(target=beat, daemon=True).start()
    cleanup.callback(done.set)
