"""Open a socket to a host's SSH server, and send the client's greeting, which is its identification string."""

import atexit
import contextlib
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Any

from hpcdeploy import __version__
from hpcdeploy.errors import TransportError
from hpcdeploy.transport.ssh_settings import SshSettings

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

GREETING = f"SSH-2.0-hpcdeploy_{__version__}"
"""The identification string that the client sends (RFC 4253, 4.2)."""

_RECEIVE_SIZE = 64 * 1024
"""Minimum number of bytes to request from the kernel at once."""

# Maximum time in seconds to wait for a ProxyCommand to exit, after each of two signals.
_EXIT_TIMEOUT = 2.0


class _EagerSocket(socket.socket):
    """A socket that saves time in three ways.

    - It sends the greeting at once, so that the server sends its algorithms while paramiko is being imported. When paramiko
      sends the same greeting later, the socket drops it.
    - It acknowledges the first packets at once. At the start sshd sends small packets one by one, and waits for an
      acknowledgement of each (Nagle), which the kernel delays by 40 ms (tcp(7), TCP_QUICKACK). With this delay, connecting
      and the first command took 90 ms instead of 40.
    - It receives large pieces. paramiko reads the first 16 bytes of a packet and then the rest, so each packet would take
      two system calls. During an upload, sshd sends a small packet for every 96 KiB that it receives, and each system call
      that reads such a packet took the interpreter's lock from the sending thread.
    """

    _to_acknowledge = 64 * 1024
    """Number of bytes left to receive before packets are no longer acknowledged at once; `recv` counts it down."""

    _ahead = b""
    """Bytes that were received, but not yet requested by paramiko."""

    _greeting_sent = b""
    """The greeting, after it was sent and before paramiko sends it again."""

    def send_greeting(self) -> None:
        """Send the greeting now."""
        greeting = f"{GREETING}\r\n".encode()
        self.sendall(greeting)
        self._greeting_sent = greeting

    def send(self, data: "ReadableBuffer", flags: int = 0, /) -> int:
        """Send data. The greeting is not sent again, but reported as sent."""
        if self._greeting_sent and bytes(data) == self._greeting_sent:
            self._greeting_sent = b""
            return len(GREETING) + 2
        return super().send(data, flags)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Return up to `bufsize` received bytes; empty at the end."""
        if not self._ahead:
            self._ahead = super().recv(max(bufsize, _RECEIVE_SIZE), flags)
            if self._to_acknowledge > 0 and hasattr(
                socket, "TCP_QUICKACK"
            ):  # only Linux; it must be set again, because the kernel resets it
                self._to_acknowledge -= len(self._ahead)
                self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        data, self._ahead = self._ahead[:bufsize], self._ahead[bufsize:]
        return data


class RawConnection:
    """A connection to a host's SSH port. Closing it twice is allowed."""

    def __init__(self, sock: socket.socket, process: subprocess.Popen[bytes] | None = None) -> None:
        self.socket = sock
        self._process = process
        if process:
            # If this program exits while a background thread is still opening the connection, nothing else closes it.
            atexit.register(self.close)

    def close(self) -> None:
        """Close the connection, and end the ProxyCommand."""
        self.socket.close()
        process, self._process = self._process, None
        if process is None:
            return
        atexit.unregister(self.close)
        for number in (signal.SIGTERM, signal.SIGKILL):
            # macOS raises PermissionError if all processes of the group have ended, but none was waited for.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_EXIT_TIMEOUT)
                return


def dial(settings: SshSettings) -> RawConnection:
    """Connect to the SSH port of the host of `settings`, with its ProxyCommand if there is one.

    Raises:
        TransportError: The host cannot be reached, or the shell for the ProxyCommand cannot be started.
    """
    if settings.proxy_command:
        return _reach_by_command(settings.proxy_command)
    return _reach_directly(settings)


def _reach_directly(settings: SshSettings) -> RawConnection:
    families = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
    name = f"{settings.hostname} port {settings.port}"
    try:
        wanted = families.get(settings.address_family, socket.AF_UNSPEC)
        addresses = socket.getaddrinfo(settings.hostname, settings.port, wanted, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        message = f"cannot resolve host {settings.hostname} ({error}); check Host and HostName, or the network (VPN?)"
        raise TransportError(message) from error
    problem: OSError | None = None
    for family, kind, protocol, _, address in addresses:
        try:
            return RawConnection(_connected(_EagerSocket(family, kind, protocol), address, settings.connect_timeout))
        except OSError as error:  # creating a socket may fail too: an IPv6 socket, if the kernel has no IPv6
            problem = error
    match problem:
        case ConnectionRefusedError():
            message = f"{name} refuses connections; check the port, and that its SSH server runs"
        case TimeoutError():
            message = f"{name} did not answer in {settings.connect_timeout:g} s; check the network (VPN?) or ConnectTimeout"
        case _:
            message = f"{name} cannot be reached ({problem}); check the network (VPN?)"
    raise TransportError(message) from problem


def _connected(sock: _EagerSocket, address: Any, timeout: float) -> _EagerSocket:  # noqa: ANN401 - its type depends on the family
    """Connect within `timeout` seconds and send the greeting; close the socket on failure."""
    try:
        sock.settimeout(timeout)
        # Options are set before connecting: macOS rejects them once the server has closed the connection (EINVAL).
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.connect(address)
        sock.send_greeting()
    except OSError:
        sock.close()
        raise
    sock.settimeout(None)
    return sock


def _reach_by_command(command: str) -> RawConnection:
    ours, theirs = socket.socketpair()
    with theirs:
        # As in OpenSSH, the command line is run by the user's shell (ssh_config(5), ProxyCommand).
        shell = os.environ.get("SHELL") or "/bin/sh"
        try:
            process = subprocess.Popen(
                [shell, "-c", f"exec {command}"], stdin=theirs.fileno(), stdout=theirs.fileno(), start_new_session=True
            )
        except OSError as error:
            ours.close()
            message = f"the shell {shell} for ProxyCommand does not start ({error.strerror}); check $SHELL"
            raise TransportError(message) from error
    return RawConnection(ours, process)
