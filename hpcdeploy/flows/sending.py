"""Send: what a receiving script is given to read, itself and a stretch of a parcel behind it."""

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
"""Gives a parcel's bytes from an offset on, in pieces of any size."""

_BLOCK = 8 * (32 * 1024 - 64)
"""Bytes read at once: so many whole packets of SSH (`hpcdeploy.transport.ssh`)."""


def supplier_of(parcel: Parcel) -> Supplier:
    """Return what gives the bytes of `parcel`, out of its source."""
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
    """Return the error of a source that has other bytes than it had."""
    return ConfigError(
        f"{parcel.source} is not what it was when the job was planned (sha256 {parcel.sha256}, {parcel.size} bytes), and "
        f"so {parcel.what} could not be brought: submit the job anew"
    )


class Sending:
    """One try: the script, and once that has said how much of the `stretch` it has, the rest of its bytes.

    `progress` is told of the bytes of the stretch that are there, and of how many it has.
    """

    def __init__(self, script: bytes, parcel: Parcel, stretch: range, progress: Progress) -> None:
        self._script = script
        self._parcel = parcel
        self._stretch = stretch
        self._progress = progress
        self._said = Lines(limits.SCRIPT.stdout)
        self._have: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._heard = threading.Event()
        self.answered = False
        """Whether the script has said what it has."""
        self.began = 0
        """Bytes of the stretch that were there when this try began, as far as that was said."""
        self.trouble: HpcdeployError | None = None
        """Why the source gave no more; the far side saw an end in the middle."""

    def take(self, piece: bytes) -> None:
        """Take what the script says. An answer that cannot be read ends the try: nothing more is sent."""
        for line in self._said.take(piece):
            try:
                if (answer := read_answer(line)) is None:
                    continue
                self.began = number_of(answer, "have")
            except ValueError as error:
                self.trouble = SchedulerError(f"{self._parcel.what} was not brought: {error}; submit again, or ask the site")
                self.end()
                return
            self.answered = True
            self._have.put(self.began)
            self._heard.set()

    def begins(self) -> bool:
        """Wait until the script has said what it has, or the try has ended; say whether it has."""
        self._heard.wait()
        return self.answered

    def end(self) -> None:
        """Let go of whoever waits for the script's first word, which may never have come."""
        self._have.put(None)
        self._heard.set()

    def pieces(self) -> Iterator[bytes]:
        """Give what the far shell is to read; called in a thread of its own."""
        yield self._script
        done, size = self._have.get(), len(self._stretch)
        if done is None:
            return
        self._progress(done, size)
        if done >= size:
            return
        try:
            for piece in supplier_of(self._parcel)(self._stretch.start + done):
                yield piece[: size - done]
                done += len(piece)
                self._progress(min(done, size), size)
                if done >= size:
                    return
            self.trouble = changed(self._parcel)
        except OSError as error:
            self.trouble = ConfigError(
                f"{self._parcel.what} cannot be read: {error.strerror or error} ({self._parcel.source}); "
                "expected it where it was when the job was planned: put it there again, or submit the job anew"
            )
        except HpcdeployError as error:
            self.trouble = error
