"""A way to a real registry, and to its token service, on which chosen exchanges go wrong."""

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from tests.registry.faults import BODIES, STATUSES, Fault

_REALM = re.compile(rb'realm="http://[^/"]+/token"')
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)", re.IGNORECASE)
_LOCATION = re.compile(rb"\r\nLocation: ([^\r]+)", re.IGNORECASE)
_PIECE = 65536
_NOBODY = "127.0.0.1:1"


class DropError(Exception):
    """The connection to the client is at its end."""


@dataclass(frozen=True)
class Exchange:
    """One request and its answer, as bytes."""

    request: bytes
    answer: bytes

    @property
    def line(self) -> str:
        """Method and address."""
        return self.request.partition(b" HTTP/")[0].decode()

    @property
    def head(self) -> bytes:
        """The answer's status and header, with their end."""
        return self.answer[: self.answer.find(b"\r\n\r\n") + 4]

    @property
    def body(self) -> bytes:
        """The answer's body."""
        return self.answer[len(self.head) :]


@dataclass
class FaultyWay:
    """Listens on loopback and carries each request to the registry at ``registry``, those for ``/token`` to ``tokens``.

    ``plan`` says which exchanges go wrong, counted from 0, ``size`` how large their requests and answers are when they go
    well. ``fired`` are the numbers of those that did go wrong, and ``exchanges`` those that went well, in order.
    ``weak_token`` makes the answer of a token service that gives a token of no use: expired, or without rights.
    ``read_timeout`` is how long the client waits for bytes, in seconds.
    """

    registry: str
    tokens: str
    read_timeout: float
    weak_token: Callable[[bool], bytes]
    plan: dict[int, Fault] = field(default_factory=dict)
    size: dict[int, Exchange] = field(default_factory=dict)
    fired: list[int] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._begun = 0
        threading.Thread(target=self._serve, daemon=True).start()
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
            threading.Thread(target=self._carry_all, args=(client,), daemon=True).start()

    def _carry_all(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, DropError):
            while client.recv(1, socket.MSG_PEEK):
                with self._lock:
                    number, self._begun = self._begun, self._begun + 1
                fault = self.plan.get(number)
                if fault is None:
                    self._carry(client, number)
                else:
                    self.fired.append(number)
                    self._fail(client, number, fault)

    def _carry(self, client: socket.socket, number: int) -> None:
        exchange = self._forward(_read_request(client))
        self.exchanges.append(exchange)
        self.size[number] = exchange
        client.sendall(exchange.answer)

    def _forward(self, request: bytes) -> Exchange:
        place = self.tokens if b" /token" in request[:20] else self.registry
        with socket.create_connection(_address(place)) as server:
            server.sendall(_closing(request))
            answer = b""
            while piece := server.recv(_PIECE):
                answer += piece
        answer = answer.replace(b"\r\nConnection: close", b"", 1)
        return Exchange(request, _REALM.sub(f'realm="http://{self.host}/token"'.encode(), answer))

    def _fail(self, client: socket.socket, number: int, fault: Fault) -> None:
        usual = self.size.get(number, Exchange(b" " * 200, b" " * 200))
        match fault.kind:
            case "connection refused":
                _reset(client)
            case "request cut" | "request stalls":
                self._break_request(client, fault, int(fault.where * len(usual.request)))
            case "status instead":
                _read_request(client)
                client.sendall(_status(fault))
            case "no HTTP":
                _read_request(client)
                client.sendall(
                    (b"\x15\x03\x01\x00\x02\x02P", b"no answer\r\n\r\n", b"HTTP/1.1 two OK\r\n\r\n")[fault.variant % 3]
                )
            case "expired token" | "token without rights":
                request = _read_request(client)
                weak = _answer(200, self.weak_token(fault.kind == "expired token"))
                client.sendall(weak if b" /token" in request[:20] else self._forward(request).answer)
                return
            case "damaged upload":
                client.sendall(self._forward(_damaged(_read_request(client), fault)).answer)
                return
            case _:
                for piece in self._spoilt(self._forward(_read_request(client)), fault):
                    client.sendall(piece)
                    if fault.kind == "answer stalls":
                        time.sleep(self.read_timeout * 1.5)
        if fault.variant % 2:
            _reset(client)
        raise DropError

    def _break_request(self, client: socket.socket, fault: Fault, length: int) -> None:
        """Let the registry have the first `length` bytes of a request, and then the end of the connection."""
        request = b""
        while len(request) < length and (piece := client.recv(min(_PIECE, length - len(request)))):
            request += piece
        place = self.tokens if b" /token" in request[:20] else self.registry
        with socket.create_connection(_address(place)) as server:
            server.sendall(request)
            if fault.kind == "request stalls":
                time.sleep(self.read_timeout * 1.5)

    def _spoilt(self, exchange: Exchange, fault: Fault) -> list[bytes]:
        """Return the pieces of an answer that goes wrong; behind them the connection ends."""
        answer, head, body = exchange.answer, exchange.head, exchange.body
        if not befalls(fault, exchange):  # the second of two in a row
            return [answer]
        length = int(fault.where * len(answer)) if fault.variant % 3 else int(fault.where * len(head))
        match fault.kind:
            case "answer lost":
                return []
            case "answer cut" | "answer stalls":
                return [answer[:length]]
            case "status behind the deed":
                return [_status(fault)]
            case "bad chunks":
                size = f"{len(body) + 1000 * (fault.variant % 2):x}".encode()
                start = (b"zz\r\n", size + b"\r\n", size + b"\r\n")[fault.variant % 3]
                return [_LENGTH.sub(b"\r\nTransfer-Encoding: chunked", head), start, body[: int(fault.where * len(body))]]
            case "length too large":
                return [_with_length(head, len(body) + 1 + fault.variant), body]
            case "length too small":
                return [_with_length(head, int(fault.where * len(body))), body]
            case "no address":
                return [_LOCATION.sub(b"", head), body]
            case "stale address":
                return [_LOCATION.sub(_another_upload, head), body]
            case "redirect":
                return [self._redirect(exchange, fault)]
            case "other digest":
                return [re.sub(rb"(Docker-Content-Digest: sha256:)..", rb"\g<1>00", head), body]
            case "damaged answer":
                at = int(fault.where * len(body))
                return [head, body[:at], bytes([body[at] ^ 1]), body[at + 1 :]]
            case _:
                raise AssertionError(fault.kind)

    def _redirect(self, exchange: Exchange, fault: Fault) -> bytes:
        path = exchange.line.partition(" ")[2]
        targets = (f"http://{self.host}{path}", path, f"http://{_NOBODY}{path}", "")
        target = targets[fault.variant % len(targets)]
        return _answer(307, b"", f"Location: {target}\r\n" if target else "")


def befalls(fault: Fault, exchange: Exchange) -> bool:
    """Tell whether a fault of that kind can befall an exchange that went well so."""
    line, head, body = exchange.line, exchange.head, exchange.body
    ok = head.startswith((b"HTTP/1.1 2", b"HTTP/1.0 2"))
    match fault.kind:
        case "expired token" | "token without rights":
            return " /token" in line
        case "no address" | "stale address":
            return line.startswith("POST ") and ok
        case "damaged upload":
            return line.startswith("PUT ") and "/blobs/" in line
        case "redirect":
            return line.startswith("GET ") and ok and " /token" not in line
        case "other digest":
            return b"Docker-Content-Digest: sha256:" in head and "/manifests/" in line and ok
        case "damaged answer":
            return ok and len(body) > 0 and line.startswith("GET ") and " /token" not in line
        case "bad chunks" | "length too large" | "length too small":
            return len(body) > 0 and ok and _LENGTH.search(head) is not None
        case _:
            return True


def _address(place: str) -> tuple[str, int]:
    host, _, port = place.partition(":")
    return host, int(port)


def _read_request(client: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        request += _more(client)
    length = _LENGTH.search(request.partition(b"\r\n\r\n")[0])
    whole = request.find(b"\r\n\r\n") + 4 + (int(length[1]) if length else 0)
    while len(request) < whole:
        request += _more(client)
    return request


def _damaged(request: bytes, fault: Fault) -> bytes:
    """Return the request with another byte in its body, if it has one."""
    start = request.find(b"\r\n\r\n") + 4
    at = start + int(fault.where * (len(request) - start))
    return request[:at] + bytes(byte ^ 1 for byte in request[at : at + 1]) + request[at + 1 :]


def _more(client: socket.socket) -> bytes:
    piece = client.recv(_PIECE)
    if not piece:
        raise DropError
    return piece


def _closing(request: bytes) -> bytes:
    """Return the request with the wish that the connection ends behind its answer."""
    head, end, body = request.partition(b"\r\n\r\n")
    return re.sub(rb"\r\nConnection: [^\r]+", b"", head, flags=re.IGNORECASE) + b"\r\nConnection: close" + end + body


def _answer(status: int, body: bytes, header: str = "") -> bytes:
    return f"HTTP/1.1 {status} So\r\n{header}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _status(fault: Fault) -> bytes:
    retry = ("", "Retry-After: 0\r\n", "Retry-After: soon\r\n")[fault.variant % 3]
    return _answer(STATUSES[fault.variant % len(STATUSES)], BODIES[fault.variant % len(BODIES)], retry)


def _with_length(head: bytes, length: int) -> bytes:
    return _LENGTH.sub(b"", head)[:-2] + f"Content-Length: {length}\r\n\r\n".encode()


def _another_upload(found: "re.Match[bytes]") -> bytes:
    return b"\r\nLocation: " + re.sub(rb"uploads/........", b"uploads/00000000", found[1])


def _reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
