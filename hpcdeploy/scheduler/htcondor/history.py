"""Parse the output of condor_history, the schedd's record of jobs that left the queue, into task states."""

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
"""The attributes that the follow script requests from condor_history."""

_REMOVED, _COMPLETED = 3, 4
"""Values of JobStatus (HTCondor's manual, job ClassAd attributes)."""


def read_history(text: str) -> Rows:
    """Parse the output of ``condor_history -json``, by cluster id (DAGMan's, for jobs that DAGMan submitted).

    Without a match condor_history prints an empty list, unlike condor_q. Jobs that left the queue neither by ending nor by
    removal are skipped (the manual's JobStatus has no value for that).

    Raises:
        SchedulerError: The output is malformed.
    """
    return read_rows(text, "condor_history", lambda _number, ad: _ended(ad))


def _ended(ad: Ad) -> TaskStatus | None:
    starts = whole_number(ad.get("NumJobStarts", 0)) or 0
    status = TaskStatus(
        task=number_in(ad, "ProcId", MOST_TASKS),
        state=State.UNKNOWN,
        node=str(ad.get("LastRemoteHost", "")),
        started=moment(ad.get("JobCurrentStartDate", 0)) if starts else 0,
        ended=moment(ad.get("EnteredCurrentStatus", 0)),
        restarts=max(0, starts - 1),
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
