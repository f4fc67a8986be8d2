"""Parse the output of condor_q and condor_history."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hpcdeploy.checked_values import HIGHEST_EXIT_CODE, LARGEST, MOST, MOST_TASKS, moment, read_json, whole_number
from hpcdeploy.errors import SchedulerError
from hpcdeploy.run import State, TaskStatus
from hpcdeploy.scheduler.contract import Rows, shown
from hpcdeploy.scheduler.htcondor.event_log import OUT_OF_TIME, TIMED_OUT

Ad = Mapping[str, Any]
"""One ad: its attributes by name. Their values are unchecked."""

_BYTES_OF_A_VALUE = 8
"""Minimum length in bytes of a value or key: condor_q prints each attribute on its own line of 20 bytes or more."""


def read_ads(text: str, program: str) -> list[object]:
    """Return the elements of the list that `program` printed, unchecked; empty output means no ads.

    Raises:
        SchedulerError: The output is not a JSON list.
    """
    try:
        ads = read_json(text, most=max(MOST, len(text) // _BYTES_OF_A_VALUE)) if text.strip() else []
    except ValueError as error:
        raise SchedulerError(f"{program} printed {text.strip()[:200]!r}, which is not JSON ({error}); try again") from error
    if not isinstance(ads, list):
        raise SchedulerError(f"{program} printed {text.strip()[:200]!r}; expected a JSON list of ads; try again")
    return ads


def read_rows(text: str, program: str, read_ad: Callable[[str, Ad], TaskStatus | None]) -> Rows:
    """Parse the ads in the output of `program` as tasks.

    They are grouped by the number of their job, or of the DAGMan job that submitted it.

    Args:
        text: The output.
        program: The name of the program, for messages.
        read_ad: Returns the task for this number and an ad, or None if there is none. It raises `ValueError` for a
            malformed ad.

    Raises:
        SchedulerError: The output is not a JSON list.
    """
    found: dict[str, list[TaskStatus]] = {}
    unread: dict[str, str] = {}
    for ad in read_ads(text, program):
        cluster = whole_number(ad.get("DAGManJobId", ad.get("ClusterId"))) if isinstance(ad, dict) else None
        number = "" if cluster is None else str(cluster)
        if not isinstance(ad, dict) or not number:
            unread[""] = shown(ad)
            continue
        try:
            status = read_ad(number, ad)
        except ValueError:
            unread[number] = shown(ad)
        else:
            found.setdefault(number, []).extend([status] if status else [])
    return Rows(found=found, unread=unread)


def number_in(ad: Ad, name: str, most: int = LARGEST) -> int:
    """Return the attribute `name` of an ad; 0 if there is none.

    Raises:
        ValueError: It is not a whole number from 0 to `most`.
    """
    number = whole_number(ad.get(name, 0), most)
    if number is None:
        raise ValueError(name)
    return number


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
"""Prefix of the reason of a run that will never start (``login/htcondor/wait.sh``)."""

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
