"""What condor_q answers, as states."""

from collections.abc import Mapping

from hpcdeploy.run import State, TaskStatus
from hpcdeploy.scheduler.answers import Rows
from hpcdeploy.scheduler.htcondor.ads import Ad, number_in, read_rows
from hpcdeploy.whole_number import LARGEST, MOST_TASKS, moment, whole_number

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


def read_queue(text: str, names: Mapping[str, str]) -> Rows:
    """Read what ``condor_q -json`` answered, by cluster id; what DAGMan submitted, by DAGMan's, which is there as `CLUSTER`.

    `names` are the runs that have these numbers: a schedd whose queue was lost counts anew, and another job has the number.
    No match is an empty answer, not an empty list (compat_classad.cpp: the footer is only written after an ad). A job that
    has ended stays in the queue for a moment; its end is told by its log, so here it counts as COMPLETING.
    """

    def read(number: str, ad: Ad) -> TaskStatus | None:
        return _queued(ad) if ad.get("HpcdeployRun") == names.get(number) else None

    return read_rows(text, "condor_q", read)


def _queued(ad: Ad) -> TaskStatus:
    status = whole_number(ad.get("JobStatus", 0))
    word, state = _STATUS.get(-1 if status is None else status, (str(ad.get("JobStatus")), State.UNKNOWN))
    if ad.get("JobUniverse") == _SCHEDULER_UNIVERSE:
        return _waiting(state, word, ad)
    begun = whole_number(ad.get("NumJobStarts", 0)) or 0
    return TaskStatus(
        task=number_in(ad, "ProcId", MOST_TASKS),
        state=state,
        word=word,
        reason=_reason(state, ad),
        node=str(ad.get("RemoteHost", "")),
        started=moment(ad.get("JobCurrentStartDate", 0)) if state is not State.PENDING else 0,
        code=_hold_code(state, ad),
        # A job that waits after it was started starts once more, and so does one whose files are still on their way.
        # One that is held may never be released: its hold restarted nothing.
        restarts=begun if state is State.PENDING or _arrives(ad) else max(0, begun - 1),
    )


def _waiting(state: State, word: str, ad: Ad) -> TaskStatus:
    """Tell of DAGMan, which is alive until the run has ended: where it runs, what it is to submit waits."""
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
    """Tell whether a job's files are on their way to its worker: it runs, to the schedd, and was not begun."""
    return ad.get("TransferringInput") is True


def _reason(state: State, ad: Ad) -> str:
    match state:
        case State.HELD:
            return str(ad.get("HoldReason", ""))
        case State.PENDING:
            return str(ad.get("LastRejMatchReason", "")).strip()
        case State.RUNNING if _arrives(ad):
            return "its files are on their way to the worker"
        case _:
            return ""
