"""Upload a large file over a slow round trip in several chunks in parallel.

An SSH channel transfers no more than its window in one round trip (RFC 4254, 5.2), and sshd's window is 2 MiB (OpenSSH's
channels.h, CHAN_SES_WINDOW_DEFAULT): at most 40 MB/s at 50 ms, on any network. Each further channel has its own window.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy import limits
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConnectionLostError, HpcdeployError
from hpcdeploy.flows.sending import Sending
from hpcdeploy.login_node import STREAM_SHELL
from hpcdeploy.parcel import Parcel
from hpcdeploy.progress import Progress
from hpcdeploy.scheduler.login_node import receiving_lane
from hpcdeploy.transport.contract import Output, Transport, ignore_output

LANES = 4
"""Number of parallel uploads; well below the sessions that sshd allows on one connection (sshd_config(5), MaxSessions: 10).
"""

LARGE = 32_000_000
FAR = 0.02
"""Minimum size in bytes, and minimum round trip time in seconds, for a parallel upload. Below them the additional round
trips cost more than they save: one window fills a gigabit network at 17 ms."""

_REFUSED = 15
"""Exit code of a receiving script that did not receive all data (`login_templates/lane.sh`)."""


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
    that follows (`hpcdeploy.flows.deliver`) meets and reports them.

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
        upload = _ParallelUpload(sendings, transport, report)
        upload.carry(one_first=waits)
        return upload

    # Another client may be uploading the file, or the script of a lost connection may still run. When the first upload waits
    # for such a process, no other upload may hold its own lock, because the process that joins the chunks waits for it.
    upload = carried(waits=anew)
    if upload.refused and not anew:
        upload = carried(waits=True)
    return upload.outcome()


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
