"""Upload staged files to a login node, resuming where an earlier attempt stopped."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy import limits
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError, ConnectionLostError, HpcdeployError, SchedulerError, TransportError
from hpcdeploy.limits import Lines
from hpcdeploy.progress import Carrying, Progress, silently
from hpcdeploy.registry.asking import registry_of
from hpcdeploy.remote.answers import STREAM_SHELL, number_of, read_answer
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.output import check_began
from hpcdeploy.remote.scripts import receiving, receiving_lane
from hpcdeploy.staged_files import Parcel
from hpcdeploy.transport.contract import Output, Transport, ignore_output
from hpcdeploy.whole_file import sha256_of

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


LANES = 4
"""Number of parallel uploads; well below the sessions that sshd allows on one connection (sshd_config(5), MaxSessions: 10).
"""

LARGE = 32_000_000
FAR = 0.02
"""Minimum size in bytes, and minimum round trip time in seconds, for a parallel upload. Below them the additional round
trips cost more than they save: one window fills a gigabit network at 17 ms."""

_REFUSED = 15
"""Exit code of a receiving script that did not receive all data (`login/lane.sh`)."""


@dataclass(frozen=True, kw_only=True)
class Carried:
    """The result of a parallel upload.

    Attributes:
        began: The bytes that were present at its start.
        lost: The error, if another attempt is useful.
    """

    began: int = 0
    lost: ConnectionLostError | None = None


def bring_in_lanes(
    parcel: Parcel,
    have: int,
    cluster: Cluster,
    transport: Transport,
    progress: Progress,
    overrides: Path | None = None,
    *,
    report: Output = ignore_output,
    anew: bool = False,
) -> Carried:
    """Upload chunks of a large `parcel` in parallel, if the round trip time makes it worthwhile.

    Interrupted uploads can be resumed by another call. Other errors are not reported here, because the single-stream upload
    that follows (`hpcdeploy.remote.upload`) meets and reports them.

    Args:
        parcel: The file.
        have: The size of a partial file; if it exceeds the first chunk, nothing is done here.
        cluster: The cluster.
        transport: A connection to it.
        progress: Receives the progress.
        overrides: The project's folder, whose own templates replace the built-in ones.
        report: Receives messages for the user.
        anew: An earlier connection was lost.

    Raises:
        TransportError: No new connection can be opened.
    """
    chunks = _cut(parcel.size)
    if parcel.size < LARGE or have > len(chunks[0]):
        return Carried()
    if anew:  # connect in this thread, which can prompt the user; this also measures the round trip time
        transport.run(("true",))
    if transport.delay < FAR:
        return Carried()

    def carried(*, waits: bool) -> _ParallelUpload:
        shown = _TotalProgress(len(chunks), parcel.size, progress)
        sendings = []
        for number, chunk in enumerate(chunks):
            script = receiving_lane(parcel, chunk, cluster, waits=waits, overrides=overrides)
            sendings.append(Sending(script.encode("utf-8", "surrogateescape"), parcel, chunk, shown.part(number)))
        lanes = _ParallelUpload(sendings, transport, report)
        lanes.carry(one_first=waits)
        return lanes

    # Another client may be uploading the file, or the script of a lost connection may still run. When the first upload waits
    # for such a process, no other upload may hold its own lock, because the process that joins the chunks waits for it.
    lanes = carried(waits=anew)
    if lanes.refused and not anew:
        lanes = carried(waits=True)
    return lanes.outcome()


class _ParallelUpload:
    """Upload each chunk in its own channel; data is sent after the first script has started, which locks the whole file."""

    def __init__(self, sendings: Sequence[Sending], transport: Transport, report: Output) -> None:
        self._sendings = sendings
        self._transport = transport
        self._report = report
        self._lost: list[ConnectionLostError] = []
        self.refused = False
        """Another process uploads the first chunk or the whole file, or has completed it."""

    def carry(self, *, one_first: bool) -> None:
        """Run all uploads to their end; with `one_first` the others start after the first script has started."""
        first = self._sendings[0]
        threads = []
        for sending in self._sendings:
            threads.append(threading.Thread(target=self._carry, args=(sending,), daemon=True))
            threads[-1].start()
            if one_first and not first.begins():
                break
        for thread in threads:
            thread.join()

    def outcome(self) -> Carried:
        """Return the result."""
        again = self._lost and not any(sending.trouble for sending in self._sendings)
        return Carried(began=sum(sending.began for sending in self._sendings), lost=self._lost[0] if again else None)

    def _carry(self, sending: Sending) -> None:
        first = self._sendings[0]
        try:
            report = self._report if sending is first else ignore_output
            completed = self._transport.run(
                STREAM_SHELL,
                stdin=self._pieces(sending),
                on_stdout=sending.take,
                on_stderr=report,
                limit=limits.TRANSFER,
            )
            if sending is first:
                self.refused = completed.exit_code == _REFUSED and not first.answered
            if completed.exit_code and sending.answered and first.begins():
                self._lost.append(ConnectionLostError("the transfer was completed"))
        except ConnectionLostError as error:
            self._lost.append(error)
        except HpcdeployError:
            pass
        finally:
            sending.end()

    def _pieces(self, sending: Sending) -> Iterator[bytes]:
        given = sending.pieces()
        yield next(given)
        for piece in given:
            if not self._sendings[0].begins():
                return
            yield piece


def _cut(size: int) -> Sequence[range]:
    """Split a file into chunks of equal size, except for the last."""
    length = -(-size // LANES)
    return [range(start, min(start + length, size)) for start in range(0, size, length)]


class _TotalProgress:
    """Sum up the progress of the chunks."""

    def __init__(self, lanes: int, size: int, progress: Progress) -> None:
        self._done = [0] * lanes
        self._size = size
        self._progress = progress
        self._lock = threading.Lock()

    def part(self, number: int) -> Progress:
        """Return the progress callback for one chunk."""

        def update(done: int, _total: int) -> None:
            with self._lock:
                self._done[number] = done
                self._progress(sum(self._done), self._size)

        return update


_PAUSES = (1, 2, 4)


def deliver(
    needed: Sequence[Mapping[str, object]],
    parcels: Sequence[Parcel],
    cluster: Cluster,
    connections: Connections,
    *,
    report: Output = ignore_output,
    carrying: Carrying = silently,
    overrides: Path | None = None,
    check: bool = False,
) -> None:
    """Upload those of `parcels` that a submission script `needed`, one after the other.

    After a lost connection the upload resumes, as long as each attempt makes progress.

    Args:
        needed: The files that the script reported as missing.
        parcels: The files of the submission.
        cluster: The cluster.
        connections: The connections.
        report: Receives messages for the user.
        carrying: Shows the progress of an upload.
        overrides: The project's folder, whose own templates replace the built-in ones.
        check: Compare a source's checksum before any of it is sent. Since a run was planned, a project may have put a link
            to another file in the place of a source.

    Raises:
        TransportError: The connection failed repeatedly. Received data is kept for the next call.
        SchedulerError: The login node rejected the upload.
        ConfigError: A source file cannot be read, or has changed.
    """
    by_sha256 = {parcel.sha256: parcel for parcel in parcels}
    for need in needed:
        parcel = by_sha256.get(str(need["sha256"]))
        if parcel is None:
            raise SchedulerError(
                f"the login node asks for {need['path']}, which is not part of this submission; submit the job again"
            )
        if check and Path(parcel.source).is_file() and sha256_of(Path(parcel.source)) != parcel.sha256:
            raise changed(parcel)
        with carrying(f"uploading {parcel.what}") as progress:
            _upload(parcel, int(str(need.get("have", 0))), cluster, connections, report, progress, overrides)


def _upload(
    parcel: Parcel,
    have: int,
    cluster: Cluster,
    connections: Connections,
    report: Output,
    progress: Progress,
    overrides: Path | None,
) -> None:
    script = receiving(parcel, cluster, overrides=overrides).encode("utf-8", "surrogateescape")
    lost: HpcdeployError | None = None
    farthest, failures = -1, 0
    while True:
        sending, carried = Sending(script, parcel, range(parcel.size), progress), Carried()
        try:
            transport = connections.to(cluster)
            carried = bring_in_lanes(parcel, have, cluster, transport, progress, overrides, report=report, anew=bool(lost))
            lost = carried.lost or _try(sending, parcel, transport, report)
        except TransportError as error:
            if lost is None and not isinstance(error, ConnectionLostError):
                raise
            connections.drop(cluster)
            lost = error
        if lost is None:
            return
        have = parcel.size if sending.answered else have  # a partial file is resumed as a single stream
        began = max(carried.began, sending.began)
        failures = 0 if began > farthest >= 0 else failures
        farthest = max(farthest, began)
        if failures == len(_PAUSES):
            raise TransportError(
                f"{parcel.what} was interrupted ({lost}); the received part is kept: submit again, and the upload "
                "resumes there"
            ) from lost
        report(f"{lost}; resuming\n".encode())
        time.sleep(_PAUSES[failures])
        failures += 1


def _try(sending: Sending, parcel: Parcel, transport: Transport, report: Output) -> HpcdeployError | None:
    """Upload once; return the reason for another attempt, or None if the file is complete."""
    try:
        completed = transport.run(
            STREAM_SHELL, stdin=sending.pieces(), on_stdout=sending.take, on_stderr=report, limit=limits.TRANSFER
        )
    except TransportError as error:
        if sending.trouble:
            raise sending.trouble from error
        raise
    finally:
        sending.end()
    if sending.trouble:
        raise sending.trouble
    if completed.exit_code >= 0:
        check_began(completed, transport.where)
    message = completed.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2].removeprefix("error: ")
    match completed.exit_code:
        case 0:
            return None
        case 11 if not sending.began:
            raise changed(parcel)
        case code if code in (11, 15) or code < 0:  # 11: data of an earlier attempt was wrong and has been removed
            return ConnectionLostError(message or f"the transfer of {parcel.what} was interrupted")
        case code:
            raise SchedulerError(
                message or f"{parcel.what} could not be uploaded: the receiving script failed with exit code {code}"
            )
