"""Deliver: bring a login node the files that only this machine has, each once, going on where an earlier try stopped."""

import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError, ConnectionLostError, HpcdeployError, SchedulerError, TransportError
from hpcdeploy.flows.connections import Connections
from hpcdeploy.login_node import SHELL, read_answer
from hpcdeploy.parcel import Parcel
from hpcdeploy.progress import Progress, ignore_progress
from hpcdeploy.registry.asking import registry_of
from hpcdeploy.scheduler.login_node import receiving
from hpcdeploy.transport.contract import Output, Transport, ignore_output

Supplier = Callable[[int], Iterator[bytes]]
"""Gives a parcel's bytes from an offset on, in pieces of any size."""

Carrying = Callable[[str], AbstractContextManager[Progress]]
"""Tells a person of the transfer of what it is given the name of, and gives the function that takes its progress."""

_BLOCK = 8 * (32 * 1024 - 64)
"""Bytes read at once: so many whole packets of SSH (`hpcdeploy.transport.ssh`)."""

_PAUSES = (1, 2, 4)


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


def silently(_what: str) -> AbstractContextManager[Progress]:
    """Carry without a word."""
    return nullcontext(ignore_progress)


def deliver(
    needed: Sequence[Mapping[str, object]],
    parcels: Sequence[Parcel],
    cluster: Cluster,
    connections: Connections,
    *,
    report: Output = ignore_output,
    carrying: Carrying = silently,
    overrides: Path | None = None,
) -> None:
    """Bring those of `parcels` that a submission script `needed`, one after the other.

    A connection that dies is answered by going on where it died, as long as each try brings something more. Raises
    `TransportError` where that ends; what has come so far stays there, for the next call. Raises `SchedulerError` where the
    login node refuses, `ConfigError` where a source cannot be read or is not what it was.
    """
    by_sha256 = {parcel.sha256: parcel for parcel in parcels}
    for need in needed:
        parcel = by_sha256.get(str(need["sha256"]))
        if parcel is None:
            raise SchedulerError(f"the login node asks for {need['path']}, of which nobody here knows; submit the job anew")
        with carrying(f"bringing {parcel.what}") as progress:
            _bring(parcel, cluster, connections, report, progress, overrides)


def _bring(
    parcel: Parcel, cluster: Cluster, connections: Connections, report: Output, progress: Progress, overrides: Path | None
) -> None:
    script = receiving(parcel, cluster, overrides=overrides).encode("utf-8", "surrogateescape")
    lost: HpcdeployError | None = None
    farthest, failures = -1, 0
    while True:
        sending = _Sending(script, parcel, progress)
        try:
            lost = _try(sending, parcel, connections.to(cluster), report)
        except TransportError as error:
            if lost is None and not isinstance(error, ConnectionLostError):
                raise
            connections.drop(cluster)
            lost = error
        if lost is None:
            return
        failures = 0 if sending.began > farthest >= 0 else failures
        farthest = max(farthest, sending.began)
        if failures == len(_PAUSES):
            raise TransportError(
                f"{parcel.what} could not be brought to its end ({lost}); what has come stays there: submit again, and it "
                "goes on from there"
            ) from lost
        report(f"{lost}; going on\n".encode())
        time.sleep(_PAUSES[failures])
        failures += 1


def _try(sending: "_Sending", parcel: Parcel, transport: Transport, report: Output) -> HpcdeployError | None:
    """Send once; return why it is worth trying again, or None where the parcel is there."""
    try:
        completed = transport.run(SHELL, stdin=sending.pieces(), on_stdout=sending.take, on_stderr=report)
    except TransportError as error:
        if sending.trouble:
            raise sending.trouble from error
        raise
    finally:
        sending.end()
    if sending.trouble:
        raise sending.trouble
    said = completed.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2].removeprefix("error: ")
    match completed.exit_code:
        case 0:
            return None
        case 11 if not sending.began:
            raise _changed(parcel)
        case code if code in (11, 15) or code < 0:  # 11: what an earlier try had left was wrong, and is gone
            return ConnectionLostError(said or f"the transfer of {parcel.what} was ended")
        case code:
            raise SchedulerError(said or f"{parcel.what} could not be brought: the receiving script's exit status is {code}")


def _changed(parcel: Parcel) -> ConfigError:
    return ConfigError(
        f"{parcel.source} is not what it was when the job was planned (sha256 {parcel.sha256}, {parcel.size} bytes), and "
        f"so {parcel.what} could not be brought: submit the job anew"
    )


class _Sending:
    """One try: the script, and once that has said how much it has, the rest of the bytes."""

    def __init__(self, script: bytes, parcel: Parcel, progress: Progress) -> None:
        self._script = script
        self._parcel = parcel
        self._progress = progress
        self._said = b""
        self._have: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.began = 0
        """Bytes that were there when this try began."""
        self.trouble: HpcdeployError | None = None
        """Why the source gave no more; the far side saw an end in the middle."""

    def take(self, piece: bytes) -> None:
        """Take what the script says."""
        self._said += piece
        if self._said.endswith(b"\n") and (answer := read_answer(self._said)):
            self._said = b""
            self._have.put(int(str(answer["have"])))

    def end(self) -> None:
        """Let go of whoever waits for the script's first word."""
        self._have.put(self._parcel.size)

    def pieces(self) -> Iterator[bytes]:
        """Give what the far shell is to read; called in a thread of its own."""
        yield self._script
        done = self.began = self._have.get()
        self._progress(done, self._parcel.size)
        if done >= self._parcel.size:
            return
        try:
            for piece in supplier_of(self._parcel)(done):
                yield piece[: self._parcel.size - done]
                done += len(piece)
                self._progress(min(done, self._parcel.size), self._parcel.size)
                if done >= self._parcel.size:
                    return
            self.trouble = _changed(self._parcel)
        except OSError as error:
            self.trouble = ConfigError(
                f"{self._parcel.what} cannot be read: {error.strerror or error} ({self._parcel.source}); "
                "expected it where it was when the job was planned: put it there again, or submit the job anew"
            )
        except HpcdeployError as error:
            self.trouble = error
