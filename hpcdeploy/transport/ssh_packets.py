"""SSH packets and greetings of a limited length: paramiko reads as much as a server says.

paramiko 5.1.0 takes a packet of the length that its first four bytes tell, up to 4 GB (``Packetizer.read_message``), reads
a greeting until a line ends (``Packetizer.readline``), and keeps what a server sends beyond a channel's window
(``Channel._feed``). The first two come before the server's key is known.
"""

import paramiko
from paramiko.channel import Channel
from paramiko.packet import Packetizer

LONGEST_PACKET = 512 * 1024
"""Bytes. OpenSSH's longest packet is 256 KiB (``PACKET_MAX_SIZE`` in packet.c); RFC 4253, 6.1, asks for 35000 at least."""

LONGEST_GREETING = 64 * 1024
"""Bytes that a server may send before its version line ends. That line has at most 255 (RFC 4253, 4.2), and others may come
before it."""


class LimitedPacketizer(Packetizer):
    """paramiko's reader of packets, which ends with an error where a packet or the greeting is too long."""

    _greeting = 0

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:  # noqa: FBT001, FBT002 - paramiko's signature
        """Read `n` bytes, as paramiko does."""
        if n > LONGEST_PACKET:
            raise paramiko.SSHException(f"the server announces a packet of {n} bytes, and the longest has {LONGEST_PACKET}")
        content: bytes = super().read_all(n, check_rekey)
        return content

    def _read_timeout(self, timeout: float) -> bytes:
        """Read some bytes of the greeting."""
        piece: bytes = super()._read_timeout(timeout)  # type: ignore[misc]  # the stubs leave out what is private
        self._greeting += len(piece)
        if self._greeting > LONGEST_GREETING:
            raise paramiko.SSHException(f": more than {LONGEST_GREETING} bytes and no version")
        return piece


def check_window(channel: Channel, window: int) -> None:
    """Raise `paramiko.SSHException`, which ends the connection, where a server sent more than the channel's `window`."""
    if len(channel.in_buffer) + len(channel.in_stderr_buffer) > window:
        raise paramiko.SSHException(f"the server sent more than the {window} bytes of the channel's window")
