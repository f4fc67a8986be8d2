"""What condor_q answers, as states."""

from collections.abc import Mapping
from typing import Any

from hpcdeploy.run import State, TaskStatus
from hpcdeploy.scheduler.htcondor.ads import read_ads

ATTRIBUTES = (
    "ClusterId,ProcId,JobStatus,HoldReason,HoldReasonCode,HoldReasonSubCode,RemoteHost,JobCurrentStartDate,NumJobStarts,"
    "LastRejMatchReason,JobUniverse,DAGManJobId,HpcdeployAfter,HpcdeployRun,TransferringInput"
)
"""What the follow script asks of condor_q."""

# JobStatus as HTCondor's manual lists it (job ClassAd attributes); 6 is TRANSFERRING_OUTPUT.
_STATUS = {
    1: ("IDLE", State.PENDING),
    2: ("RUNNING", State.RUNNING),
    3: ("REMOVED", State.CANCELLED),
    4: ("COMPLETED", State.COMPLETING),
    5: ("HELD", State.HELD),
    6: ("TRANSFERRING_OUTPUT", State.COMPLETING),
    7: ("SUSPENDED", State.SUSPENDED),
}


CLUSTER = -1
"""The task that stands for those that are not made yet: the log tells of the cluster as a whole (events 035 and 036), and
of a run that waits for others the script tells so of its DAGMan."""

WAITS = "waits for "
"""How the reason begins of a run that waits for others."""

NEVER = "it was to start "
"""How the reason begins of a run that may never start (``htcondor_templates/wait.sh``)."""

_SCHEDULER_UNIVERSE = 7  # DAGMan's: JobUniverse in the manual (job ClassAd attributes)


def read_queue(text: str, names: Mapping[str, str]) -> dict[str, list[TaskStatus]]:
    """Read what ``condor_q -json`` answered, by cluster id; what DAGMan submitted, by DAGMan's, which is there as `CLUSTER`.

    `names` are the runs that have these numbers: a schedd whose queue was lost counts anew, and another job has the number.
    No match is an empty answer, not an empty list (compat_classad.cpp: the footer is only written after an ad). A job that
    has ended stays in the queue for a moment; its end is told by its log, so here it counts as COMPLETING.
    """
    found: dict[str, list[TaskStatus]] = {}
    for ad in read_ads(text, "condor_q"):
        word, state = _STATUS.get(ad.get("JobStatus", 0), (str(ad.get("JobStatus")), State.UNKNOWN))
        begun = int(ad.get("NumJobStarts", 0))
        number = str(ad.get("DAGManJobId", ad["ClusterId"]))
        if ad.get("HpcdeployRun") != names.get(number):
            continue
        here = found.setdefault(number, [])
        if ad.get("JobUniverse") == _SCHEDULER_UNIVERSE:
            here.append(_waiting(state, word, ad))
            continue
        here.append(
            TaskStatus(
                task=int(ad.get("ProcId", 0)),
                state=state,
                word=word,
                reason=_reason(state, ad),
                node=str(ad.get("RemoteHost", "")),
                started=int(ad.get("JobCurrentStartDate", 0)) if state is not State.PENDING else 0,
                code=_hold_code(state, ad),
                # A job that waits after it was started starts once more, and so does one whose files are still on their way.
                # One that is held may never be released: its hold restarted nothing.
                restarts=begun if state is State.PENDING or _arrives(ad) else max(0, begun - 1),
            )
        )
    return found


def _waiting(state: State, word: str, ad: Mapping[str, Any]) -> TaskStatus:
    """Tell of DAGMan, which is alive until the run has ended: where it runs, what it is to submit waits."""
    if state is State.HELD:
        return TaskStatus(task=CLUSTER, state=state, word=word, reason=_reason(state, ad), code=_hold_code(state, ad))
    return TaskStatus(task=CLUSTER, state=State.PENDING, word=word, reason=f"{WAITS}{ad.get('HpcdeployAfter', 'others')}")


def _hold_code(state: State, ad: Mapping[str, Any]) -> str:
    return f"{ad.get('HoldReasonCode', 0)}.{ad.get('HoldReasonSubCode', 0)}" if state is State.HELD else ""


def _arrives(ad: Mapping[str, Any]) -> bool:
    """Tell whether a job's files are on their way to its worker: it runs, to the schedd, and was not begun."""
    return ad.get("TransferringInput") is True


def _reason(state: State, ad: Mapping[str, Any]) -> str:
    match state:
        case State.HELD:
            return str(ad.get("HoldReason", ""))
        case State.PENDING:
            return str(ad.get("LastRejMatchReason", "")).strip()
        case State.RUNNING if _arrives(ad):
            return "its files are on their way to the worker"
        case _:
            return ""
