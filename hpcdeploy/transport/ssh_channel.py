"""A command on an SSH channel of its own, and what its server says of how it went."""

import contextlib
import signal
import socket
from collections.abc import Callable

import paramiko
from paramiko.channel import Channel
from paramiko.common import MSG_CHANNEL_DATA, MSG_CHANNEL_EXTENDED_DATA, MSG_CHANNEL_REQUEST

from hpcdeploy.transport.contract import UNNAMED_SIGNAL
from hpcdeploy.transport.pump import LostError, RefusedError
from hpcdeploy.transport.ssh_copy import PIECE
from hpcdeploy.transport.ssh_packets import LimitedPacketizer, check_window

WINDOW = 8 * 1024 * 1024
"""Bytes that a server may send before it is heard."""

# Bytes of one packet more: paramiko counts the window when somebody reads.
_PACKET = 256 * 1024

# Seconds in which a thread of paramiko ends whose connection has died.
_SETTLES = 1.0


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


def _handle_data(channel: Channel, message: paramiko.Message) -> None:
    """Take output, and end a connection whose server does not respect the window (RFC 4254, 5.2)."""
    Channel._feed(channel, message)  # type: ignore[attr-defined]
    check_window(channel, WINDOW + _PACKET)


def _handle_extended_data(channel: Channel, message: paramiko.Message) -> None:
    Channel._feed_extended(channel, message)  # type: ignore[attr-defined]
    check_window(channel, WINDOW + _PACKET)


class SignallingTransport(paramiko.Transport):
    """paramiko's transport, which also learns that a command was ended by a signal, and limits what a server sends."""

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
    """The command `line`, on a channel of its own. Raises `RefusedError`, or `LostError` where that is not known."""

    def __init__(self, channel: Channel, transport: SignallingTransport, line: bytes) -> None:
        self._channel = channel
        self._transport = transport
        try:
            channel.exec_command(line)
        except (paramiko.SSHException, EOFError, OSError) as error:
            transport.join(_SETTLES)  # of a connection that dies its channels are told first
            if transport.is_active():
                raise RefusedError(str(error)) from error
            raise LostError from error

    def read_stdout(self) -> bytes:
        """Return the next piece, or nothing at the end."""
        return self._read(self._channel.recv)

    def read_stderr(self) -> bytes:
        """Return the next piece, or nothing at the end."""
        return self._read(self._channel.recv_stderr)

    @staticmethod
    def _read(receive: Callable[[int], bytes]) -> bytes:
        try:
            return receive(WINDOW)  # all that there is: taking a part makes paramiko move the rest, each time
        except (EOFError, paramiko.SSHException) as error:  # reading sends window adjustments, which finds a dead socket
            raise ConnectionAbortedError from error

    def write(self, block: bytes) -> None:
        """Feed a piece of input; raises BrokenPipeError where nobody reads any more."""
        try:
            for start in range(0, len(block), PIECE):
                self._channel.sendall(block[start : start + PIECE])
        except (
            OSError,
            EOFError,
            paramiko.SSHException,
        ) as error:  # closed: the command ended, or the connection did, which wait() tells apart
            raise BrokenPipeError from error

    def end_input(self) -> None:
        """Say that there is no more input."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown_write()

    def wait(self) -> int:
        """Return the exit code, negative for a signal."""
        code = self._channel.recv_exit_status()
        signalled = self._transport.signals.get(self._channel.get_id())
        if signalled is not None:
            return signalled
        if code < 0:
            raise ConnectionAbortedError
        return code

    def kill(self) -> None:
        """Let go of it: closing its channel ends what reads or writes it."""
        # Where the connection has just died paramiko finds that out by telling the server.
        with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
            self._channel.close()

    close = kill
