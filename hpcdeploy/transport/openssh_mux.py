"""Ride on a connection that an ssh(1) holds open: the client's side of OpenSSH's protocol for that.

The protocol is PROTOCOL.mux of OpenSSH's source, version 4 since OpenSSH 5.6 (2010). It is spoken here, and not by an ssh
process for each command, for the truth of what happened: that process ends with 255 where the command did, where a signal
ended it, where the connection was lost and where none was there; the protocol tells them apart.
"""

import contextlib
import os
import socket
import struct
from pathlib import Path

from hpcdeploy.transport.contract import UNNAMED_SIGNAL
from hpcdeploy.transport.pump import BLOCK, RefusedError, SilenceError

PATIENCE = 20.0
"""Seconds for an answer that needs no network: the master is a process of this machine."""

_LAST_PATIENCE = 2.0  # a master that hangs is left to its own patience
_VERSION = 4
_HELLO, _NEW_SESSION, _ALIVE_CHECK, _TERMINATE = 0x00000001, 0x10000002, 0x10000004, 0x10000005
_PERMISSION_DENIED, _FAILURE, _EXIT_MESSAGE, _ALIVE, _SESSION_OPENED = (0x80000000 + number for number in range(2, 7))
_NO_ESCAPE = 0xFFFFFFFF
_LONGEST = 256 * 1024


class NoMasterError(Exception):
    """Nobody listens there, or went away, or does not answer, before anything was asked of the other end."""


class LostMasterError(Exception):
    """The master went away after it was asked to run something."""


class Mux:
    """A talk with the master that listens at `path`. Raises `NoMasterError` where there is none.

    As long as it lasts the master does not leave for want of visitors (ssh_config(5), ControlPersist).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        try:
            self._socket.connect(str(path))
            self._greet()
            self.pid = self._ask_pid()
        except OSError as error:
            self._socket.close()
            raise NoMasterError(f"{path}: {error.strerror or error}") from error
        except NoMasterError:
            self._socket.close()
            raise

    def lasts(self) -> bool:
        """Say whether the master is there, by the number that its process had at first."""
        try:
            return self._ask_pid() == self.pid
        except (OSError, NoMasterError):
            return False

    def open_session(self, line: bytes, *, patience: float) -> "Session":
        """Have the other end's login shell run `line`; this talk is about nothing else from then on.

        Raises `NoMasterError` and `RefusedError` where nothing was run; `LostMasterError`, or `SilenceError` after
        `patience` seconds, where that is not known.
        """
        ours, theirs = zip(*(socket.socketpair() for _ in range(3)), strict=True)
        try:
            self._ask_session(line, theirs, patience)
        except BaseException:
            for stream in ours:
                stream.close()
            raise
        finally:
            for stream in theirs:
                stream.close()
        return Session(self, self._path, ours)

    def exit_code(self) -> int | None:
        """Wait until a session ends; None where the master says no more."""
        with contextlib.suppress(OSError):
            while True:
                kind, body = self._receive()
                if kind == _EXIT_MESSAGE:
                    return _number(body, 4)
        return None

    def end_master(self) -> None:
        """Have the master end, with all that rides on it, and wait until it has."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(_LAST_PATIENCE)
            self._send(_TERMINATE, struct.pack(">I", 0))
            while True:
                self._receive()

    def shut(self) -> None:
        """End the talk, so that who waits for a word is woken."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the talk. Closing twice is allowed."""
        self._socket.close()

    def _greet(self) -> None:
        self._send(_HELLO, struct.pack(">I", _VERSION))
        kind, body = self._receive()
        if kind != _HELLO or _number(body, 0) != _VERSION:
            raise NoMasterError(f"{self._path} speaks another protocol than OpenSSH's version {_VERSION}")
        # ssh(1) does not look; but a folder that others write to may hold somebody else's socket under this name.
        if hasattr(socket, "SO_PEERCRED"):
            credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            owner = struct.unpack("3i", credentials)[1]
        else:
            owner = self._path.stat().st_uid
        if owner not in (0, os.getuid()):
            raise NoMasterError(f"{self._path} belongs to another user")

    def _ask_session(self, line: bytes, streams: tuple[socket.socket, ...], patience: float) -> None:
        request = struct.pack(">I", 0) + _string(b"") + struct.pack(">IIIII", 0, 0, 0, 0, _NO_ESCAPE)
        try:
            self._send(_NEW_SESSION, request + _string(b"") + _string(line))
        except OSError as error:  # it takes a request whole or not at all, and obeys it once it has the streams
            raise NoMasterError(f"{self._path}: {error.strerror or error}") from error
        try:
            for stream in streams:
                socket.send_fds(self._socket, [b"\0"], [stream.fileno()])
            self._socket.settimeout(patience)
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

    def _ask_pid(self) -> int:
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
                raise ConnectionAbortedError("the master went away")
            data += piece
        return data


def master_at(path: Path) -> Mux | None:
    """Return a talk with the master that listens at `path`, if one is there and answers."""
    try:
        return Mux(path)
    except NoMasterError:
        return None


class Session:
    """A command that runs over a master; what `hpcdeploy.transport.pump.Running` asks for."""

    def __init__(self, talk: Mux, path: Path, streams: tuple[socket.socket, ...]) -> None:
        self._talk = talk
        self._path = path
        self._stdin, self._stdout, self._stderr = streams

    def read_stdout(self) -> bytes:
        """Return the next piece, or nothing at the end."""
        return self._stdout.recv(BLOCK)

    def read_stderr(self) -> bytes:
        """Return the next piece, or nothing at the end."""
        return self._stderr.recv(BLOCK)

    def write(self, block: bytes) -> None:
        """Feed a piece of input."""
        try:
            self._stdin.sendall(block)
        except OSError as error:  # the command ended, or the connection did, which wait() tells apart
            raise BrokenPipeError from error

    def end_input(self) -> None:
        """Say that there is no more input."""
        with contextlib.suppress(OSError):
            self._stdin.shutdown(socket.SHUT_WR)

    def wait(self) -> int:
        """Return the exit code; raises OSError where nobody will ever know.

        A server that ends a command's channel over a whole connection, without an exit code, says so that a signal ended the
        command (RFC 4254, 6.10); the master keeps to itself which. A master whose connection died lets go of us on its way
        out of its loop, and answers nobody any more (OpenSSH's clientloop.c): so one that answers has a whole connection.
        """
        code = self._talk.exit_code()
        if code is not None:
            return code
        try:
            again = Mux(self._path)
        except NoMasterError as error:
            raise ConnectionAbortedError from error
        again.close()
        if again.pid != self._talk.pid:
            raise ConnectionAbortedError
        return UNNAMED_SIGNAL

    def kill(self) -> None:
        """Let go of the command: the master closes its channel."""
        self._talk.shut()
        for stream in (self._stdin, self._stdout, self._stderr):
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give back what it took, once nobody uses it any more."""
        self.kill()
        for stream in (self._stdin, self._stdout, self._stderr):
            stream.close()
        self._talk.close()


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _number(body: bytes, start: int) -> int:
    if len(body) < start + 4:
        raise ConnectionAbortedError("a message was cut short")
    number: int = struct.unpack_from(">I", body, start)[0]
    return number
