"""Parse the output of condor_q into task states."""

from collections.abc import Mapping

from hpcdeploy.run import State, TaskStatus
from hpcdeploy.scheduler.answers import Rows
from hpcdeploy.scheduler.htcondor.ads import Ad, number_in, read_rows
from hpcdeploy.whole_number import LARGEST, MOST_TASKS, moment, whole_number

ATTRIBUTES = (
    "ClusterId,ProcId,JobStatus,HoldReason,HoldReasonCode,HoldReasonSubCode,RemoteHost,JobCurrentStartDate,NumJobStarts,"
    "LastRejMatchReason,JobUniverse,DAGManJobId,HpcdeployAfter,HpcdeployRun,TransferringInput"
)
"""The attributes that the follow script requests from condor_q."""

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
"""Task number for all tasks that do not exist yet. The log has events about the cluster as a whole (035 and 036), and the
follow script reports DAGMan for a run that waits for others."""

WAITS = "waits for "
"""Prefix of the reason of a run that waits for others."""

NEVER = "it was to start "
"""Prefix of the reason of a run that will never start (``htcondor_templates/wait.sh``)."""

_SCHEDULER_UNIVERSE = 7  # DAGMan's: JobUniverse in the manual (job ClassAd attributes)


def read_queue(text: str, names: Mapping[str, str]) -> Rows:
    """Parse the output of ``condor_q -json``, by cluster id (DAGMan's, for jobs that DAGMan submitted).

    DAGMan itself is reported as the task `CLUSTER`. Without a match the output is empty, not an empty list
    (compat_classad.cpp: the footer is only written after an ad). A finished job stays in the queue for a moment; here it
    counts as COMPLETING, because only its log has its end.

    Args:
        text: The output.
        names: The ids of the runs that have these job ids. A schedd that lost its queue numbers jobs from the start, so
            another job may have the same id.

    Raises:
        SchedulerError: The output is malformed.
    """

    def read(number: str, ad: Ad) -> TaskStatus | None:
        return _queued(ad) if ad.get("HpcdeployRun") == names.get(number) else None

    return read_rows(text, "condor_q", read)


def _queued(ad: Ad) -> TaskStatus:
    status = whole_number(ad.get("JobStatus", 0))
    word, state = _STATUS.get(-1 if status is None else status, (str(ad.get("JobStatus")), State.UNKNOWN))
    if ad.get("JobUniverse") == _SCHEDULER_UNIVERSE:
        return _waiting(state, word, ad)
    starts = whole_number(ad.get("NumJobStarts", 0)) or 0
    return TaskStatus(
        task=number_in(ad, "ProcId", MOST_TASKS),
        state=state,
        word=word,
        reason=_reason(state, ad),
        node=str(ad.get("RemoteHost", "")),
        started=moment(ad.get("JobCurrentStartDate", 0)) if state is not State.PENDING else 0,
        code=_hold_code(state, ad),
        # A job that waits after a start will start once more, and so will one whose files are in transfer. A held job may
        # never be released, so a hold is not a restart.
        restarts=starts if state is State.PENDING or _arrives(ad) else max(0, starts - 1),
    )


def _waiting(state: State, word: str, ad: Ad) -> TaskStatus:
    """Return the status of DAGMan, which lives until the run has ended: while it runs, the job that it will submit waits."""
    if state is State.HELD:
        return TaskStatus(task=CLUSTER, state=state, word=word, reason=_reason(state, ad), code=_hold_code(state, ad))
    return TaskStatus(task=CLUSTER, state=State.PENDING, word=word, reason=f"{WAITS}{ad.get('HpcdeployAfter', 'others')}")


def _hold_code(state: State, ad: Ad) -> str:
    if state is not State.HELD:
        return ""
    code, detail = (_integer(ad.get(name, 0)) for name in ("HoldReasonCode", "HoldReasonSubCode"))
    return f"{code}.{detail}"


def _integer(value: object) -> int:
    """Return an integer attribute, which may be negative (a subcode may be an errno with its sign); 0 for anything else."""
    number = whole_number(value)
    return number if number is not None else value if isinstance(value, int) and -LARGEST <= value < 0 else 0


def _arrives(ad: Ad) -> bool:
    """Tell whether a job's files are in transfer to its worker: for the schedd it runs, but its program has not started."""
    return ad.get("TransferringInput") is True


def _reason(state: State, ad: Ad) -> str:
    match state:
        case State.HELD:
            return str(ad.get("HoldReason", ""))
        case State.PENDING:
            return str(ad.get("LastRejMatchReason", "")).strip()
        case State.RUNNING if _arrives(ad):
            return "its files are in transfer to the worker"
        case _:
            return ""
