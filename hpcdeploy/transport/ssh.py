"""A login node over SSH, spoken by paramiko with OpenSSH's settings."""

import contextlib
import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Self

import paramiko
from paramiko.channel import Channel

from hpcdeploy.errors import ConnectionLostError, TransportError
from hpcdeploy.progress import Progress, ignore_progress
from hpcdeploy.transport import ssh_copy
from hpcdeploy.transport.ahead import Ahead
from hpcdeploy.transport.command_line import command_line, shown
from hpcdeploy.transport.contract import Completed, Input, Output, ignore_output
from hpcdeploy.transport.pump import LostError, SilenceError, blocks, ignore_count, pump
from hpcdeploy.transport.ssh_auth import Ask, terminal_ask
from hpcdeploy.transport.ssh_connection import Connection, SignallingTransport, connect
from hpcdeploy.transport.ssh_settings import Hop, SshSettings, find_ssh, look_up, route, this_person
from hpcdeploy.whole_file import part_name, whole_file

_WINDOW = 8 * 1024 * 1024
_PACKET = 256 * 1024

# OpenSSH takes packets of 32 KiB, of which paramiko keeps 64 bytes for itself; what is longer it copies again and again.
_PIECE = 32 * 1024 - 64
_FILE_BLOCK = 8 * _PIECE


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


class SshTransport:
    """Runs commands and copies files over SSH, by the rules of `hpcdeploy.transport.contract.Transport`.

    `host` is a name of the SSH configuration, `config` another configuration file (``ssh -F``). `ask` puts a server's
    questions (a one-time code) to the person; by default it is the terminal, where there is one. Nothing is connected
    before the first command. The login shell there is to be a Bourne shell or zsh (`hpcdeploy.transport.command_line`).
    """

    def __init__(
        self,
        host: str,
        *,
        config: str | None = None,
        ask: Callable[[], Ask | None] = terminal_ask,
        ssh: Callable[[], str | None] = find_ssh,
    ) -> None:
        self._host = host
        self._config = config
        self._ask = ask
        self._ssh = ssh
        self._connection: Connection | None = None
        self._ahead: Ahead[Connection] | None = None
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        """The machine, for messages: the name by which it was asked for."""
        return self._host

    def begin(self) -> None:
        """Connect in the background, unless a connection is there."""
        with self._lock:
            if self._connection is None and self._ahead is None:
                self._ahead = Ahead(self._connect, self._ask(), Connection.close)

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Input = b"",
        on_stdout: Output = ignore_output,
        on_stderr: Output = ignore_output,
        timeout: float | None = None,
    ) -> Completed:
        """Run `argv` there. After `timeout` seconds of silence the channel is closed, which ends what reads or writes it."""
        out, err = bytearray(), bytearray()

        def keep_stdout(piece: bytes) -> None:
            out.extend(piece)
            on_stdout(piece)

        def keep_stderr(piece: bytes) -> None:
            err.extend(piece)
            on_stderr(piece)

        code = self._stream(argv, blocks(stdin), on_stdout=keep_stdout, on_stderr=keep_stderr, timeout=timeout)
        return Completed(exit_code=code, stdout=bytes(out), stderr=bytes(err))

    def put(self, local: Path, remote: str, *, progress: Progress = ignore_progress) -> None:
        """Copy `local` there; raises `TransportError` where one cannot be read or the other not written."""
        try:
            with local.open("rb") as file:
                status = os.fstat(file.fileno())
                part, mark = part_name(remote), secrets.token_hex(16)
                digest = hashlib.sha256()
                done = 0

                def count(fed: int) -> None:
                    nonlocal done
                    done += fed
                    progress(done, status.st_size)

                progress(0, status.st_size)
                argv = ssh_copy.receive_argv(part, status.st_size, mark)
                doing = f"copy {local} to {remote}"
                answer = self._collect(argv, doing, stdin=_hashed(file, digest.update), on_fed=count)
        except OSError as error:
            message = f"cannot copy {local} to {self.where}: {error.strerror} ({error.filename or local})"
            raise TransportError(message) from error
        found = ssh_copy.received_digest(answer, mark)
        if found not in (digest.hexdigest(), "none"):
            self.run(ssh_copy.remove_argv(part))
            message = (
                f"{remote} on {self.where} came out wrong: sha256 {digest.hexdigest()} was sent, {found} found; nothing is "
                f"left there. Check that {local} does not change meanwhile, and the disk there, and try again"
            )
            raise TransportError(message)
        rename = ssh_copy.rename_argv(part, remote, executable=bool(status.st_mode & 0o100))
        self._collect(rename, doing)

    def get(self, remote: str, local: Path, *, progress: Progress = ignore_progress) -> None:
        """Copy `remote` here; raises `TransportError` where one cannot be read or the other not written."""
        mark = secrets.token_hex(16)
        try:
            with whole_file(local) as file:
                landing = _Landing(file, mark, progress)
                self._collect(ssh_copy.send_argv(remote, mark), f"copy {remote} to {local}", on_stdout=landing.take)
                landing.finish(f"{remote} of {self.where}")
        except OSError as error:
            message = f"cannot copy {remote} of {self.where} to {local}: {error.strerror} ({error.filename or local})"
            raise TransportError(message) from error

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._lock:
            if self._ahead:
                self._ahead.abandon()
                self._ahead = None
            if self._connection:
                self._connection.close()
                self._connection = None

    def __enter__(self) -> Self:
        """Enter: nothing is done until the first command."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()

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

    def _route(self) -> tuple[SshSettings, ...]:
        person, ssh = this_person(), self._ssh()

        def find(hop: Hop) -> SshSettings:
            return look_up(hop, config=self._config, person=person, ssh=ssh)

        return route(find(Hop(host=self._host)), find)

    def _collect(
        self,
        argv: Sequence[str],
        doing: str,
        *,
        stdin: Iterable[bytes] = (),
        on_fed: Callable[[int], None] = ignore_count,
        on_stdout: Output | None = None,
    ) -> bytes:
        """Run a step of `doing`, which must succeed, and return what it wrote, if nobody else took it."""
        out, err = bytearray(), bytearray()
        code = self._stream(argv, stdin, on_stdout=on_stdout or out.extend, on_stderr=err.extend, on_fed=on_fed, doing=doing)
        if code:
            said = err.decode(errors="replace").strip() or f"exit code {code}"
            raise TransportError(f"cannot {doing} on {self.where}: {said}")
        return bytes(out)

    def _stream(
        self,
        argv: Sequence[str],
        stdin: Iterable[bytes],
        *,
        on_stdout: Output,
        on_stderr: Output,
        on_fed: Callable[[int], None] = ignore_count,
        timeout: float | None = None,
        doing: str = "",
    ) -> int:
        line = command_line(argv)
        transport = self._connected()
        task = doing or f"run {shown(argv)}"
        try:
            channel = transport.open_session(window_size=_WINDOW, max_packet_size=_PACKET)
            channel.exec_command(line)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise TransportError(
                f"{self.where} gave no channel ({error}), so nothing was done to {task}; try again"
            ) from error
        try:
            return pump(
                _RemoteCommand(channel, transport),
                stdin,
                on_stdout=on_stdout,
                on_stderr=on_stderr,
                on_fed=on_fed,
                timeout=timeout,
            )
        except SilenceError:
            message = (
                f"{self.where}: nothing was heard for {timeout:g} s, so this was given up: {task}; it may still run there"
            )
            raise ConnectionLostError(message) from None
        except (LostError, paramiko.SSHException, EOFError) as error:
            message = (
                f"the connection to {self.where} died in the middle, and whether this was done is not known: {task}; "
                f"check the network and try again"
            )
            raise ConnectionLostError(message) from error
        finally:
            _let_go(channel)


def _let_go(channel: Channel) -> None:
    """Close a channel, also where the connection has just died, which paramiko finds out by telling the server."""
    with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
        channel.close()


class _Landing:
    """Where a file arrives: finds its beginning behind whatever a login shell prints, and counts."""

    def __init__(self, file: BinaryIO, mark: str, progress: Progress) -> None:
        self._file = file
        self._mark = mark
        self._progress = progress
        self._begun = bytearray()
        self._header: ssh_copy.Header | None = None
        self._done = 0

    def take(self, piece: bytes) -> None:
        """Take what comes."""
        if self._header is None:
            self._begun += piece
            self._header = ssh_copy.split_header(bytes(self._begun), self._mark)
            if self._header is None:
                if len(self._begun) > ssh_copy.LONGEST_BANNER:
                    raise TransportError("the login shell prints without end; make its start-up files silent")
                return
            piece = self._header.rest
        self._file.write(piece)
        self._done += len(piece)
        self._progress(self._done, self._header.size)

    def finish(self, name: str) -> None:
        """Check that all has come, and make a program of a program."""
        if self._header is None or self._done != self._header.size:
            expected = self._header.size if self._header else "an unknown number of"
            raise TransportError(f"{name}: {self._done} bytes came, {expected} were expected; try again")
        if self._header.executable:
            mode = os.fstat(self._file.fileno()).st_mode
            os.fchmod(self._file.fileno(), mode | (mode & 0o444) >> 2)


def _hashed(file: BinaryIO, update: Callable[[bytes], None]) -> Iterator[bytes]:
    while block := file.read(_FILE_BLOCK):
        update(block)
        yield block
