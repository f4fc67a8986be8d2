"""The first step to a host: a socket on which its SSH server is to be heard, and the first line that is said there."""

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from hpcdeploy import __version__
from hpcdeploy.errors import TransportError
from hpcdeploy.transport.ssh_settings import SshSettings

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

GREETING = f"SSH-2.0-hpcdeploy_{__version__}"
"""Who we are, to an SSH server (RFC 4253, 4.2)."""

_RECEIVED = 64 * 1024

# Seconds in which a ProxyCommand that was asked to end does.
_ENDS = 2.0


class _EagerSocket(socket.socket):
    """A socket that greets and acknowledges the first packets at once, and takes all that has come in one go.

    A server that was greeted says which algorithms it has while paramiko, which greets again, is still being imported.
    sshd writes its small packets of the beginning one after the other and waits for each to be acknowledged (Nagle), which
    the kernel puts off for 40 ms (tcp(7), TCP_QUICKACK): a connection and its first command took 90 ms instead of 40.
    paramiko asks for a packet's first 16 bytes and then for the rest; sshd acknowledges an upload every 96 KiB with a packet
    of its own, and each question to the kernel took the interpreter's lock from whoever sends.
    """

    _left = 64 * 1024
    _ahead = b""
    _said = b""

    def greet(self) -> None:
        """Say the greeting now, and not when it is to be sent."""
        words = f"{GREETING}\r\n".encode()
        self.sendall(words)
        self._said = words

    def send(self, data: "ReadableBuffer", flags: int = 0, /) -> int:
        """Send as any socket does, but no greeting twice."""
        if self._said and bytes(data) == self._said:
            self._said = b""
            return len(GREETING) + 2
        return super().send(data, flags)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive as any socket does."""
        if not self._ahead:
            self._ahead = super().recv(max(bufsize, _RECEIVED), flags)
            if self._left > 0 and sys.platform == "linux":  # the kernel forgets the option with each packet
                self._left -= len(self._ahead)
                self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        data, self._ahead = self._ahead[:bufsize], self._ahead[bufsize:]
        return data


class Line:
    """A way over which a host's SSH server is heard; closing it twice is allowed."""

    def __init__(self, sock: socket.socket, process: subprocess.Popen[bytes] | None = None) -> None:
        self.socket = sock
        self._process = process
        if process:
            atexit.register(self.close)  # what still connects in the background when we end is closed by nobody else

    def close(self) -> None:
        """Hang up, and end the program of ProxyCommand."""
        self.socket.close()
        process, self._process = self._process, None
        if process is None:
            return
        atexit.unregister(self.close)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_ENDS)
                return


def dial(settings: SshSettings) -> Line:
    """Reach the host of `settings`, by its ProxyCommand where it has one. Raises `TransportError`."""
    if settings.proxy_command:
        return _reach_by_command(settings.proxy_command)
    return _reach_directly(settings)


def _reach_directly(settings: SshSettings) -> Line:
    families = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
    name = f"{settings.hostname} port {settings.port}"
    try:
        wanted = families.get(settings.address_family, socket.AF_UNSPEC)
        addresses = socket.getaddrinfo(settings.hostname, settings.port, wanted, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        message = f"the name {settings.hostname} does not resolve ({error}); check Host and HostName, or the network (VPN?)"
        raise TransportError(message) from error
    problem: OSError | None = None
    for family, kind, protocol, _, address in addresses:
        try:
            return Line(_call(_EagerSocket(family, kind, protocol), address, settings.connect_timeout))
        except OSError as error:  # where the kernel knows no IPv6 there is not even a socket
            problem = error
    match problem:
        case ConnectionRefusedError():
            message = f"{name} refuses connections; check the port, and that its SSH server runs"
        case TimeoutError():
            message = f"{name} did not answer in {settings.connect_timeout:g} s; check the network (VPN?) or ConnectTimeout"
        case _:
            message = f"{name} cannot be reached ({problem}); check the network (VPN?)"
    raise TransportError(message) from problem


def _call(sock: _EagerSocket, address: Any, patience: float) -> _EagerSocket:  # noqa: ANN401 - its form is the family's
    """Connect within `patience` seconds, and greet; a socket that cannot is closed."""
    try:
        sock.settimeout(patience)
        sock.connect(address)
        sock.greet()
    except OSError:
        sock.close()
        raise
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock


def _reach_by_command(command: str) -> Line:
    ours, theirs = socket.socketpair()
    with theirs:
        # The person's own shell reads the line, as with OpenSSH (ssh_config(5), ProxyCommand).
        shell = os.environ.get("SHELL") or "/bin/sh"
        try:
            process = subprocess.Popen(
                [shell, "-c", f"exec {command}"], stdin=theirs.fileno(), stdout=theirs.fileno(), start_new_session=True
            )
        except OSError as error:
            ours.close()
            message = f"the shell {shell} for ProxyCommand does not start ({error.strerror}); check $SHELL"
            raise TransportError(message) from error
    return Line(ours, process)
