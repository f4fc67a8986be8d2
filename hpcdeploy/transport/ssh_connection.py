"""One SSH connection, through as many hosts as it takes, each with its own settings and its host key checked."""

import contextlib
import itertools
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

import paramiko
from paramiko.channel import Channel
from paramiko.ssh_exception import IncompatiblePeer

from hpcdeploy.errors import AuthenticationError, TransportError
from hpcdeploy.transport.asking import Ask
from hpcdeploy.transport.dialling import GREETING, Line
from hpcdeploy.transport.known_hosts import KnownKey, distrust, fingerprint, judge, known_kinds, parse_known_hosts
from hpcdeploy.transport.pump import RefusedError
from hpcdeploy.transport.ssh_auth import authenticate
from hpcdeploy.transport.ssh_channel import WINDOW, RemoteCommand, SignallingTransport
from hpcdeploy.transport.ssh_settings import SshSettings

LOG = "hpcdeploy.ssh"

_PACKET = 256 * 1024

# The greeting and the exchange of keys, all together, in ConnectTimeouts: each waits for one at most.
_GREETING_TIME = 4

# Measured on loopback: with GCM one pass does what counter mode and a separate MAC do in two.
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-ctr")


class Connection:
    """An open connection to the last host of a route; closing it closes all on the way."""

    def __init__(self, transport: SignallingTransport, cleanup: contextlib.ExitStack) -> None:
        self._transport = transport
        self._cleanup = cleanup

    def lasts(self) -> bool:
        """Say whether it is there still, as far as anybody has noticed."""
        return self._transport.is_active()

    def open_channel(self) -> Channel:
        """Open a channel for one command; raises `RefusedError`."""
        try:
            return self._transport.open_session(window_size=WINDOW, max_packet_size=_PACKET)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise RefusedError(str(error)) from error

    def start(self, channel: Channel, line: bytes) -> RemoteCommand:
        """Have the login shell there run `line` on `channel`."""
        return RemoteCommand(channel, self._transport, line)

    def close(self) -> None:
        """Close everything. Closing twice is allowed."""
        self._cleanup.close()


def connect(route: Sequence[SshSettings], line: Line, ask: Ask | None) -> Connection:
    """Connect to the last host of `route` through the others, over a `line` to the first.

    Raises `TransportError` where a host cannot be reached and `AuthenticationError` where it is not the one we know or does
    not know us; nothing stays open then.
    """
    logging.getLogger(LOG).addHandler(logging.NullHandler())  # else Python prints paramiko's own traces to standard error
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(line.close)
        transport = _let_in(route[0], line.socket, ask, route[-1].master, cleanup)
        for jump, settings in itertools.pairwise(route):
            reached = _reach_through(settings, transport, jump.alias)
            transport = _let_in(settings, reached, ask, route[-1].master, cleanup)
        return Connection(transport, cleanup.pop_all())


def _let_in(
    settings: SshSettings, reached: socket.socket | Channel, ask: Ask | None, master: str, cleanup: contextlib.ExitStack
) -> SignallingTransport:
    transport = _greet(settings, reached, cleanup)
    authenticate(transport, settings, ask, master=master)
    _keep_alive(transport, settings, cleanup)
    return transport


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


def _greet(settings: SshSettings, sock: socket.socket | Channel, cleanup: contextlib.ExitStack) -> SignallingTransport:
    """Agree on algorithms and keys, and check that the host is the one we know."""
    known = _known_hosts(settings)
    transport = SignallingTransport(sock)
    cleanup.callback(transport.close)
    transport.set_log_channel(LOG)
    transport.local_version = GREETING
    # Not start_client's own timeout: after that it returns as if all were well.
    transport.banner_timeout = transport.handshake_timeout = settings.connect_timeout
    transport.auth_timeout = max(settings.connect_timeout, 120)
    options = transport.get_security_options()
    options.ciphers = tuple(name for name in _CIPHERS if name in options.ciphers)
    options.key_types = key_types(tuple(options.key_types), settings, known)
    try:
        with _within(_GREETING_TIME * settings.connect_timeout, transport.close):
            transport.start_client()
        key = transport.get_remote_server_key().asbytes()
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise TransportError(_no_greeting(settings, error)) from error
    check_host_key(key, settings, known)
    return transport


@contextlib.contextmanager
def _within(seconds: float, end: Callable[[], None]) -> Iterator[None]:
    """Call `end` after so many seconds: a server may go on sending bytes, each in time, and never come to its end."""
    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


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
