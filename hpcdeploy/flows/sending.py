"""Supply the standard input of a receiving script: the script itself, followed by a chunk of a file."""

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from hpcdeploy import limits
from hpcdeploy.errors import ConfigError, HpcdeployError, SchedulerError
from hpcdeploy.flows.answered import number_of
from hpcdeploy.limits import Lines
from hpcdeploy.login_node import read_answer
from hpcdeploy.parcel import Parcel
from hpcdeploy.progress import Progress
from hpcdeploy.registry.asking import registry_of

Supplier = Callable[[int], Iterator[bytes]]
"""Return a file's bytes from an offset on, in pieces of any size."""

_BLOCK = 8 * (32 * 1024 - 64)
"""Bytes to read at once: a number of full SSH packets (`hpcdeploy.transport.ssh`)."""


def supplier_of(parcel: Parcel) -> Supplier:
    """Return the supplier of a parcel's bytes, which reads its source."""
    if parcel.source.startswith("oras://"):
        registry = registry_of(parcel.source)
        return lambda offset: registry.stream(parcel.sha256, parcel.size, offset)
    path = Path(parcel.source)

    def from_file(offset: int) -> Iterator[bytes]:
        with path.open("rb") as file:
            file.seek(offset)
            while block := file.read(_BLOCK):
                yield block

    return from_file


def changed(parcel: Parcel) -> ConfigError:
    """Return the error for a source that has changed."""
    return ConfigError(
        f"{parcel.source} has changed since the job was planned (sha256 {parcel.sha256}, {parcel.size} bytes), "
        f"so {parcel.what} was not uploaded; submit the job again"
    )


class Sending:
    """One upload attempt: the script, and after it reported how much of the `chunk` it has, the remaining bytes.

    Attributes:
        answered: The script has reported what it has.
        began: Bytes of the chunk that were present at the start of this attempt, as reported.
        trouble: The error of the source or the answer, which ended the upload early.
    """

    def __init__(self, script: bytes, parcel: Parcel, chunk: range, progress: Progress) -> None:
        self._script = script
        self._parcel = parcel
        self._chunk = chunk
        self._progress = progress
        self._lines = Lines(limits.SCRIPT.stdout)
        self._have: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._reported = threading.Event()
        self.answered = False
        """Whether the script has reported what it has."""
        self.began = 0
        """Bytes of the chunk that were present at the start of this attempt, as reported."""
        self.trouble: HpcdeployError | None = None
        """The error of the source or the answer, which ended the upload early."""

    def take(self, piece: bytes) -> None:
        """Process output of the script. A malformed answer ends the attempt."""
        for line in self._lines.take(piece):
            try:
                if (answer := read_answer(line)) is None:
                    continue
                self.began = number_of(answer, "have")
            except ValueError as error:
                self.trouble = SchedulerError(
                    f"{self._parcel.what} was not uploaded: {error}; submit again, or contact the site"
                )
                self.end()
                return
            self.answered = True
            self._have.put(self.began)
            self._reported.set()

    def begins(self) -> bool:
        """Wait until the script has answered or the attempt has ended; return whether it answered."""
        self._reported.wait()
        return self.answered

    def end(self) -> None:
        """Wake up the threads that wait for the script's answer, which may never come."""
        self._have.put(None)
        self._reported.set()

    def pieces(self) -> Iterator[bytes]:
        """Yield the standard input of the remote shell; called in its own thread."""
        yield self._script
        done, size = self._have.get(), len(self._chunk)
        if done is None:
            return
        self._progress(done, size)
        if done >= size:
            return
        try:
            for piece in supplier_of(self._parcel)(self._chunk.start + done):
                yield piece[: size - done]
                done += len(piece)
                self._progress(min(done, size), size)
                if done >= size:
                    return
            self.trouble = changed(self._parcel)
        except OSError as error:
            self.trouble = ConfigError(
                f"{self._parcel.what} cannot be read: {error.strerror or error} ({self._parcel.source}); "
                "expected the file that the job was planned with: restore it, or submit the job again"
            )
        except HpcdeployError as error:
            self.trouble = error
