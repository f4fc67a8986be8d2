"""What stands between a client and the lab: a registry's proxy that counts, and an SSH server's that cuts."""

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from hpcdeploy_lab.state import Lab


@dataclass(frozen=True)
class StatusReport:
    """One request to the registry."""

    path: str
    agent: str
    range: str


@dataclass
class Counted:
    """A registry behind a proxy: where it answers, what it was asked, whom it turns away, and when it hangs up."""

    host: str = ""
    asked: list[StatusReport] = field(default_factory=list)
    turns_away: Callable[[StatusReport], bool] = lambda _: False
    cuts: list[int] = field(default_factory=list)
    """After so many bytes the answer with the next blob ends, once each."""

    def downloads(self, sha256: str) -> list[StatusReport]:
        """List the requests for the image's own bytes."""
        return [one for one in self.asked if one.path.endswith(f"/blobs/sha256:{sha256}")]


@contextmanager
def counted(registry: str) -> Iterator[Counted]:
    """Serve the lab's registry once more, on a port of its own, until the block ends."""
    told = Counted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = StatusReport(self.path, self.headers.get("User-Agent", ""), self.headers.get("Range", ""))
            told.asked.append(asked)
            if told.turns_away(asked):
                self.send_error(403)
                return
            upstream = http.client.HTTPConnection(registry, timeout=60)
            upstream.request(self.command, self.path, headers={**dict(self.headers.items()), "Host": registry})
            reply = upstream.getresponse()
            self.send_response(reply.status)
            for key, value in reply.getheaders():
                if key.lower() not in ("connection", "date", "server"):
                    self.send_header(key, value)
            self.end_headers()
            left = told.cuts.pop(0) if told.cuts and "/blobs/" in self.path and self.command == "GET" else None
            with suppress(BrokenPipeError, ConnectionResetError):
                while block := reply.read(1 << 16 if left is None else min(left, 1 << 16)):
                    self.wfile.write(block)
                    left = None if left is None else left - len(block)
            self.close_connection = left is not None
            upstream.close()

        do_HEAD = do_GET  # noqa: N815 - http.server's name

        def log_message(self, *_words: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as server:
        told.host = f"localhost:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def cut_ssh(lab: Lab, folder: Path, cuts: list[int]) -> Iterator[str]:
    """Give an SSH configuration by which each connection to the lab dies after so many bytes sent; afterwards none does."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = folder / "cut_ssh_config"
    text = Path(lab.ssh_config).read_text()
    assert f"Port {lab.ssh_port}" in text
    # The host key is known by the lab's own port.
    known = text.replace(
        f"Port {lab.ssh_port}", f"Port {listening.getsockname()[1]}\n    HostKeyAlias [127.0.0.1]:{lab.ssh_port}"
    )
    config.write_text(known)

    def carry(source: socket.socket, target: socket.socket, most: int | None) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if most is not None:
                    data, most = data[:most], most - len(data[:most])
                target.sendall(data)
                if most == 0:
                    break
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    opened: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def begin(what: Callable[..., None], *words: object) -> None:
        threads.append(threading.Thread(target=what, args=words))
        threads[-1].start()

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                opened.append(client)
                server = socket.create_connection(("127.0.0.1", lab.ssh_port))
                opened.append(server)
                begin(carry, client, server, cuts.pop(0) if cuts else None)
                begin(carry, server, client, None)

    begin(accept)
    try:
        yield str(config)
    finally:
        for one in (listening, *opened):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        for one in (listening, *opened):
            one.close()
