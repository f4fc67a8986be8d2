"""Parse the output of condor_history, the schedd's record of jobs that left the queue, into task states."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hpcdeploy.run import State, TaskStatus
from hpcdeploy.scheduler.htcondor.ads import read_ads
from hpcdeploy.scheduler.htcondor.event_log import OUT_OF_TIME, TIMED_OUT

HISTORY_ATTRIBUTES = (
    "ClusterId,DAGManJobId,ProcId,JobStatus,ExitBySignal,ExitCode,ExitSignal,RemoveReason,LastHoldReasonCode,LastRemoteHost,"
    "JobCurrentStartDate,EnteredCurrentStatus,NumJobStarts"
)
"""The attributes that the follow script requests from condor_history."""

_REMOVED, _COMPLETED = 3, 4
"""Values of JobStatus (HTCondor's manual, job ClassAd attributes)."""


def read_history(text: str) -> dict[str, list[TaskStatus]]:
    """Parse the output of ``condor_history -json``, by cluster id (DAGMan's, for jobs that DAGMan submitted).

    Without a match condor_history prints an empty list, unlike condor_q. Jobs that left the queue neither by ending nor by
    removal are skipped (the manual's JobStatus has no value for that).

    Raises:
        SchedulerError: The output is malformed.
    """
    found: dict[str, list[TaskStatus]] = {}
    for ad in read_ads(text, "condor_history"):
        status = _ended(ad)
        if status:
            found.setdefault(str(ad.get("DAGManJobId", ad["ClusterId"])), []).append(status)
    return found


def _ended(ad: Mapping[str, Any]) -> TaskStatus | None:
    begun = int(ad.get("NumJobStarts", 0))
    status = TaskStatus(
        task=int(ad.get("ProcId", 0)),
        state=State.UNKNOWN,
        node=str(ad.get("LastRemoteHost", "")),
        started=int(ad.get("JobCurrentStartDate", 0)) if begun else 0,
        ended=int(ad.get("EnteredCurrentStatus", 0)),
        restarts=max(0, begun - 1),
    )
    if ad.get("JobStatus") == _REMOVED and ad.get("LastHoldReasonCode") in OUT_OF_TIME:
        return replace(status, state=State.TIMEOUT, word="REMOVED", reason=TIMED_OUT)
    if ad.get("JobStatus") == _REMOVED:
        return replace(status, state=State.CANCELLED, word="REMOVED", reason=str(ad.get("RemoveReason", "")))
    code = 128 + int(ad.get("ExitSignal", 0)) if ad.get("ExitBySignal") else ad.get("ExitCode")
    if ad.get("JobStatus") != _COMPLETED or code is None:
        return None
    return replace(status, state=State.FAILED if code else State.COMPLETED, word="COMPLETED", exit_code=int(code))
