"""An answer that ends inside its header is no answer, wherever it ends."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from hpcdeploy.registry.bounded import BoundedAdapter

ANSWER = b"HTTP/1.1 202 Accepted\r\nLocation: /upload?_state=abcdef\r\nContent-Length: 0\r\nX-Last: 1\r\n\r\n"


@contextmanager
def answering(answers: list[bytes]) -> Iterator[str]:
    """Give the address of a server that answers one connection after the other, and then ends it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                client, _ = listener.accept()
                with client:
                    client.recv(65536)
                    client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        thread.join()


def test_a_header_that_ends_anywhere_but_at_its_end_is_a_failure_of_the_connection() -> None:
    cuts = range(len(ANSWER))
    with answering([*(ANSWER[:cut] for cut in cuts), ANSWER]) as address, requests.Session() as session:
        session.mount("http://", BoundedAdapter())
        for _ in cuts:
            with pytest.raises(requests.ConnectionError):
                session.post(address, timeout=20)
        whole = session.post(address, timeout=20)
    assert (whole.status_code, whole.headers["Location"]) == (202, "/upload?_state=abcdef")


def test_requests_alone_still_takes_a_cut_header_for_a_whole_one() -> None:
    with answering([ANSWER[:45]]) as address, requests.Session() as session:
        cut = session.post(address, timeout=20)
    assert (cut.status_code, cut.headers["Location"]) == (202, "/upload?_sta")
