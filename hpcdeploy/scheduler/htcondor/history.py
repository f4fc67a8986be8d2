"""What condor_history answers, as states: the schedd's own memory of what left the queue."""

from dataclasses import replace

from hpcdeploy.run import State, TaskStatus
from hpcdeploy.scheduler.answers import Rows
from hpcdeploy.scheduler.htcondor.ads import Ad, number_in, read_rows
from hpcdeploy.scheduler.htcondor.event_log import OUT_OF_TIME, TIMED_OUT
from hpcdeploy.whole_number import HIGHEST_EXIT_CODE, MOST_TASKS, moment, whole_number

HISTORY_ATTRIBUTES = (
    "ClusterId,DAGManJobId,ProcId,JobStatus,ExitBySignal,ExitCode,ExitSignal,RemoveReason,LastHoldReasonCode,LastRemoteHost,"
    "JobCurrentStartDate,EnteredCurrentStatus,NumJobStarts"
)
"""What the follow script asks of condor_history."""

_REMOVED, _COMPLETED = 3, 4
"""JobStatus, as the manual numbers it (job ClassAd attributes)."""


def read_history(text: str) -> Rows:
    """Read what ``condor_history -json`` answered, by cluster id (by DAGMan's, of what DAGMan submitted).

    No match is an empty list there, unlike condor_q's. A job that left the queue in another way than by its end or by a
    removal (the manual's JobStatus knows none) tells nothing here.
    """
    return read_rows(text, "condor_history", lambda _number, ad: _ended(ad))


def _ended(ad: Ad) -> TaskStatus | None:
    begun = whole_number(ad.get("NumJobStarts", 0)) or 0
    status = TaskStatus(
        task=number_in(ad, "ProcId", MOST_TASKS),
        state=State.UNKNOWN,
        node=str(ad.get("LastRemoteHost", "")),
        started=moment(ad.get("JobCurrentStartDate", 0)) if begun else 0,
        ended=moment(ad.get("EnteredCurrentStatus", 0)),
        restarts=max(0, begun - 1),
    )
    how = whole_number(ad.get("JobStatus"))
    if how == _REMOVED and whole_number(ad.get("LastHoldReasonCode")) in OUT_OF_TIME:
        return replace(status, state=State.TIMEOUT, word="REMOVED", reason=TIMED_OUT)
    if how == _REMOVED:
        return replace(status, state=State.CANCELLED, word="REMOVED", reason=str(ad.get("RemoveReason", "")))
    if how != _COMPLETED:
        return None
    if ad.get("ExitBySignal"):
        code = 128 + number_in(ad, "ExitSignal", HIGHEST_EXIT_CODE - 128)
    elif ad.get("ExitCode") is None:
        return None
    else:
        code = number_in(ad, "ExitCode", HIGHEST_EXIT_CODE)
    return replace(status, state=State.FAILED if code else State.COMPLETED, word="COMPLETED", exit_code=code)
