"""Run a command on an SSH channel, and limit what a server can make paramiko store in memory.

paramiko 5.1.0 lacks three limits:

- A packet may have up to 4 GB, as announced in its first four bytes (``Packetizer.read_message``).
- The server's greeting may be a line of any length (``Packetizer.readline``).
- Data that exceeds a channel's window is stored (``Channel._feed``).

The first two matter most, because packets and greeting are read before the server's key is checked.
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
"""Maximum length of a packet in bytes: twice OpenSSH's maximum of 256 KiB (``PACKET_MAX_SIZE`` in packet.c).

RFC 4253, 6.1 requires support for packets of 35000 bytes.
"""

LONGEST_GREETING = 64 * 1024
"""Maximum length in bytes of a server's greeting: its version line, and other lines before it.

The version line has at most 255 bytes; the number of other lines is not limited (RFC 4253, 4.2).
"""


class LimitedPacketizer(Packetizer):
    """A paramiko packetizer that raises an error if a packet or the greeting is too long."""

    _greeting = 0

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:  # noqa: FBT001, FBT002 - paramiko's signature
        """Read `n` bytes.

        Raises:
            paramiko.SSHException: `n` is larger than `LONGEST_PACKET`.
        """
        if n > LONGEST_PACKET:
            raise paramiko.SSHException(f"the server announced a packet of {n} bytes; the maximum is {LONGEST_PACKET}")
        content: bytes = super().read_all(n, check_rekey)
        return content

    def _read_timeout(self, timeout: float) -> bytes:
        """Return a part of the greeting; raise `paramiko.SSHException` if the greeting is too long."""
        piece: bytes = super()._read_timeout(timeout)  # type: ignore[misc]  # the stubs lack private methods
        self._greeting += len(piece)
        if self._greeting > LONGEST_GREETING:
            raise paramiko.SSHException(f": more than {LONGEST_GREETING} bytes without a version")
        return piece


def check_window(channel: Channel, window: int) -> None:
    """Check that a server has not sent more bytes than the channel's `window`.

    Raises:
        paramiko.SSHException: The server has sent more bytes. paramiko closes the connection after this error.
    """
    if len(channel.in_buffer) + len(channel.in_stderr_buffer) > window:
        raise paramiko.SSHException(f"the server sent more than the {window} bytes of the channel's window")


WINDOW = 8 * 1024 * 1024
"""The window of a channel: the number of bytes that a server may send before they are read (RFC 4254, 5.2)."""

# Tolerance in bytes for `WINDOW`, the size of one packet: paramiko adjusts the window only after a read.
_PACKET = 256 * 1024

# Maximum time in seconds to wait for paramiko's thread to notice a lost connection.
_NOTICE_TIMEOUT = 1.0


def _handle_channel_request(channel: Channel, message: paramiko.Message) -> None:
    """Record the signal that killed a command as a negative exit code (RFC 4254, 6.10); paramiko ignores this message."""
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
    """Process output; the connection is closed if the server does not respect the window (RFC 4254, 5.2)."""
    Channel._feed(channel, message)  # type: ignore[attr-defined]
    check_window(channel, WINDOW + _PACKET)


def _handle_extended_data(channel: Channel, message: paramiko.Message) -> None:
    Channel._feed_extended(channel, message)  # type: ignore[attr-defined]
    check_window(channel, WINDOW + _PACKET)


class SignallingTransport(paramiko.Transport):
    """A paramiko transport that records which signals killed commands, and limits the data that a server may send."""

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
    """A running command. Creating it starts `line` on `channel`.

    Raises:
        RefusedError: The server rejected the command; nothing was done.
        LostError: The connection was lost; the command may have run.
    """

    def __init__(self, channel: Channel, transport: SignallingTransport, line: bytes) -> None:
        self._channel = channel
        self._transport = transport
        try:
            channel.exec_command(line)
        except (paramiko.SSHException, EOFError, OSError) as error:
            transport.join(_NOTICE_TIMEOUT)  # if the connection was lost, this channel may know before the transport does
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
            return receive(WINDOW)  # everything at once, because paramiko copies the rest at each partial read
        except (
            EOFError,
            paramiko.SSHException,
        ) as error:  # a read may send a window adjustment, which fails on a dead socket
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
        """Stop waiting for the command, and close its channel. Processes that then read or write the channel end."""
        # The errors are ignored: if the connection was just lost, paramiko notices it only when it sends the close message.
        with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
            self._channel.close()

    close = kill
