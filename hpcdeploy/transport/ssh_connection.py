"""Open an SSH connection through any number of jump hosts. Each host has its own settings, and its host key is checked."""

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
from hpcdeploy.transport.dialling import GREETING, RawConnection
from hpcdeploy.transport.known_hosts import KnownKey, distrust_message, fingerprint, judge, known_kinds, parse_known_hosts
from hpcdeploy.transport.prompts import Ask
from hpcdeploy.transport.pump import RefusedError
from hpcdeploy.transport.ssh_auth import authenticate
from hpcdeploy.transport.ssh_channel import WINDOW, RemoteCommand, SignallingTransport
from hpcdeploy.transport.ssh_settings import SshSettings

LOG = "hpcdeploy.ssh"

_PACKET = 256 * 1024

# Maximum time for greeting and key exchange together, in multiples of ConnectTimeout. A single step may take ConnectTimeout.
_GREETING_TIME = 4

# The ciphers in the order of preference. GCM is first, because it is faster (measured on loopback): it encrypts and
# authenticates in one pass, while counter mode needs a separate MAC.
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-ctr")


class Connection:
    """An open connection to the last host of a route. Closing it also closes the connections to the jump hosts."""

    def __init__(self, transport: SignallingTransport, cleanup: contextlib.ExitStack) -> None:
        self._transport = transport
        self._cleanup = cleanup

    def lasts(self) -> bool:
        """Tell whether paramiko regards the connection as open; it may have been lost without notice."""
        return self._transport.is_active()

    def open_channel(self) -> Channel:
        """Open a channel for one command.

        Raises:
            RefusedError: The server rejected the channel, or the connection was lost; nothing was done.
        """
        try:
            return self._transport.open_session(window_size=WINDOW, max_packet_size=_PACKET)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise RefusedError(str(error)) from error

    def start(self, channel: Channel, line: bytes) -> RemoteCommand:
        """Run `line` in the login shell on `channel`.

        Raises:
            RefusedError: The server rejected the command; nothing was done.
            LostError: The connection was lost; the command may have run.
        """
        return RemoteCommand(channel, self._transport, line)

    def close(self) -> None:
        """Close the connection, and those to the jump hosts. Closing twice is allowed."""
        self._cleanup.close()


def connect(route: Sequence[SshSettings], raw: RawConnection, ask: Ask | None) -> Connection:
    """Connect to the last host of `route` through the other hosts.

    After an error all connections are closed, also `raw`.

    Args:
        route: The settings of the jump hosts in order, and of the last host.
        raw: An open connection to the SSH port of the first host.
        ask: Prompts the user; None if that is not possible.

    Raises:
        TransportError: A host cannot be reached.
        AuthenticationError: A host key is not trusted, or a host rejected the login.
    """
    logging.getLogger(LOG).addHandler(
        logging.NullHandler()
    )  # otherwise Python prints paramiko's tracebacks to standard error
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(raw.close)
        transport = _log_in(route[0], raw.socket, ask, route[-1].master, cleanup)
        for jump, settings in itertools.pairwise(route):
            sock = _reach_through(settings, transport, jump.alias)
            transport = _log_in(settings, sock, ask, route[-1].master, cleanup)
        return Connection(transport, cleanup.pop_all())


def _log_in(
    settings: SshSettings, sock: socket.socket | Channel, ask: Ask | None, master: str, cleanup: contextlib.ExitStack
) -> SignallingTransport:
    transport = _exchange_keys(settings, sock, cleanup)
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
            f"check that the jump host can resolve this name, and that it allows TCP forwarding"
        )
        raise TransportError(message) from error


def _exchange_keys(
    settings: SshSettings, sock: socket.socket | Channel, cleanup: contextlib.ExitStack
) -> SignallingTransport:
    """Exchange greetings and keys with the host, and check the host key."""
    known = _known_hosts(settings)
    transport = SignallingTransport(sock)
    cleanup.callback(transport.close)
    transport.set_log_channel(LOG)
    transport.local_version = GREETING
    # The argument "timeout" of start_client is not used, because start_client returns without an error when it is over.
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
        raise TransportError(_failure_message(settings, error)) from error
    check_host_key(key, settings, known)
    return transport


@contextlib.contextmanager
def _within(seconds: float, end: Callable[[], None]) -> Iterator[None]:
    """Call `end` if the context is still open after `seconds`.

    Timeouts of single steps do not suffice, because a server may send bytes in time forever.
    """
    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def key_types(available: Sequence[str], settings: SshSettings, known: Sequence[KnownKey]) -> tuple[str, ...]:
    """Return the types of host keys to request, in order: types of the host's known keys are first, as in OpenSSH.

    Source: ``order_hostkeyalgs`` in OpenSSH's sshconnect2.c.
    """
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
    """Check that `known` has the public `key` of the host.

    Raises:
        AuthenticationError: The key is unknown, differs from the known ones, or is revoked.
    """
    finding = judge(key, settings.hostname, settings.port, settings.host_key_alias, known)
    if finding.verdict != "known":
        shown = f"{paramiko.Message(key).get_text()} key {fingerprint(key)}"
        raise AuthenticationError(distrust_message(shown, settings, finding))


def _failure_message(settings: SshSettings, error: BaseException) -> str:
    name = f"{settings.alias} ({settings.hostname} port {settings.port})"
    if isinstance(error, IncompatiblePeer):
        return f"{name} and hpcdeploy have no algorithm in common ({error}); use a newer SSH server"
    if settings.proxy_command:
        return f"ProxyCommand gave no connection to {name} ({error}): {settings.proxy_command}"
    return (
        f"{name} accepts connections, but sent no SSH greeting within {settings.connect_timeout:g} s ({error}); "
        f"check the port, and whether the server is overloaded or rejects this machine's address"
    )


def _keep_alive(transport: SignallingTransport, settings: SshSettings, cleanup: contextlib.ExitStack) -> None:
    """Send keepalive requests every ServerAliveInterval seconds, and close the connection if there is no answer.

    The answer may take ServerAliveInterval times ServerAliveCountMax.
    """
    done = threading.Event()
    timeout = settings.alive_interval * max(settings.alive_count, 1)

    def beat() -> None:
        while not done.wait(settings.alive_interval) and transport.is_active():
            watchdog = threading.Timer(timeout, transport.close)
            watchdog.daemon = True
            watchdog.start()
            with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                transport.global_request("keepalive@openssh.com", wait=True)
            watchdog.cancel()

    threading.Thread(target=beat, daemon=True).start()
    cleanup.callback(done.set)
