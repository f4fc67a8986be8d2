"""What a registry answers, read up to a limit and within a time: the session that every request goes through.

Requests and urllib3 read a body without end, unpack what comes packed (a few bytes may become gigabytes), and count time
only between two bytes; http.client reads header lines and answers of status 100 without end. So the connection's own stream
has a time by which the answer must have come, and a body a number of bytes.
"""

import io
import time
from collections.abc import Iterator
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from hpcdeploy import limits
from hpcdeploy.errors import RegistryError
from hpcdeploy.limits import bytes_in_words
from hpcdeploy.registry.whole_heads import WholeHeadResponse

TIMES_THE_TIMEOUT = 5.0
"""How long an answer of a known small size may take, in times that it may be silent: five minutes where that is one."""

SLOWEST = 8 * 1024
"""Bytes a second that a download must bring: it then takes a day and a half for a gigabyte."""


class _TimedStream(io.RawIOBase):
    """A connection's stream that ends with TimeoutError at a set time, however its bytes come."""

    def __init__(self, stream: Any, seconds: float) -> None:  # noqa: ANN401 - socket.SocketIO, which types leave out
        self._stream = stream
        self.until = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - as io.RawIOBase has it
        if time.monotonic() > self.until:
            raise TimeoutError("the answer did not come to its end in time")
        count: int | None = self._stream.readinto(buffer)
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


class _TimedResponse(WholeHeadResponse):
    """http.client's reader of an answer, over such a stream; a cut header is an error."""

    def __init__(self, sock: Any, *words: Any, **named: Any) -> None:  # noqa: ANN401 - as http.client calls it
        super().__init__(sock, *words, **named)
        # Nothing was read so far, so that nothing is left behind in the first reader's buffer.
        timeout = sock.gettimeout()
        self.stream = _TimedStream(self.fp.detach(), timeout * TIMES_THE_TIMEOUT if timeout else limits.HOUR)
        self.fp = io.BufferedReader(self.stream)


class Body:
    """The body of an answer: what `requests.Response` asks of it, as it is sent, and never unpacked.

    More than ``most`` bytes raise `RegistryError`; of an answer that is no success what is more is left out. That it is no
    urllib3 answer keeps cookies out, which no registry needs, and whose parsing takes expressions of its own.
    """

    def __init__(self, answer: urllib3.BaseHTTPResponse, host: str) -> None:
        self._answer = answer
        self._host = host
        self.status, self.headers, self.reason = answer.status, answer.headers, answer.reason
        self.most = limits.LARGEST_DOCUMENT
        self._cut = not 200 <= answer.status < 300
        if self._cut:
            self.most = limits.LARGEST_REFUSAL

    def allow(self, size: int) -> None:
        """Let the body have `size` bytes and no more, and the time that so many take."""
        self.most = size
        stream = getattr(getattr(self._answer, "_original_response", None), "stream", None)
        if stream is not None:
            stream.until = max(stream.until, time.monotonic() + size / SLOWEST)

    def stream(self, amount: int, decode_content: bool = False) -> Iterator[bytes]:  # noqa: ARG002, FBT001, FBT002 - urllib3's
        """Give the bytes as they come, in pieces of at most `amount`."""
        count = 0
        for block in self._answer.stream(amount, decode_content=False):
            count += len(block)
            if count > self.most:
                self._answer.close()
                if self._cut:
                    yield block[: len(block) - (count - self.most)]
                    return
                raise RegistryError(
                    f"{self._host} sent more than the {bytes_in_words(self.most)} that are read of such an answer, and "
                    "nothing of it was used; check that this is the registry's address, and no other service's"
                )
            yield block

    def close(self) -> None:
        """Close the connection, unless all was read."""
        self._answer.close()

    def release_conn(self) -> None:
        """Give the connection back."""
        self._answer.release_conn()


class BoundedAdapter(HTTPAdapter):
    """Sends requests over connections whose answers are limited."""

    def init_poolmanager(self, *words: Any, **named: Any) -> None:  # noqa: ANN401
        """Make the pools of connections."""
        super().init_poolmanager(*words, **named)
        _limit(self.poolmanager)

    def proxy_manager_for(self, *words: Any, **named: Any) -> urllib3.ProxyManager:  # noqa: ANN401
        """Make the pools of connections through a proxy."""
        manager: urllib3.ProxyManager = super().proxy_manager_for(*words, **named)
        _limit(manager)
        return manager

    def build_response(self, req: requests.PreparedRequest, resp: urllib3.BaseHTTPResponse) -> requests.Response:
        """Make requests' answer of urllib3's."""
        host = urllib3.util.parse_url(req.url or "").netloc or "the registry"
        return super().build_response(req, Body(resp, host))  # type: ignore[arg-type]  # it asks for no more than that


def _limit(manager: urllib3.PoolManager) -> None:
    """Let each kind of connection that `manager` makes read its answers in time."""
    kinds = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _limited(kind) for scheme, kind in kinds.items()}


def _limited(kind: type[Any]) -> type[Any]:
    connection = type("Timed", (kind.ConnectionCls,), {"response_class": _TimedResponse})
    return type("TimedPool", (kind,), {"ConnectionCls": connection})


def allow(response: requests.Response, size: int) -> None:
    """Let the body of `response`, which was asked for with ``stream=True``, have `size` bytes and no more."""
    if isinstance(response.raw, Body) and response.ok:
        response.raw.allow(size)
