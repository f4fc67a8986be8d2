"""A login node over SSH, spoken by paramiko with OpenSSH's settings."""

import contextlib
import threading
from collections.abc import Callable

import paramiko
from paramiko.channel import Channel

from hpcdeploy.errors import ConnectionLostError, TransportError
from hpcdeploy.transport.ahead import Ahead
from hpcdeploy.transport.pump import LostError
from hpcdeploy.transport.ssh_auth import Ask, terminal_ask
from hpcdeploy.transport.ssh_connection import Connection, SignallingTransport, connect
from hpcdeploy.transport.ssh_settings import Hop, SshSettings, find_ssh, look_up, route, this_person
from hpcdeploy.transport.streamed import StreamedTransport

_WINDOW = 8 * 1024 * 1024
_PACKET = 256 * 1024

# OpenSSH takes packets of 32 KiB, of which paramiko keeps 64 bytes for itself; what is longer it copies again and again.
_PIECE = 32 * 1024 - 64
_FILE_BLOCK = 8 * _PIECE

# Seconds in which a thread of paramiko ends whose connection has died.
_SETTLES = 1.0


class _RemoteCommand:
    """A command on a channel of its own."""

    def __init__(self, channel: Channel, transport: SignallingTransport) -> None:
        self._channel = channel
        self._transport = transport

    def read_stdout(self) -> bytes:
        return self._read(self._channel.recv)

    def read_stderr(self) -> bytes:
        return self._read(self._channel.recv_stderr)

    @staticmethod
    def _read(receive: Callable[[int], bytes]) -> bytes:
        try:
            return receive(_WINDOW)  # all that there is: taking a part makes paramiko move the rest, each time
        except (EOFError, paramiko.SSHException) as error:  # reading sends window adjustments, which finds a dead socket
            raise ConnectionAbortedError from error

    def write(self, block: bytes) -> None:
        try:
            for start in range(0, len(block), _PIECE):
                self._channel.sendall(block[start : start + _PIECE])
        except (
            OSError,
            EOFError,
            paramiko.SSHException,
        ) as error:  # closed: the command ended, or the connection did, which wait() tells apart
            raise BrokenPipeError from error

    def end_input(self) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown_write()

    def wait(self) -> int:
        code = self._channel.recv_exit_status()
        signalled = self._transport.signals.get(self._channel.get_id())
        if signalled is not None:
            return signalled
        if code < 0:
            raise ConnectionAbortedError
        return code

    def kill(self) -> None:
        _let_go(self._channel)

    def let_go(self) -> None:
        _let_go(self._channel)


class SshTransport(StreamedTransport):
    """Runs commands and copies files over SSH, by the rules of `hpcdeploy.transport.contract.Transport`.

    `host` is a name of the SSH configuration, `config` another configuration file (``ssh -F``), `settings` what is set for
    the host where somebody has looked already. `ask` puts a server's questions (a one-time code) to the person; by default
    it is the terminal, where there is one. Nothing is connected before the first command, or `begin`.
    """

    _losses = (LostError, paramiko.SSHException, EOFError)
    _file_block = _FILE_BLOCK

    def __init__(
        self,
        host: str,
        *,
        config: str | None = None,
        settings: SshSettings | None = None,
        ask: Callable[[], Ask | None] = terminal_ask,
        ssh: Callable[[], str | None] = find_ssh,
    ) -> None:
        self._host = host
        self._config = config
        self._settings = settings
        self._ask = ask
        self._ssh = ssh
        self._connection: Connection | None = None
        self._ahead: Ahead[Connection] | None = None
        self._spare: Channel | None = None
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        """The machine, for messages: the name by which it was asked for."""
        return self._host

    def begin(self) -> None:
        """Connect in the background, unless a connection is there, and have a channel ready for the first command."""
        with self._lock:
            if self._connection is None and self._ahead is None:
                self._ahead = Ahead(self._connect_ahead, self._ask(), Connection.close)

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._lock:
            if self._ahead:
                self._ahead.abandon()
                self._ahead = None
            if self._connection:
                self._connection.close()
                self._connection = None

    def _connected(self) -> SignallingTransport:
        with self._lock:
            if self._connection and not self._connection.transport.is_active():
                self._connection.close()
                self._connection = None
            if self._connection is None:
                ahead, self._ahead = self._ahead, None
                self._connection = ahead.result() if ahead else self._connect(self._ask())
            return self._connection.transport

    def _connect(self, ask: Ask | None) -> Connection:
        return connect(self._route(), ask)

    def _connect_ahead(self, ask: Ask | None) -> Connection:
        connection = self._connect(ask)
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):  # the first command will say so
            self._spare = self._open_channel(connection.transport)
        return connection

    def _route(self) -> tuple[SshSettings, ...]:
        person, ssh = this_person(), self._ssh()

        def find(hop: Hop) -> SshSettings:
            return look_up(hop, config=self._config, person=person, ssh=ssh)

        return route(self._settings or find(Hop(host=self._host)), find)

    def _start(self, line: bytes, task: str, _timeout: float | None) -> _RemoteCommand:
        transport = self._connected()
        try:
            channel = self._channel(transport)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise TransportError(self._no_channel(task, error)) from error
        try:
            channel.exec_command(line)
        except (paramiko.SSHException, EOFError, OSError) as error:
            transport.join(_SETTLES)  # of a connection that dies its channels are told first
            if transport.is_active():
                raise TransportError(self._no_channel(task, error)) from error
            raise ConnectionLostError(self._lost(task)) from error
        return _RemoteCommand(channel, transport)

    def _channel(self, transport: SignallingTransport) -> Channel:
        with self._lock:
            spare, self._spare = self._spare, None
        return spare if spare and spare.get_transport() is transport else self._open_channel(transport)

    def _open_channel(self, transport: SignallingTransport) -> Channel:
        with self._opening():
            return transport.open_session(window_size=_WINDOW, max_packet_size=_PACKET)

    def _no_channel(self, task: str, error: BaseException) -> str:
        return f"{self.where} gave no channel ({error}), so nothing was done to {task}; try again"


def _let_go(channel: Channel) -> None:
    """Close a channel, also where the connection has just died, which paramiko finds out by telling the server."""
    with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
        channel.close()
