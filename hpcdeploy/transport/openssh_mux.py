"""Use a connection that an ssh(1) has open: the client side of OpenSSH's multiplexing protocol.

The protocol is described in PROTOCOL.mux in OpenSSH's source; its version is 4 since OpenSSH 5.6 (2010). It is used because
an ssh process for each command would not suffice. Such a process exits with 255 in four cases, which the protocol
distinguishes:

- The exit code of the command was 255.
- A signal killed the command.
- The connection was lost.
- There was no connection.

The ssh process that has the connection open is called the master.
"""

import contextlib
import os
import socket
import struct
from pathlib import Path

from hpcdeploy.transport.contract import UNNAMED_SIGNAL
from hpcdeploy.transport.pump import BLOCK, RefusedError, SilenceError

ANSWER_TIMEOUT = 20.0
"""Timeout in seconds for answers of the master that need no network; the master is a process on this machine."""

_END_TIMEOUT = 2.0  # in seconds; a master that does not end by then ends later, by ControlPersist
_VERSION = 4
_HELLO, _NEW_SESSION, _ALIVE_CHECK, _TERMINATE = 0x00000001, 0x10000002, 0x10000004, 0x10000005
_PERMISSION_DENIED, _FAILURE, _EXIT_MESSAGE, _ALIVE, _SESSION_OPENED = (0x80000000 + number for number in range(2, 7))
_NO_ESCAPE = 0xFFFFFFFF
_LONGEST = 256 * 1024


class NoMasterError(Exception):
    """There is no master, or the master ended or did not answer before it received a request to run a command."""


class LostMasterError(Exception):
    """The master ended after it received a request to run a command."""


class Mux:
    """A control connection to the master that listens at `path`.

    While the control connection is open, the master does not exit, even if it has no sessions (ssh_config(5),
    ControlPersist).

    Raises:
        NoMasterError: There is no master, or it belongs to another user, or its protocol has another version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(ANSWER_TIMEOUT)
        try:
            self._socket.connect(str(path))
            self._exchange_hello()
            self.pid = self._request_pid()
        except OSError as error:
            self._socket.close()
            raise NoMasterError(f"{path}: {error.strerror or error}") from error
        except NoMasterError:
            self._socket.close()
            raise

    def lasts(self) -> bool:
        """Tell whether the master still answers, and is still the same process."""
        try:
            return self._request_pid() == self.pid
        except (OSError, NoMasterError):
            return False

    def open_session(self, line: bytes, *, timeout: float) -> "Session":
        """Run `line` in the remote login shell. After that, this control connection serves only the returned session.

        Raises:
            NoMasterError: The master ended before it received the request; nothing was run.
            RefusedError: The request was rejected; nothing was run.
            LostMasterError: The master ended after it received the request; the command may have run.
            SilenceError: There was no answer for `timeout` seconds; the command may have run.
        """
        ours, theirs = zip(*(socket.socketpair() for _ in range(3)), strict=True)
        try:
            self._request_session(line, theirs, timeout)
        except BaseException:
            for stream in ours:
                stream.close()
            raise
        finally:
            for stream in theirs:
                stream.close()
        return Session(self, self._path, ours)

    def exit_code(self) -> int | None:
        """Wait for the end of the session, and return its exit code; None if the master does not report one."""
        with contextlib.suppress(OSError):
            while True:
                kind, body = self._receive()
                if kind == _EXIT_MESSAGE:
                    return _number(body, 4)
        return None

    def end_master(self) -> None:
        """End the master and all its sessions, and wait at most `_END_TIMEOUT` seconds for its end."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(_END_TIMEOUT)
            self._send(_TERMINATE, struct.pack(">I", 0))
            while True:
                self._receive()

    def shut(self) -> None:
        """Shut the control connection down, so that a thread that waits for a message wakes up."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the control connection. Closing twice is allowed."""
        self._socket.close()

    def _exchange_hello(self) -> None:
        """Check the version of the protocol, and the owner of the master.

        Raises:
            NoMasterError: The version is another one, or the master belongs to another user.
        """
        self._send(_HELLO, struct.pack(">I", _VERSION))
        kind, body = self._receive()
        if kind != _HELLO or _number(body, 0) != _VERSION:
            raise NoMasterError(f"{self._path} does not use version {_VERSION} of OpenSSH's multiplexing protocol")
        # The owner is checked, because in a folder that others can write to, the socket may belong to another user. ssh(1)
        # does not check this.
        if hasattr(socket, "SO_PEERCRED"):
            credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            owner = struct.unpack("3i", credentials)[1]
        else:
            owner = self._path.stat().st_uid
        if owner not in (0, os.getuid()):
            raise NoMasterError(f"{self._path} belongs to another user")

    def _request_session(self, line: bytes, streams: tuple[socket.socket, ...], timeout: float) -> None:
        request = struct.pack(">I", 0) + _string(b"") + struct.pack(">IIIII", 0, 0, 0, 0, _NO_ESCAPE)
        try:
            self._send(_NEW_SESSION, request + _string(b"") + _string(line))
        except OSError as error:  # nothing was run: the master starts the command only after it has received the streams
            raise NoMasterError(f"{self._path}: {error.strerror or error}") from error
        try:
            for stream in streams:
                socket.send_fds(self._socket, [b"\0"], [stream.fileno()])
            self._socket.settimeout(timeout)
            kind, body = self._receive()
            self._socket.settimeout(None)
        except TimeoutError as error:
            raise SilenceError from error
        except OSError as error:
            raise LostMasterError from error
        if kind in (_PERMISSION_DENIED, _FAILURE):
            raise RefusedError(body[8:].decode(errors="replace"))
        if kind != _SESSION_OPENED:
            raise LostMasterError

    def _request_pid(self) -> int:
        self._send(_ALIVE_CHECK, struct.pack(">I", 0))
        kind, body = self._receive()
        if kind != _ALIVE:
            raise NoMasterError(f"{self._path} does not answer as an SSH master")
        return _number(body, 4)

    def _send(self, kind: int, body: bytes) -> None:
        self._socket.sendall(struct.pack(">II", len(body) + 4, kind) + body)

    def _receive(self) -> tuple[int, bytes]:
        length = _number(self._exactly(4), 0)
        if not 4 <= length <= _LONGEST:
            raise ConnectionAbortedError(f"a message of {length} bytes")
        message = self._exactly(length)
        return _number(message, 0), message[4:]

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self._socket.recv(count - len(data))
            if not piece:
                raise ConnectionAbortedError("the master ended")
            data += piece
        return data


def master_at(path: Path) -> Mux | None:
    """Return a control connection to the master at `path`; None if there is no usable master."""
    try:
        return Mux(path)
    except NoMasterError:
        return None


class Session:
    """A command that runs over the connection of a master (see `hpcdeploy.transport.pump.Running`)."""

    def __init__(self, mux: Mux, path: Path, streams: tuple[socket.socket, ...]) -> None:
        self._mux = mux
        self._path = path
        self._stdin, self._stdout, self._stderr = streams

    def read_stdout(self) -> bytes:
        """Return the next piece of standard output; empty at the end."""
        return self._stdout.recv(BLOCK)

    def read_stderr(self) -> bytes:
        """Return the next piece of standard error; empty at the end."""
        return self._stderr.recv(BLOCK)

    def write(self, block: bytes) -> None:
        """Write a piece of standard input.

        Raises:
            BrokenPipeError: The command or the connection ended.
        """
        try:
            self._stdin.sendall(block)
        except OSError as error:  # wait() tells whether the command or the connection ended
            raise BrokenPipeError from error

    def end_input(self) -> None:
        """Close standard input."""
        with contextlib.suppress(OSError):
            self._stdin.shutdown(socket.SHUT_WR)

    def wait(self) -> int:
        """Return the exit code, or `UNNAMED_SIGNAL` if a signal killed the command.

        The master reports no exit code in two cases, which are distinguished by whether it still answers:

        - A signal killed the command (RFC 4254, 6.10). The master does not report which signal. It still answers.
        - The connection was lost. The master closes this control connection before it exits, and answers no more (OpenSSH's
          clientloop.c).

        Raises:
            OSError: The exit code will never be known.
        """
        code = self._mux.exit_code()
        if code is not None:
            return code
        try:
            again = Mux(self._path)
        except NoMasterError as error:
            raise ConnectionAbortedError from error
        again.close()
        if again.pid != self._mux.pid:
            raise ConnectionAbortedError
        return UNNAMED_SIGNAL

    def kill(self) -> None:
        """Stop waiting for the command: the master closes its channel."""
        self._mux.shut()
        for stream in (self._stdin, self._stdout, self._stderr):
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the streams and the control connection; must be called once the session is not used any more."""
        self.kill()
        for stream in (self._stdin, self._stdout, self._stderr):
            stream.close()
        self._mux.close()


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _number(body: bytes, start: int) -> int:
    if len(body) < start + 4:
        raise ConnectionAbortedError("a message was cut short")
    number: int = struct.unpack_from(">I", body, start)[0]
    return number
