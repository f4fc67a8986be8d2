"""A way to an SSH server that breaks where it is told to: after so many bytes there or back, or after so many seconds."""

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from hpcdeploy_lab.state import Lab

SOURCES: set[int] = set()
"""The ports from which the proxies of this process have connected to servers: sshd knows a session by it (SSH_CLIENT)."""

_NEVER = 1 << 40
_PIECE = 65536


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Where one connection breaks: after `up` bytes to the server, `down` bytes back, or `seconds`, whichever comes first.

    The server learns of it `late` seconds later. Where there is `instead`, that is called, and the connection goes on.
    """

    up: int = _NEVER
    down: int = _NEVER
    seconds: float = _NEVER
    late: float = 0.0
    instead: Callable[[], None] | None = None


@dataclass
class _Way:
    source: socket.socket
    target: socket.socket
    left: int
    passed: int = field(default=0)


class Proxy:
    """Listens on loopback, and carries one connection after the other to the lab's SSH server; the first ones are cut.

    `server` is another port that leads there. ``port`` is where it listens. ``begun`` counts the connections and ``cut``
    those that were; ``passed`` says of each that ended how many bytes went up and down, and ``lasted`` for how long.
    """

    def __init__(self, lab: Lab, folder: Path, cuts: Sequence[Cut], *, server: int | None = None) -> None:
        self._server = ("127.0.0.1", server or lab.ssh_port)
        self._cuts = cuts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.begun = 0
        self.cut = 0
        self.passed: list[tuple[int, int]] = []
        self.lasted: list[float] = []
        self.ssh_config = folder / "ssh_config"
        self.port = port = self._listener.getsockname()[1]
        known = folder / "known_hosts"
        known.write_text((lab.state / "known_hosts").read_text().replace(f":{lab.ssh_port} ", f":{port} "))
        text = lab.ssh_config.read_text().replace(f"Port {lab.ssh_port}\n", f"Port {port}\n")
        self.ssh_config.write_text(text.replace(str(lab.state / "known_hosts"), str(known)))

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            number = len(self.passed)
            self.begun += 1
            with client, socket.create_connection(self._server) as server:
                SOURCES.add(server.getsockname()[1])
                began = time.monotonic()
                self.passed.append(self._carry(client, server, self._cuts[number] if number < len(self._cuts) else Cut()))
                self.lasted.append(time.monotonic() - began)

    def _carry(self, client: socket.socket, server: socket.socket, cut: Cut) -> tuple[int, int]:
        up, down = _Way(client, server, cut.up), _Way(server, client, cut.down)
        end = time.monotonic() + cut.seconds
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, up)
            selector.register(server, selectors.EVENT_READ, down)
            while True:
                if min(up.left, down.left) <= 0 or time.monotonic() >= end:
                    self.cut += 1
                    if cut.instead is None:
                        self._break(client, server, cut.late)
                        return up.passed, down.passed
                    cut.instead()
                    up.left = down.left = _NEVER
                    end = float("inf")
                for key, _ in selector.select(min(max(end - time.monotonic(), 0), 3600)):
                    if not self._move(key.data):
                        return up.passed, down.passed

    @staticmethod
    def _break(client: socket.socket, server: socket.socket, late: float) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        client.close()
        if late:
            threading.Timer(late, server.dup().close).start()

    @staticmethod
    def _move(way: _Way) -> bool:
        try:
            piece = way.source.recv(min(_PIECE, way.left))
            way.target.sendall(piece)
        except OSError:
            return False
        way.left -= len(piece)
        way.passed += len(piece)
        return bool(piece)
