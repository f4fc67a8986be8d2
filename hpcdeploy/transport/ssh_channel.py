"""Limit the length of SSH packets and greetings: paramiko reads as much as a server announces.

paramiko 5.1.0 reads a packet of the length in its first four bytes, up to 4 GB (``Packetizer.read_message``). It reads a
greeting until the end of a line (``Packetizer.readline``), and keeps data beyond a channel's window (``Channel._feed``).
The first two happen before the server's key is known.
"""

import contextlib
import socket
from collections.abc import Callable

import paramiko
from paramiko.channel import Channel
from paramiko.common import MSG_CHANNEL_DATA, MSG_CHANNEL_EXTENDED_DATA, MSG_CHANNEL_REQUEST
from paramiko.packet import Packetizer

from hpcdeploy.transport.contract import killed_by
from hpcdeploy.transport.pump import LostError, RefusedError
from hpcdeploy.transport.ssh_copy import PIECE

LONGEST_PACKET = 512 * 1024
"""Maximum packet size in bytes; OpenSSH uses 256 KiB (``PACKET_MAX_SIZE`` in packet.c), at least 35000 (RFC 4253, 6.1)."""

LONGEST_GREETING = 64 * 1024
"""Maximum number of bytes before the end of a server's version line.

That line has at most 255 bytes (RFC 4253, 4.2), and others may precede it.
"""


class LimitedPacketizer(Packetizer):
    """A paramiko packetizer that fails if a packet or the greeting is too long."""

    _greeting = 0

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:  # noqa: FBT001, FBT002 - paramiko's signature
        """Read `n` bytes, as paramiko does.

        Raises:
            paramiko.SSHException: `n` is too large.
        """
        if n > LONGEST_PACKET:
            raise paramiko.SSHException(f"the server announced a packet of {n} bytes; the maximum is {LONGEST_PACKET}")
        content: bytes = super().read_all(n, check_rekey)
        return content

    def _read_timeout(self, timeout: float) -> bytes:
        """Read a part of the greeting."""
        piece: bytes = super()._read_timeout(timeout)  # type: ignore[misc]  # the stubs lack private methods
        self._greeting += len(piece)
        if self._greeting > LONGEST_GREETING:
            raise paramiko.SSHException(f": more than {LONGEST_GREETING} bytes without a version")
        return piece


def check_window(channel: Channel, window: int) -> None:
    """Raise `paramiko.SSHException`, which closes the connection, if a server sent more than the channel's `window`."""
    if len(channel.in_buffer) + len(channel.in_stderr_buffer) > window:
        raise paramiko.SSHException(f"the server sent more than the {window} bytes of the channel's window")


WINDOW = 8 * 1024 * 1024
"""Number of bytes that a server may send before they are read."""

# One more packet, in bytes: paramiko counts the window at each read.
_PACKET = 256 * 1024

# Time in seconds to wait for paramiko's thread after its connection was lost.
_SETTLES = 1.0


def _handle_channel_request(channel: Channel, message: paramiko.Message) -> None:
    """Record a signal as a negative exit code (RFC 4254, 6.10), which paramiko itself ignores."""
    if message.get_text() == "exit-signal":
        message.get_boolean()
        name = message.get_text()
        transport = channel.get_transport()
        assert isinstance(transport, SignallingTransport)
        transport.signals[channel.get_id()] = killed_by(name)
        return
    message.rewind()
    message.get_int()  # the channel's number
    Channel._handle_request(channel, message)  # type: ignore[attr-defined]  # the table's original entry


def _handle_data(channel: Channel, message: paramiko.Message) -> None:
    """Process output, and close a connection whose server does not respect the window (RFC 4254, 5.2)."""
    Channel._feed(channel, message)  # type: ignore[attr-defined]
    check_window(channel, WINDOW + _PACKET)


def _handle_extended_data(channel: Channel, message: paramiko.Message) -> None:
    Channel._feed_extended(channel, message)  # type: ignore[attr-defined]
    check_window(channel, WINDOW + _PACKET)


class SignallingTransport(paramiko.Transport):
    """A paramiko transport that records signals of commands, and limits the data that a server may send."""

    _channel_handler_table = {  # noqa: RUF012 - the base class looks it up under this name
        **vars(paramiko.Transport)["_channel_handler_table"],
        MSG_CHANNEL_DATA: _handle_data,
        MSG_CHANNEL_EXTENDED_DATA: _handle_extended_data,
        MSG_CHANNEL_REQUEST: _handle_channel_request,
    }

    def __init__(self, sock: socket.socket | Channel) -> None:
        super().__init__(sock, packetizer_class=LimitedPacketizer)
        self.signals: dict[int, int] = {}


class RemoteCommand:
    """The command `line`, on its own channel.

    Raises:
        RefusedError: The server rejected it; nothing was done.
        LostError: The connection was lost; the command may have run.
    """

    def __init__(self, channel: Channel, transport: SignallingTransport, line: bytes) -> None:
        self._channel = channel
        self._transport = transport
        try:
            channel.exec_command(line)
        except (paramiko.SSHException, EOFError, OSError) as error:
            transport.join(_SETTLES)  # when a connection is lost, its channels are informed first
            if transport.is_active():
                raise RefusedError(str(error)) from error
            raise LostError from error

    def read_stdout(self) -> bytes:
        """Return the next piece of standard output; empty at the end."""
        return self._read(self._channel.recv)

    def read_stderr(self) -> bytes:
        """Return the next piece of standard error; empty at the end."""
        return self._read(self._channel.recv_stderr)

    @staticmethod
    def _read(receive: Callable[[int], bytes]) -> bytes:
        try:
            return receive(WINDOW)  # read everything: after a partial read paramiko moves the rest each time
        except (EOFError, paramiko.SSHException) as error:  # reading sends window adjustments, which detects a dead socket
            raise ConnectionAbortedError from error

    def write(self, block: bytes) -> None:
        """Write a piece of standard input.

        Raises:
            BrokenPipeError: The command or the connection ended.
        """
        try:
            for start in range(0, len(block), PIECE):
                self._channel.sendall(block[start : start + PIECE])
        except (
            OSError,
            EOFError,
            paramiko.SSHException,
        ) as error:  # wait() tells whether the command or the connection ended
            raise BrokenPipeError from error

    def end_input(self) -> None:
        """Close standard input."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown_write()

    def wait(self) -> int:
        """Return the exit code, negative for a signal.

        Raises:
            ConnectionAbortedError: The connection was lost.
        """
        code = self._channel.recv_exit_status()
        signalled = self._transport.signals.get(self._channel.get_id())
        if signalled is not None:
            return signalled
        if code < 0:
            raise ConnectionAbortedError
        return code

    def kill(self) -> None:
        """Abandon the command: closing its channel ends processes that read or write it."""
        # If the connection was just lost, paramiko only notices when it sends the close message.
        with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
            self._channel.close()

    close = kill
