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
"""One ad: its attributes by name. The values may have any type, because they were not checked."""

_SHORTEST_VALUE = 8
"""Assumed minimum length in bytes of a value or key, from which the maximum number of values in an output is computed.

condor_q prints each attribute on a line of at least 20 bytes, so real output has fewer values than this maximum.
"""


def read_ads(text: str, program: str) -> list[object]:
    """Return the elements of the JSON list that `program` printed. The elements are not checked. Empty output means no ads.

    Raises:
        SchedulerError: The output is not a JSON list.
    """
    try:
        ads = read_json(text, most=max(MOST, len(text) // _SHORTEST_VALUE)) if text.strip() else []
    except ValueError as error:
        raise SchedulerError(f"{program} printed {text.strip()[:200]!r}, which is not JSON ({error}); try again") from error
    if not isinstance(ads, list):
        raise SchedulerError(f"{program} printed {text.strip()[:200]!r}; expected a JSON list of ads; try again")
    return ads


def read_rows(text: str, program: str, read_ad: Callable[[str, Ad], TaskStatus | None]) -> Rows:
    """Parse the ads in the output of `program` as tasks.

    The tasks are grouped by the number of their job. If DAGMan submitted the job, the number of the DAGMan job is used.

    Args:
        text: The output.
        program: The name of the program, for messages.
        read_ad: Returns the task's status, given the number and the ad, or None if the ad is to be ignored. It raises
            `ValueError` if the ad is malformed.

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
        ValueError: The attribute is not a whole number from 0 to `most`.
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

# The values of JobStatus (HTCondor's manual, job ClassAd attributes).
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
"""The task number under which the state of a whole job is stored. A task without a state gets this state.

A whole job is a cluster of HTCondor, and the event log has two events about one (035, 036). For a run that waits for other
runs, the state is that of the DAGMan job.
"""

WAITS = "waits for "
"""Prefix of the reason of a run that waits for other runs."""

NEVER = "it was to start "
"""Prefix of the reason of a run that will never start; ``login/htcondor/wait.sh`` writes it."""

_SCHEDULER_UNIVERSE = 7  # JobUniverse of a DAGMan job (HTCondor's manual, job ClassAd attributes)


def read_queue(text: str, names: Mapping[str, str]) -> Rows:
    """Parse the output of ``condor_q -json``, by cluster id. For a job that DAGMan submitted, the id is DAGMan's.

    - DAGMan itself is reported as the task `CLUSTER`.
    - If no job matches, condor_q prints nothing instead of an empty list (compat_classad.cpp: the end of the list is only
      written after an ad).
    - A finished job stays in the queue for a moment. It is reported as COMPLETING, because only its event log has its end.

    Args:
        text: The output of condor_q.
        names: The id of the run of each job id. A job with another run id is ignored: a schedd that lost its queue restarts
            its numbering, so that another job may have the same id.

    Raises:
        SchedulerError: The output is not a JSON list.
    """

    def read(number: str, ad: Ad) -> TaskStatus | None:
        return _queued(ad) if ad.get("HpcdeployRun") == names.get(number) else None

    return read_rows(text, "condor_q", read)


def _queued(ad: Ad) -> TaskStatus:
    status = whole_number(ad.get("JobStatus", 0))
    word, state = _STATUS.get(-1 if status is None else status, (str(ad.get("JobStatus")), State.UNKNOWN))
    if ad.get("JobUniverse") == _SCHEDULER_UNIVERSE:
        return _dagman(state, word, ad)
    starts = whole_number(ad.get("NumJobStarts", 0)) or 0
    return TaskStatus(
        task=number_in(ad, "ProcId", MOST_TASKS),
        state=state,
        word=word,
        reason=_reason(state, ad),
        node=str(ad.get("RemoteHost", "")),
        started=moment(ad.get("JobCurrentStartDate", 0)) if state is not State.PENDING else 0,
        code=_hold_code(state, ad),
        # While the job waits again, or its files are in transfer again, its next start is counted as a restart. While the
        # job is held, the next start is not counted, because the job may never be released.
        restarts=starts if state is State.PENDING or _is_in_transfer(ad) else max(0, starts - 1),
    )


def _dagman(state: State, word: str, ad: Ad) -> TaskStatus:
    """Return the status of a run that waits for other runs, from the ad of the DAGMan that will submit its job."""
    if state is State.HELD:
        return TaskStatus(task=CLUSTER, state=state, word=word, reason=_reason(state, ad), code=_hold_code(state, ad))
    return TaskStatus(task=CLUSTER, state=State.PENDING, word=word, reason=f"{WAITS}{ad.get('HpcdeployAfter', 'others')}")


def _hold_code(state: State, ad: Ad) -> str:
    if state is not State.HELD:
        return ""
    code, detail = (_integer(ad.get(name, 0)) for name in ("HoldReasonCode", "HoldReasonSubCode"))
    return f"{code}.{detail}"


def _integer(value: object) -> int:
    """Return the value of an integer attribute; 0 if the value is not an integer.

    A negative value is accepted, because a subcode may be an errno with a minus sign.
    """
    number = whole_number(value)
    return number if number is not None else value if isinstance(value, int) and -LARGEST <= value < 0 else 0


def _is_in_transfer(ad: Ad) -> bool:
    """Tell whether a job's files are in transfer to its worker.

    JobStatus of this job is RUNNING, although its program has not started.
    """
    return ad.get("TransferringInput") is True


def _reason(state: State, ad: Ad) -> str:
    match state:
        case State.HELD:
            return str(ad.get("HoldReason", ""))
        case State.PENDING:
            return str(ad.get("LastRejMatchReason", "")).strip()
        case State.RUNNING if _is_in_transfer(ad):
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
    """Parse the output of ``condor_history -json``, by cluster id. For a job that DAGMan submitted, the id is DAGMan's.

    An ad is ignored if its job was neither completed nor removed, or if it was completed but has no exit code.

    Raises:
        SchedulerError: The output is not a JSON list.
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
    status_code = whole_number(ad.get("JobStatus"))
    if status_code == _REMOVED and whole_number(ad.get("LastHoldReasonCode")) in OUT_OF_TIME:
        return replace(status, state=State.TIMEOUT, word="REMOVED", reason=TIMED_OUT)
    if status_code == _REMOVED:
        return replace(status, state=State.CANCELLED, word="REMOVED", reason=str(ad.get("RemoveReason", "")))
    if status_code != _COMPLETED:
        return None
    if ad.get("ExitBySignal"):
        code = 128 + number_in(ad, "ExitSignal", HIGHEST_EXIT_CODE - 128)
    elif ad.get("ExitCode") is None:
        return None
    else:
        code = number_in(ad, "ExitCode", HIGHEST_EXIT_CODE)
    return replace(status, state=State.FAILED if code else State.COMPLETED, word="COMPLETED", exit_code=code)
