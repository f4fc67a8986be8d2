"""Upload the chunks of a large file in parallel, where the round trip takes long."""

import threading
from collections.abc import Iterator, Sequence

from hpcdeploy import limits
from hpcdeploy.errors import ConnectionLostError, HpcdeployError
from hpcdeploy.frozen import frozen
from hpcdeploy.progress import Progress
from hpcdeploy.remote.answers import STREAM_SHELL, UploadExitCode
from hpcdeploy.remote.session import Session
from hpcdeploy.remote.upload_stream import UploadStream, receiving_lane
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.transport.contract import Output, ignore_output

CHUNKS = 4
"""Number of parallel uploads; well below the sessions that sshd allows on one connection (sshd_config(5), MaxSessions: 10).
"""

LARGE = 32_000_000
FAR = 0.02
"""Minimum size in bytes, and minimum round trip time in seconds, for a parallel upload. Below them the additional round
trips cost more than they save: one window fills a gigabit network at 17 ms."""


@frozen
class ParallelResult:
    """The result of a parallel upload.

    Attributes:
        began: The bytes that were present at its start.
        lost: The error, if another attempt is useful.
    """

    began: int = 0
    lost: ConnectionLostError | None = None


def upload_in_parallel(
    file: StagedFile,
    have: int,
    session: Session,
    progress: Progress,
    *,
    report: Output = ignore_output,
    reconnected: bool = False,
) -> ParallelResult:
    """Upload chunks of a large `file` in parallel, if the round trip time makes it worthwhile.

    Interrupted uploads can be resumed by another call. Other errors are not reported here, because the single-stream upload
    that follows (`hpcdeploy.remote.upload`) meets and reports them.

    Args:
        file: The file.
        have: The size of a partial file; if it exceeds the first chunk, nothing is done here.
        session: A session with the cluster.
        progress: Receives the progress.
        report: Receives messages for the user.
        reconnected: An earlier connection was lost.

    Raises:
        TransportError: No new connection can be opened.
    """
    chunks = _cut(file.size)
    if file.size < LARGE or have > len(chunks[0]):
        return ParallelResult()
    connection = session.link.open()
    if reconnected:  # connect in this thread, which can prompt the user; this also measures the round trip time
        connection.run(("true",))
    if connection.delay < FAR:
        return ParallelResult()

    def uploaded(*, waits: bool) -> _ParallelUpload:
        shown = _TotalProgress(len(chunks), file.size, progress)
        streams = []
        for number, chunk in enumerate(chunks):
            script = receiving_lane(file, chunk, session.cluster, waits=waits, overrides=session.overrides)
            streams.append(UploadStream(script.encode("utf-8", "surrogateescape"), file, chunk, shown.part(number)))
        upload = _ParallelUpload(streams, session, report)
        upload.run(one_first=waits)
        return upload

    # Another client may be uploading the file, or the script of a lost connection may still run. When the first upload waits
    # for such a process, no other upload may hold its own lock, because the process that joins the chunks waits for it.
    upload = uploaded(waits=reconnected)
    if upload.refused and not reconnected:
        upload = uploaded(waits=True)
    return upload.result()


class _ParallelUpload:
    """Upload each chunk in its own channel; data is sent after the first script has started, which locks the whole file."""

    def __init__(self, streams: Sequence[UploadStream], session: Session, report: Output) -> None:
        self._streams = streams
        self._session = session
        self._report = report
        self._lost: list[ConnectionLostError] = []
        self.refused = False
        """Another process uploads the first chunk or the whole file, or has completed it."""

    def run(self, *, one_first: bool) -> None:
        """Run all uploads to their end; with `one_first` the others start after the first script has started."""
        first = self._streams[0]
        threads = []
        for stream in self._streams:
            threads.append(threading.Thread(target=self._upload, args=(stream,), daemon=True))
            threads[-1].start()
            if one_first and not first.wait_for_answer():
                break
        for thread in threads:
            thread.join()

    def result(self) -> ParallelResult:
        """Return the result."""
        again = self._lost and not any(stream.error for stream in self._streams)
        return ParallelResult(began=sum(stream.began for stream in self._streams), lost=self._lost[0] if again else None)

    def _upload(self, stream: UploadStream) -> None:
        first = self._streams[0]
        try:
            report = self._report if stream is first else ignore_output
            result = self._session.stream(
                STREAM_SHELL,
                stdin=self._input(stream),
                on_stdout=stream.take,
                on_stderr=report,
                limit=limits.TRANSFER,
            )
            if stream is first:
                self.refused = result.exit_code == UploadExitCode.INCOMPLETE and not first.answered
            if result.exit_code and stream.answered and first.wait_for_answer():
                self._lost.append(ConnectionLostError("the transfer was completed"))
        except ConnectionLostError as error:
            self._lost.append(error)
        except HpcdeployError:
            pass
        finally:
            stream.end()

    def _input(self, stream: UploadStream) -> Iterator[bytes]:
        pieces = stream.pieces()
        yield next(pieces)
        for piece in pieces:
            if not self._streams[0].wait_for_answer():
                return
            yield piece


def _cut(size: int) -> Sequence[range]:
    """Split a file into chunks of equal size, except for the last."""
    length = -(-size // CHUNKS)
    return [range(start, min(start + length, size)) for start in range(0, size, length)]


class _TotalProgress:
    """Sum up the progress of the chunks."""

    def __init__(self, chunks: int, size: int, progress: Progress) -> None:
        self._done = [0] * chunks
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
