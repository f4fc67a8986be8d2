"""Limit the length of SSH packets and greetings: paramiko reads as much as a server announces.

paramiko 5.1.0 reads a packet of the length in its first four bytes, up to 4 GB (``Packetizer.read_message``), reads a
greeting until the end of a line (``Packetizer.readline``), and keeps data beyond a channel's window (``Channel._feed``). The
first two happen before the server's key is known.
"""

import paramiko
from paramiko.channel import Channel
from paramiko.packet import Packetizer

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
