"""HTTP answers whose header was cut are failures of the connection.

``http.client`` takes the end of a connection inside a header for the header's end (``_read_headers`` and ``begin`` in
CPython 3.11 to 3.14, ``Lib/http/client.py``: an empty read ends the header as an empty line does). An answer that was cut
there has its status, and lost the rest: an upload's address, a token service's, a length. A cut body is found out by its
length (urllib3), a cut header by nobody.
"""

import http.client
from typing import IO, Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class _Lines:
    """A file that remembers the last line that was read of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = self._file.readline(limit)
        return self.last

    def close(self) -> None:
        self._file.close()


class _Response(http.client.HTTPResponse):
    def begin(self) -> None:
        """Read the status and the header; raises `http.client.RemoteDisconnected` where the header has no end."""
        file = self.fp
        watched: Any = _Lines(file)
        self.fp = watched
        try:
            super().begin()
        finally:
            if self.fp is watched:
                self.fp = file
        if watched.last not in (b"\r\n", b"\n"):
            raise http.client.RemoteDisconnected("the connection ended inside the header of an answer")


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


class WholeHeads(HTTPAdapter):
    """Sends requests as `requests.adapters.HTTPAdapter` does; an answer without a whole header is a `ConnectionError`."""

    def init_poolmanager(self, *words: Any, **options: Any) -> None:  # noqa: ANN401  # requests' signature
        """Make the connections of requests that no proxy takes."""
        super().init_poolmanager(*words, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:  # noqa: ANN401
        """Make the connections of requests that go through `proxy`; a SOCKS proxy has its own kind."""
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager
