"""Deliver: bring a login node the files that only this machine has, each once, going on where an earlier try stopped."""

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
    """Bring those of `parcels` that a submission script `needed`, one after the other.

    A connection that dies is answered by going on where it died, as long as each try brings something more. Raises
    `TransportError` where that ends; what has come so far stays there, for the next call. Raises `SchedulerError` where the
    login node refuses, `ConfigError` where a source cannot be read or is not what it was. With `check` that is known before
    a byte of it is sent: since a run was planned, a project may have put a link to another file in a source's place.
    """
    by_sha256 = {parcel.sha256: parcel for parcel in parcels}
    for need in needed:
        parcel = by_sha256.get(str(need["sha256"]))
        if parcel is None:
            raise SchedulerError(f"the login node asks for {need['path']}, of which nobody here knows; submit the job anew")
        if check and Path(parcel.source).is_file() and sha256_of(Path(parcel.source)) != parcel.sha256:
            raise changed(parcel)
        with carrying(f"bringing {parcel.what}") as progress:
            _bring(parcel, int(str(need.get("have", 0))), cluster, connections, report, progress, overrides)


def _bring(
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
        have = parcel.size if sending.answered else have  # it goes on in one as it began
        began = max(carried.began, sending.began)
        failures = 0 if began > farthest >= 0 else failures
        farthest = max(farthest, began)
        if failures == len(_PAUSES):
            raise TransportError(
                f"{parcel.what} could not be brought to its end ({lost}); what has come stays there: submit again, and it "
                "goes on from there"
            ) from lost
        report(f"{lost}; going on\n".encode())
        time.sleep(_PAUSES[failures])
        failures += 1


def _try(sending: Sending, parcel: Parcel, transport: Transport, report: Output) -> HpcdeployError | None:
    """Send once; return why it is worth trying again, or None where the parcel is there."""
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
    said = completed.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2].removeprefix("error: ")
    match completed.exit_code:
        case 0:
            return None
        case 11 if not sending.began:
            raise changed(parcel)
        case code if code in (11, 15) or code < 0:  # 11: what an earlier try had left was wrong, and is gone
            return ConnectionLostError(said or f"the transfer of {parcel.what} was ended")
        case code:
            raise SchedulerError(said or f"{parcel.what} could not be brought: the receiving script's exit status is {code}")
