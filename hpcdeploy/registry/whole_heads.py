"""HTTP answers whose header was cut are failures of the connection.

``http.client`` takes the end of a connection inside a header for the header's end (``_read_headers`` and ``begin`` in
CPython 3.11 to 3.14, ``Lib/http/client.py``: an empty read ends the header as an empty line does). An answer that was cut
there has its status, and lost the rest: an upload's address, a token service's, a length. A cut body is found out by its
length (urllib3), a cut header by nobody.
"""

import http.client
from typing import IO, Any


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


class WholeHeadResponse(http.client.HTTPResponse):
    """http.client's reader of an answer, which takes no cut header for a whole one."""

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
