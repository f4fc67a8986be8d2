"""Cut the missing ranges of a file into records, which several channels send to the login node (`login/receive.py`)."""

import hashlib
import struct
import threading
from collections import deque
from collections.abc import Iterator, Sequence

from hpcdeploy.errors import HpcdeployError
from hpcdeploy.frozen import frozen
from hpcdeploy.progress import Progress
from hpcdeploy.remote.upload_stream import Supplier

_HEADER = struct.Struct(">QI32s")
"""Offset, length, and sha256 of a record, before its bytes."""

SHORTEST, LONGEST = 64 * 1024, 4 * 1024 * 1024
"""Minimum and maximum number of bytes in a record; only the last record of a range may be shorter.

- Records are short, because the login node keeps only complete ones: a lost connection costs up to one per channel.
- Records of a large file are longer, so that its journal stays short. `login/receive.py` accepts no longer ones.
"""

_RECORDS = 16384
"""Intended number of records of a file. `SHORTEST` makes it lower for small files, `LONGEST` higher for very large ones."""


@frozen
class Record:
    """Bytes of a file, and their offset."""

    start: int
    data: bytes

    def packed(self) -> bytes:
        """Return the bytes to send."""
        return _HEADER.pack(self.start, len(self.data), hashlib.sha256(self.data).digest()) + self.data


class Records:
    """The records that the login node does not have, for channels that run in threads.

    Attributes:
        done: The number of bytes that the login node has confirmed.
        failed: Whether the source could not be read.
    """

    def __init__(self, size: int, supply: Supplier, progress: Progress) -> None:
        self.done = 0
        self.failed = False
        self._size = size
        self._supply = supply
        self._progress = progress
        self._length = min(max(SHORTEST, size // _RECORDS), LONGEST)
        self._lock = threading.Lock()
        self._missing: deque[range] = deque()
        self._current: Iterator[Record] = iter(())
        self._sent: dict[int, range] = {}

    @property
    def complete(self) -> bool:
        """Tell whether the login node has everything."""
        return self.done == self._size

    def begin(self, have: Sequence[range]) -> None:
        """Plan the records of all ranges that are missing on the login node, which already has the ranges `have`."""
        with self._lock:
            self._missing.extend(gaps(have, self._size))
            self.done = self._size - sum(map(len, self._missing))
            self._progress(self.done, self._size)

    def take(self) -> Record | None:
        """Return the next record to send, or None if there is none left, or if the source could not be read."""
        with self._lock:
            try:
                record = None if self.failed else self._next()
            except (OSError, HpcdeployError):  # the single-stream upload that follows reports the error
                self.failed = True
                return None
            if record:
                self._sent[record.start] = range(record.start, record.start + len(record.data))
            return record

    def confirm(self, span: range) -> None:
        """Note that the login node has written the record with this range."""
        with self._lock:
            if self._sent.get(span.start) == span:
                del self._sent[span.start]
                self.done += len(span)
                self._progress(self.done, self._size)

    def give_back(self, starts: Sequence[int]) -> None:
        """Let other channels send those records at the offsets `starts` that the login node has not confirmed."""
        with self._lock:
            self._missing.extend(self._sent.pop(start) for start in starts if start in self._sent)

    def _next(self) -> Record | None:
        while (record := next(self._current, None)) is None:
            if not self._missing:
                return None
            self._current = self._cut(self._missing.popleft())
        return record

    def _cut(self, span: range) -> Iterator[Record]:
        """Read the bytes of a range in one pass, and yield the records of the range.

        Raises:
            OSError: The source cannot be read, or is too short.
        """
        data, start = bytearray(), span.start
        for piece in self._supply(span.start):
            data += piece[: span.stop - start - len(data)]
            while len(data) >= self._length or (data and start + len(data) == span.stop):
                yield Record(start=start, data=bytes(data[: self._length]))
                start += len(data[: self._length])
                del data[: self._length]
            if start == span.stop:
                return
        raise OSError(f"the source has {start + len(data)} bytes; expected {span.stop}")


def gaps(have: Sequence[range], size: int) -> Iterator[range]:
    """Yield the ranges of a file of `size` bytes that are not in `have`."""
    end = 0
    for span in sorted(have, key=lambda span: span.start):
        if span.start > end:
            yield range(end, span.start)
        end = max(end, span.stop)
    if end < size:
        yield range(end, size)
