"""Upload files that only this machine has to a login node, each once, and resume interrupted uploads."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpcdeploy import limits
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConnectionLostError, HpcdeployError, SchedulerError, TransportError
from hpcdeploy.flows.connections import Connections
from hpcdeploy.flows.lanes import Carried, bring_in_lanes
from hpcdeploy.flows.last_words import check_began
from hpcdeploy.flows.sending import Sending, changed
from hpcdeploy.login_node import STREAM_SHELL
from hpcdeploy.parcel import Parcel
from hpcdeploy.progress import Carrying, Progress, silently
from hpcdeploy.scheduler.login_node import receiving
from hpcdeploy.transport.contract import Output, Transport, ignore_output
from hpcdeploy.whole_file import sha256_of

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
