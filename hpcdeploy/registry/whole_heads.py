"""Treat HTTP answers with a truncated header as failures of the connection.

``http.client`` takes the end of a connection inside a header for the header's end (``_read_headers`` and ``begin`` in
CPython 3.11 to 3.14, ``Lib/http/client.py``: an empty read ends the header like an empty line). Such an answer has its
status, but lacks the rest: an upload's URL, a token service's, a length. urllib3 detects a truncated body by its length; a
truncated header is not detected.
"""

import http.client
from typing import IO, Any


class _Lines:
    """A file that remembers the last line that was read."""

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
        watched: Any = _Lines(file)
        self.fp = watched
        try:
            super().begin()
        finally:
            if self.fp is watched:
                self.fp = file
        if watched.last not in (b"\r\n", b"\n"):
            raise http.client.RemoteDisconnected("the connection ended inside the header of an answer")
