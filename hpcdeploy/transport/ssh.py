"""Use a login node over SSH with paramiko, configured by the user's OpenSSH configuration."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hpcdeploy.transport.command_line import command_line
from hpcdeploy.transport.dialling import dial
from hpcdeploy.transport.prompts import Ahead, Ask, terminal_ask
from hpcdeploy.transport.pump import LostError, RefusedError
from hpcdeploy.transport.ssh_copy import PIECE
from hpcdeploy.transport.ssh_settings import Hop, SshSettings, find_ssh, look_up, route, this_person
from hpcdeploy.transport.streamed import Started, StreamedTransport

if TYPE_CHECKING:
    from hpcdeploy.transport.ssh_connection import Connection


@dataclass(frozen=True)
class _Begun:
    """A command that `begin` started in advance.

    Attributes:
        connection: The connection over which the command was started.
        line: The command line.
        command: The started command.
    """

    connection: "Connection"
    line: bytes
    command: Started


class SshTransport(StreamedTransport):
    """Run commands and copy files over SSH (see `hpcdeploy.transport.contract.Transport`).

    The connection is opened by the first command or by `begin`. paramiko is imported then, while the server sends its
    greeting, which takes about as long as the import.

    Args:
        host: A name in the SSH configuration, a host name or an address.
        config: Another SSH configuration file, as for ``ssh -F``.
        settings: The host's settings; None to look them up when connecting.
        ask: Returns a function that prompts the user, for example for a one-time code; None if that is not possible.
        ssh: Returns the path of the program ssh; None if it is not installed.
    """

    _file_block = 8 * PIECE

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
        self._begun: _Begun | None = None
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        """The machine's name as given by the user, for messages."""
        return self._host

    def begin(self, argv: Sequence[str]) -> None:
        """Connect and start `argv` in the background, unless there is a connection already."""
        connect = partial(self._connect_ahead, command_line(argv))
        with self._lock:
            if self._connection is None and self._ahead is None:
                self._ahead = Ahead(connect, self._ask(), lambda made: made.close())
        _import_paramiko()  # not in the background, where the import would block all other work

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._lock:
            if self._ahead:
                self._ahead.abandon()
                self._ahead = None
            if self._connection:
                self._connection.close()
                self._connection = None

    def _connected(self) -> "Connection":
        with self._lock:
            ahead, self._ahead = self._ahead, None
            if ahead:
                self._connection = ahead.result()
            if self._connection and not self._connection.lasts():
                self._connection.close()
                self._connection = None
            if self._connection is None:
                self._connection = self._connect(self._ask())
            return self._connection

    def _connect(self, ask: Ask | None) -> "Connection":
        person, ssh = this_person(), self._ssh()

        def find(hop: Hop) -> SshSettings:
            return look_up(hop, config=self._config, person=person, ssh=ssh)

        hops = route(self._settings or find(Hop(host=self._host)), find)
        raw = dial(hops[0])
        try:
            _import_paramiko()
            from hpcdeploy.transport.ssh_connection import connect
        except BaseException:
            raw.close()
            raise
        return connect(hops, raw, ask)

    def _connect_ahead(self, line: bytes, ask: Ask | None) -> "Connection":
        connection = self._connect(ask)
        with contextlib.suppress(RefusedError, LostError):  # the first command will report it
            self._begun = _Begun(connection, line, self._begin_command(connection, line))
        return connection

    def _start(self, line: bytes, _task: str, _timeout: float | None) -> Started:
        connection = self._connected()
        with self._lock:
            prepared, self._begun = self._begun, None
        if prepared and prepared.connection is connection:
            if prepared.line == line:
                return prepared.command
            prepared.command.close()
        return self._begin_command(connection, line)

    def _begin_command(self, connection: "Connection", line: bytes) -> Started:
        with self._opening():
            channel = connection.open_channel()
        return connection.start(channel, line)


def _import_paramiko() -> None:
    with _prevented_import("invoke"):  # a third of paramiko's import time; only needed for "Match exec", which ssh evaluates
        import hpcdeploy.transport.ssh_connection  # noqa: F401


@contextmanager
def _prevented_import(name: str) -> Iterator[None]:
    """Prevent the import of the optional dependency `name` in the context, unless it was imported already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # the import system's mark for a missing module (import reference, 5.3.1)
    try:
        yield
    finally:
        sys.modules.pop(name, None)
