"""Answers of a registry without end, and packed ones: one message, in the memory that the command had before.

The child may take little more memory than it has once it has begun (RLIMIT_AS), and the limits are lowered; the server
stops after more than the child has room for.
"""

import gzip
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

ROOM = 48 * 2**20
"""Bytes of address space that the child may take beyond what it has: a thread's stack is 8 MiB of it."""

SENT = 160 * 2**20
"""Bytes after which the server has sent enough."""

CHILD = """
import re, resource, sys
from hpcdeploy import limits
from hpcdeploy.errors import HpcdeployError
from hpcdeploy.registry.client import Registry
from hpcdeploy.registry import oci_client
from hpcdeploy.registry.credentials import Lookup
from hpcdeploy.registry.reference import parse_reference
from hpcdeploy.registry.retries import RetryPolicy
limits.LARGEST_DOCUMENT = limits.LARGEST_REFUSAL = 100_000
host, what, read = sys.argv[1:]
size = int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + %d, size + %d))
registry = Registry(
    parse_reference(f"{host}/a/b:v1"), Lookup(credentials=None, consulted=()),
    policy=RetryPolicy(read=float(read), attempts=2, first_wait=0, total=1),
)
ask = {"manifest": registry.resolve, "tags": registry.tags, "config": registry.image_config}[what]
try:
    print(ask())
except HpcdeployError as error:
    print(type(error).__name__, error)
""" % (ROOM, ROOM)  # noqa: UP031 - the child has braces of its own

Send = Callable[[bytes], None]


@contextmanager
def serving(answer: Callable[[str, Send], None]) -> Iterator[str]:
    """Serve until the block ends: `answer` is called with the path that was asked for, and what sends bytes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def talk(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(65536)
                if not piece:
                    return
                head += piece
            answer(head.split(b" ")[1].decode(), connection.sendall)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def child(host: str, what: str, *, read: float = 20) -> str:
    """Return what the child says of it."""
    argv = [sys.executable, "-c", CHILD, host, what, str(read)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout


def endless(head: str, piece: bytes = b"x" * 65536) -> Callable[[str, Send], None]:
    def answer(_path: str, send: Send) -> None:
        send(f"HTTP/1.1 {head}\r\n\r\n".encode())
        for _ in range(SENT // len(piece)):
            send(piece)

    return answer


CHUNK = b"10000\r\n" + b"x" * 65536 + b"\r\n"
PACKED = gzip.compress(b" " * 60_000_000)


@pytest.mark.parametrize("what", ["manifest", "tags", "config"])
def test_a_document_without_end_is_one_message(what: str) -> None:
    with serving(endless("200 OK")) as host:
        assert "RegistryError" in (said := child(host, what))
    assert f"{host} sent more than 100 kB" in said


def test_a_document_in_chunks_without_end_is_one_message() -> None:
    with serving(endless("200 OK\r\nTransfer-Encoding: chunked", CHUNK)) as host:
        assert "sent more than 100 kB" in child(host, "manifest")


def test_what_comes_packed_is_not_unpacked() -> None:
    def answer(_path: str, send: Send) -> None:
        send(f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(PACKED)}\r\n\r\n".encode() + PACKED)

    assert len(PACKED) < 100_000
    with serving(answer) as host:
        assert "is not a manifest" in child(host, "manifest")


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oh", "401 No"])
def test_of_a_refusal_without_end_the_beginning_is_read(status: str) -> None:
    with serving(endless(status)) as host:
        said = child(host, "manifest")
    assert ("AuthenticationError" if status.startswith("401") else "RegistryError") in said
    assert "sent more" not in said


def test_a_token_without_end_is_one_message() -> None:
    def answer(path: str, send: Send) -> None:
        realm = f'Bearer realm="http://{host}/token",service="x",scope="repository:a/b:pull"'
        if path.startswith("/token"):
            endless("200 OK")(path, send)
        send(f"HTTP/1.1 401 No\r\nContent-Length: 0\r\nWWW-Authenticate: {realm}\r\n\r\n".encode())

    with serving(answer) as host:
        assert "sent more than 100 kB" in child(host, "manifest")


def test_tags_in_a_circle_end() -> None:
    def answer(_path: str, send: Send) -> None:
        body = json.dumps({"name": "a/b", "tags": ["v1"]}).encode()
        head = f'HTTP/1.1 200 OK\r\nLink: </v2/a/b/tags/list?n=1>; rel="next"\r\nContent-Length: {len(body)}\r\n\r\n'
        send(head.encode() + body)

    with serving(answer) as host:
        assert "was read before" in child(host, "tags")


BEGUN = "HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("head", [f"{BEGUN}X: ", f"{BEGUN}Content-Length: 99999\r\n\r\n", "HTTP/1.1 1"])
def test_an_answer_that_trickles_ends(head: str) -> None:
    """Each byte comes in time, and the last one never does."""
    ended = threading.Event()

    def answer(_path: str, send: Send) -> None:
        send(head.encode())
        for _ in range(600):
            send(b"0")
            if ended.wait(0.1):
                return

    with serving(answer) as host:
        said = child(host, "manifest", read=0.4)
        ended.set()
    assert "did not answer in time" in said or "was lost" in said


HEADERS = ["a" * 60_000, "Basic " * 10_000, 'Bearer realm="' * 4000, "a=" * 30_000, "," * 60_000]


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: header[:6])
def test_a_header_costs_no_time(header: str) -> None:
    def answer(_path: str, send: Send) -> None:
        send(f"HTTP/1.1 401 No\r\nContent-Length: 0\r\nWWW-Authenticate: {header}\r\n\r\n".encode())

    with serving(answer) as host:
        assert "AuthenticationError" in child(host, "manifest")
