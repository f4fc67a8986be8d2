"""Upload a large file in parallel, where the round trip takes long and the login node has Python."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from hpcdeploy import limits
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConnectionLostError, HpcdeployError, SchedulerError
from hpcdeploy.frozen import frozen
from hpcdeploy.limits import Lines
from hpcdeploy.progress import Progress, ignore_output
from hpcdeploy.remote.answers import STREAM_SHELL, ErrorOutput, UploadExitCode, ranges_of, read_answer
from hpcdeploy.remote.records import SHORTEST, Records
from hpcdeploy.remote.script_parts import ABOUT_RECEIVE_RECORDS, FILES
from hpcdeploy.remote.session import Session
from hpcdeploy.remote.upload_stream import supplier_of, upload_script
from hpcdeploy.shell_script import Value, library_file
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.templates import refuse_former
from hpcdeploy.transport.contract import Output

CHANNELS = 4
"""Number of parallel channels. By default sshd allows 10 on one connection (sshd_config(5), MaxSessions)."""

LARGE = 32_000_000
"""Minimum number of missing bytes for a parallel upload. For fewer bytes, the additional round trips take too long."""

FAR = 0.02
"""Minimum round trip time in seconds for a parallel upload.

Up to 17 ms, a single channel fills a gigabit network, because OpenSSH's window of 2 MiB then covers the round trip.
"""

_CONFIRMATION = 128
"""Maximum number of bytes that the login node prints for a record."""


@frozen
class ParallelResult:
    """The result of a parallel upload.

    Attributes:
        present: The number of bytes of the file that the login node had before this upload.
        lost: The lost connection, if another attempt may succeed; None if the upload is finished or cannot succeed.
    """

    present: int = 0
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
    """Upload records of a large `file` in parallel, if the round trip time makes it worthwhile.

    After a lost connection, another call resumes the upload. Other errors are not reported here: they occur again in the
    single-stream upload that follows (`hpcdeploy.remote.upload`), which reports them. The single-stream upload also sends
    the whole file if the login node has no Python.

    Args:
        file: The file.
        have: The size of a partial file on the login node. If fewer than `LARGE` bytes are missing, nothing is uploaded.
        session: A session with the cluster.
        progress: Receives the number of bytes uploaded so far, and the size of the file in bytes.
        report: Receives messages for the user.
        reconnected: Whether an earlier connection was lost.

    Raises:
        TransportError: No new connection can be opened.
    """
    if file.size - have < LARGE:
        return ParallelResult()
    connection = session.link.open()
    if reconnected:  # connect in this thread, because only it can prompt the user; the call measures the round trip time too
        connection.run(("true",))
    if connection.delay < FAR:
        return ParallelResult()
    return _ParallelUpload(file, session, progress, report).run()


class _ParallelUpload:
    """Send records over several channels. A channel gets the next record when it can send more bytes.

    The script of the first channel locks the upload, waits for other clients, and answers which ranges are present. The
    other channels start at the same time, but get no records before this answer.
    """

    def __init__(self, file: StagedFile, session: Session, progress: Progress, report: Output) -> None:
        self._file = file
        self._session = session
        self._report = report
        self._records = Records(file.size, supplier_of(file), progress)
        self._limit = replace(
            limits.TRANSFER,
            stdout=limits.TRANSFER.stdout + _CONFIRMATION * (file.size // SHORTEST),
            keep_stdout=False,
        )
        self._ready = threading.Event()
        self._answered = False
        self._present = 0
        self._lost: ConnectionLostError | None = None
        self._gave_up = False

    def run(self) -> ParallelResult:
        """Upload, and return the result."""
        threads = [threading.Thread(target=self._channel, args=(number == 0,), daemon=True) for number in range(CHANNELS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done = self._records.complete or self._records.failed or self._gave_up
        return ParallelResult(present=self._present, lost=None if done else self._lost)

    def _channel(self, is_first: bool) -> None:  # noqa: FBT001 - a thread's argument
        sent: list[int] = []
        lines, errors = Lines(limits.SCRIPT.stdout), ErrorOutput(self._report if is_first else ignore_output)
        try:
            script = receiving_records(
                self._file, self._session.cluster, is_first=is_first, overrides=self._session.overrides
            )
            result = self._session.stream(
                STREAM_SHELL,
                stdin=self._input(script.encode("utf-8", "surrogateescape"), sent),
                on_stdout=lambda piece: self._take(lines.take(piece), is_first=is_first),
                on_stderr=errors.take,
                limit=self._limit,
            )
            if not self._ready.is_set() and not is_first:
                # This script ended while the first channel still waits, usually for another client. Run it again after that.
                self._ready.wait()
                self._channel(is_first)
                return
            self._gave_up |= result.exit_code == UploadExitCode.UNUSABLE
            if result.exit_code and self._answered:
                self._lost = ConnectionLostError(f"the transfer of {self._file.what} was interrupted")
        except ConnectionLostError as error:
            self._lost = error
        except HpcdeployError:  # the site allows fewer channels, or the single-stream upload will report the error
            pass
        finally:
            self._records.give_back(sent)
            if is_first:
                self._ready.set()

    def _input(self, script: bytes, sent: list[int]) -> Iterator[bytes]:
        """Yield the script, and after the first answer the records; `sent` gets their offsets."""
        yield script
        self._ready.wait()
        while self._answered and (record := self._records.take()):
            sent.append(record.start)
            yield record.packed()

    def _take(self, lines: Iterable[bytes], *, is_first: bool) -> None:
        """Process the output of a script: first the ranges that were present at the start, then each range that was written.

        Raises:
            SchedulerError: An answer is malformed.
        """
        for line in lines:
            try:
                if (answer := read_answer(line)) is None:
                    continue
                if not answer:  # there is no Python, or the whole file is present
                    if is_first:
                        self._ready.set()
                    continue
                have = ranges_of(answer, self._file.size)
            except ValueError as error:
                self._gave_up = True
                raise SchedulerError(f"{self._file.what} was not uploaded in parallel: {error}") from error
            if is_first and not self._answered:
                self._records.begin(have)
                self._present = self._records.done
                self._answered = True
                self._ready.set()
                continue
            for span in have:
                self._records.confirm(span)


def receiving_records(
    staged: StagedFile, cluster: Cluster, *, is_first: bool, silence_timeout: int = 120, overrides: Path | None = None
) -> str:
    """Render a script that receives records of an upload (`hpcdeploy.remote.records`) after its own text.

    Several of these scripts run at once. Afterwards the script of `receiving` completes the file.

    Args:
        staged: The file.
        cluster: The cluster.
        is_first: Whether this script locks the upload, and answers which ranges are present; only one of the scripts does.
        silence_timeout: Maximum time in seconds without data. After that the script exits.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        ConfigError: A path contains a line break or a NUL.
        TemplateError: A template is broken.
    """
    refuse_former(overrides)
    values: dict[str, Value] = {
        "size": staged.size,
        "is_first": is_first,
        "silence_timeout": silence_timeout,
        "receiver": library_file("receive.py"),
    }
    script = upload_script(staged, cluster, values)
    title = "Receive records of a file that is uploaded in parallel, which follow this script on standard input."
    return replace(script, title=title, about=ABOUT_RECEIVE_RECORDS, files=FILES["records"]).text()
