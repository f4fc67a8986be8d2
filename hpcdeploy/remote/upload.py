"""Upload staged files to a login node, from where an earlier attempt stopped."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpcdeploy import limits
from hpcdeploy.errors import ConnectionLostError, HpcdeployError, SchedulerError, TransportError
from hpcdeploy.progress import Carrying, Progress, ignore_output, silently
from hpcdeploy.remote.answers import STREAM_SHELL, UploadExitCode
from hpcdeploy.remote.parallel_upload import ParallelResult, upload_in_parallel
from hpcdeploy.remote.session import Session
from hpcdeploy.remote.upload_stream import UploadStream, changed, receiving
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.transport.contract import Output
from hpcdeploy.whole_file import sha256_of


def upload(
    needed: Sequence[Mapping[str, object]],
    uploads: Sequence[StagedFile],
    session: Session,
    *,
    report: Output = ignore_output,
    carrying: Carrying = silently,
    check: bool = False,
) -> None:
    """Upload the files that a submission script reported as missing, one after the other.

    After a lost connection, another attempt uploads the rest of the file. The retry policy has one pause for each attempt in
    succession that may make no progress; after one more the upload fails.

    Args:
        needed: The files that the script reported as missing.
        uploads: All files of the submission that can be uploaded.
        session: A session with the cluster.
        report: Receives messages for the user.
        carrying: Shows the progress of an upload.
        check: Whether a source's checksum is compared before any byte is sent. This is needed if the source may have been
            replaced since the run was planned, for example by a link to another file.

    Raises:
        TransportError: No connection could be opened, or it was lost repeatedly. Received data is kept for the next call.
        SchedulerError: The login node could not receive a file, or requested one that is not in `uploads`.
        ConfigError: A source file cannot be read, or has changed.
    """
    by_sha256 = {file.sha256: file for file in uploads}
    for need in needed:
        file = by_sha256.get(str(need["sha256"]))
        if file is None:
            raise SchedulerError(
                f"the login node requested {need['path']}, which is not part of this submission; submit the job again"
            )
        if check and Path(file.source).is_file() and sha256_of(Path(file.source)) != file.sha256:
            raise changed(file)
        with carrying(f"uploading {file.what}") as progress:
            _upload(file, int(str(need.get("have", 0))), session, report, progress)


def _upload(file: StagedFile, have: int, session: Session, report: Output, progress: Progress) -> None:
    script = receiving(file, session.cluster, overrides=session.overrides).encode("utf-8", "surrogateescape")
    lost: HpcdeployError | None = None
    farthest, failures = -1, 0
    while True:
        stream, parallel = UploadStream(script, file, progress), ParallelResult()
        try:
            parallel = upload_in_parallel(file, have, session, progress, report=report, reconnected=bool(lost))
            lost = parallel.lost or _try(stream, file, session, report)
        except TransportError as error:
            if lost is None and not isinstance(error, ConnectionLostError):
                raise
            session.reconnect()
            lost = error
        if lost is None:
            return
        if stream.answered:  # a single stream has begun, so use no parallel upload in the next attempts
            have = file.size
        present = max(parallel.present, stream.present)
        failures = 0 if present > farthest >= 0 else failures
        farthest = max(farthest, present)
        if failures == len(session.retry.pauses):
            raise TransportError(
                f"the upload of {file.what} was interrupted ({lost}); the received part is kept. Submit again to upload "
                "the rest"
            ) from lost
        report(f"{lost}; resuming\n".encode())
        time.sleep(session.retry.pauses[failures])
        failures += 1


def _try(stream: UploadStream, file: StagedFile, session: Session, report: Output) -> HpcdeployError | None:
    """Upload in one attempt; return the error that justifies another attempt, or None if the file is complete."""
    try:
        result = session.stream(
            STREAM_SHELL, stdin=stream.pieces(), on_stdout=stream.take, on_stderr=report, limit=limits.TRANSFER
        )
    except TransportError as error:
        if stream.error:
            raise stream.error from error
        raise
    finally:
        stream.end()
    if stream.error:
        raise stream.error
    if result.exit_code >= 0:
        result.check_began()
    message = result.errors.rpartition("\n")[2].removeprefix("error: ")
    match result.exit_code:
        case UploadExitCode.DONE:
            return None
        case UploadExitCode.DAMAGED if not stream.present:
            raise changed(file)
        # If the file is damaged, but this attempt sent only its rest, the bytes of an earlier attempt may be wrong. The
        # script has removed them, so another attempt is useful.
        case code if code in (UploadExitCode.DAMAGED, UploadExitCode.INCOMPLETE) or code < 0:
            return ConnectionLostError(message or f"the transfer of {file.what} was interrupted")
        case code:
            raise SchedulerError(
                message or f"{file.what} could not be uploaded: the receiving script failed with exit code {code}"
            )
