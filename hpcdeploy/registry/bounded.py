"""Limit the size and the duration of HTTP answers, and reject answers with a truncated header.

If a connection ends inside a header, ``http.client`` treats the header as complete (``_read_headers`` and ``begin`` in
CPython 3.11 to 3.14, ``Lib/http/client.py``: an empty read ends the header like an empty line). The truncated answer has a
status, but may lack a field that we need, such as the URL of an upload, the URL of a token service, or the length of the
body. urllib3 only detects a truncated body. So a truncated header is treated as a lost connection here.
"""

import http.client
import io
import time
from collections.abc import Iterator
from typing import IO, Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from hpcdeploy import limits
from hpcdeploy.errors import RegistryError
from hpcdeploy.limits import format_bytes


class _LastLine:
    """A file that stores the last line that was read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = self._file.readline(limit)
        return self.last

    def close(self) -> None:
        self._file.close()


class WholeHeadResponse(http.client.HTTPResponse):
    """An http.client response that rejects a truncated header."""

    def begin(self) -> None:
        """Read status and header.

        Raises:
            http.client.RemoteDisconnected: The header is truncated.
        """
        file = self.fp
        watched: Any = _LastLine(file)
        self.fp = watched
        try:
            super().begin()
        finally:
            if self.fp is watched:
                self.fp = file
        if watched.last not in (b"\r\n", b"\n"):
            raise http.client.RemoteDisconnected("the connection ended inside the header of an answer")


TIMES_THE_TIMEOUT = 5.0
"""Time limit for a complete answer, as a multiple of the read timeout: 5 minutes for a read timeout of 60 seconds.

The read timeout alone does not limit the duration, because it restarts with each received byte. `Body.allow` extends the
limit for a download.
"""

SLOWEST = 8 * 1024
"""Minimum average rate of a download in bytes per second. At this rate a gigabyte takes a day and a half."""


class _TimedStream(io.RawIOBase):
    """The stream of a connection that raises TimeoutError after a time limit, even if bytes still arrive."""

    def __init__(self, stream: Any, seconds: float) -> None:  # noqa: ANN401 - socket.SocketIO, which types leave out
        self._stream = stream
        self.until = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - the signature of io.RawIOBase
        if time.monotonic() > self.until:
            raise TimeoutError("the answer was not complete in time")
        count: int | None = self._stream.readinto(buffer)
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


class _TimedResponse(WholeHeadResponse):
    """An http.client response that is read through a `_TimedStream`."""

    def __init__(self, sock: Any, *words: Any, **named: Any) -> None:  # noqa: ANN401 - the signature of http.client
        super().__init__(sock, *words, **named)
        # Detaching the stream loses no data, because nothing was read so far and the buffer of `self.fp` is empty.
        timeout = sock.gettimeout()
        self.stream = _TimedStream(self.fp.detach(), timeout * TIMES_THE_TIMEOUT if timeout else limits.HOUR)
        self.fp = io.BufferedReader(self.stream)


class Body:
    """The body of an answer, with the interface that `requests.Response` needs. It is never decompressed.

    If the body has more than ``most`` bytes, reading raises `RegistryError`. The body of an unsuccessful answer is truncated
    instead, because it is only quoted in a message.

    This class is not a urllib3 response, so requests does not parse the cookies of the answer. No registry needs cookies,
    and their parser would run regular expressions on text that is not trusted.
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
        """Set the maximum size to `size` bytes, and extend the time limit to the time for `size` bytes at `SLOWEST`."""
        self.most = size
        stream = getattr(getattr(self._answer, "_original_response", None), "stream", None)
        if stream is not None:
            stream.until = max(stream.until, time.monotonic() + size / SLOWEST)

    def stream(self, amount: int, decode_content: bool = False) -> Iterator[bytes]:  # noqa: ARG002, FBT001, FBT002 - urllib3's
        """Yield the body in pieces of at most `amount` bytes.

        Raises:
            RegistryError: The body of a successful answer exceeds its maximum size.
        """
        count = 0
        for block in self._answer.stream(amount, decode_content=False):
            count += len(block)
            if count > self.most:
                self._answer.close()
                if self._cut:
                    yield block[: len(block) - (count - self.most)]
                    return
                raise RegistryError(
                    f"{self._host} sent more than {format_bytes(self.most)}, the maximum of such an answer; "
                    "the answer was discarded; check that this is the address of a registry, not of another service"
                )
            yield block

    def close(self) -> None:
        """Close the connection, unless urllib3 returned it to its pool after the whole body was read."""
        self._answer.close()

    def release_conn(self) -> None:
        """Return the connection to its pool."""
        self._answer.release_conn()


class BoundedAdapter(HTTPAdapter):
    """An adapter for requests whose answers have a time limit and a size limit, and no truncated header."""

    def init_poolmanager(self, *words: Any, **named: Any) -> None:  # noqa: ANN401
        """Create the pools of connections without a proxy."""
        super().init_poolmanager(*words, **named)
        _limit(self.poolmanager)

    def proxy_manager_for(self, *words: Any, **named: Any) -> urllib3.ProxyManager:  # noqa: ANN401
        """Create the pools of connections through a proxy."""
        manager: urllib3.ProxyManager = super().proxy_manager_for(*words, **named)
        _limit(manager)
        return manager

    def build_response(self, req: requests.PreparedRequest, resp: urllib3.BaseHTTPResponse) -> requests.Response:
        """Convert a urllib3 response to a requests response whose body is a `Body`."""
        host = urllib3.util.parse_url(req.url or "").netloc or "the registry"
        return super().build_response(req, Body(resp, host))  # type: ignore[arg-type]  # this is all that requests needs


def _limit(manager: urllib3.PoolManager) -> None:
    """Make all connections of `manager` use `_TimedResponse`."""
    kinds = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _limited(kind) for scheme, kind in kinds.items()}


def _limited(kind: type[Any]) -> type[Any]:
    connection = type("Timed", (kind.ConnectionCls,), {"response_class": _TimedResponse})
    return type("TimedPool", (kind,), {"ConnectionCls": connection})


def allow(response: requests.Response, size: int) -> None:
    """Set the maximum size of the body of `response` to `size` bytes, and extend its time limit (`Body.allow`).

    `response` must have been requested with ``stream=True``. An unsuccessful answer keeps its limits.
    """
    if isinstance(response.raw, Body) and response.ok:
        response.raw.allow(size)
