"""An HTTP server that misbehaves as it is told: real registries cannot be asked to."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class StatusReport:
    """One request as it came; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """One answer. ``claim`` is the Content-Length that is said instead of the true one; then the connection is cut."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    claim: int | None = None


Script = Callable[[StatusReport], Reply]


@dataclass
class OddServer:
    """Where it answers (``host``), what it was asked, and the function that says what it answers."""

    script: Script
    host: str = ""
    asked: list[StatusReport] = field(default_factory=list)

    def methods(self) -> list[str]:
        """Name the methods asked with, in order."""
        return [one.method for one in self.asked]


@contextmanager
def misbehave(script: Script) -> Iterator[OddServer]:
    """Serve until the block ends."""
    odd = OddServer(script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = StatusReport(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            odd.asked.append(asked)
            reply = odd.script(asked)
            self.send_response(reply.status)
            for key, value in reply.headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(reply.body) if reply.claim is None else reply.claim))
            self.end_headers()
            if self.command != "HEAD":
                # A client that has seen enough hangs up.
                with suppress(BrokenPipeError, ConnectionResetError):
                    self.wfile.write(reply.body)
            if reply.claim is not None:
                self.close_connection = True

        do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815  # http.server's names

        def log_message(self, *_words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        odd.host = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield odd
        finally:
            server.shutdown()
            thread.join()
