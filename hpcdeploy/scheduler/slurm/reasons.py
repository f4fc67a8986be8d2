"""Explain why a job waits or ended: Slurm's reason codes, each with its meaning and what the user can do."""

import re

from hpcdeploy.run import TERMINAL, State, TaskStatus
from hpcdeploy.scheduler.slurm.queries import NO_NODE

_WAIT = "no action needed"
_SMALLER = "a smaller or shorter request may start sooner"
_PARTITION = "choose another partition, or ask the site"

# Source: squeue(1) of Slurm 24.11, "JOB REASON CODES". A code of another release is shown without an explanation.
_REASONS: dict[str, tuple[str, str]] = {
    "AccountNotAllowed": ("the account may not use this partition", "choose another account or partition"),
    "AccountingPolicy": (
        "an accounting limit has been reached",
        "wait, or ask the site for the limits (sacctmgr show assoc)",
    ),
    "AssociationJobLimit": ("your account has reached its limit of running jobs", _WAIT),
    "AssociationResourceLimit": ("your account has reached a resource limit", _WAIT),
    "AssociationTimeLimit": ("your account has used up its time", "ask the site"),
    "BadConstraints": (
        "no set of nodes can ever satisfy its request",
        "cancel it, and request less or other features",
    ),
    "BeginTime": ("its earliest start time has not come; a requeue sets it two minutes ahead", _WAIT),
    "BurstBufferOperation": ("an operation of its burst buffer failed", "ask the site"),
    "BurstBufferResources": ("the burst buffer that it requests has no space yet", _WAIT),
    "BurstBufferStageIn": ("its data is in transfer to the burst buffer", _WAIT),
    "Cleaning": ("it was requeued, and its last attempt is still being cleaned up", _WAIT),
    "Constraints": ("no node with the requested features is free", f"{_WAIT}, or request other features"),
    "DeadLine": ("it can no longer end before its deadline", "cancel it, and submit it with a later deadline"),
    "Dependency": ("it waits for another job to end", _WAIT),
    "DependencyNeverSatisfied": (
        "the job that it waits for did not end as required",
        "cancel it: it will never start",
    ),
    "FrontEndDown": ("no front-end node can start it", _WAIT),
    "InactiveLimit": ("the system's limit for inactive jobs was reached", "submit it again"),
    "InvalidAccount": ("the account is not valid", "use one of yours (sacctmgr show assoc user=$USER)"),
    "InvalidQOS": ("the quality of service is not valid", "use one of yours (sacctmgr show assoc user=$USER format=qos)"),
    "JobArrayTaskLimit": ("the throttle's number of array tasks is running", f"{_WAIT}, or raise the throttle"),
    "JobHeldAdmin": ("an administrator holds it", "ask the site"),
    "JobHeldUser": ("its owner holds it", "release it with 'scontrol release'"),
    "JobHoldMaxRequeue": (
        "it reached the site's limit of requeues and is held",
        "find out why it is requeued, then 'scontrol release'",
    ),
    "JobLaunchFailure": (
        "it could not be launched because of a file system, a node or the program",
        "see its log, and submit it again",
    ),
    "Licenses": ("a license that it needs is in use", _WAIT),
    "MaxBatchRequeue": (
        "its batch script failed to start as often as the site allows",
        "ask the site, then 'scontrol release'",
    ),
    "MaxMemPerLimit": ("it requests more memory per CPU or node than the site allows", "request less memory"),
    "NodeDown": ("a node that it needs is down", _WAIT),
    "NonZeroExitCode": ("it ended with an exit code that is not 0", "see its log"),
    "None": ("Slurm has not considered it yet", _WAIT),
    "OutOfMemory": ("it used more memory than it requested", "request more memory"),
    "PartitionConfig": ("it requests more than the partition allows", _PARTITION),
    "PartitionDown": ("the partition is down", f"{_WAIT}, or choose another partition"),
    "PartitionInactive": ("the partition starts no jobs at present", f"{_WAIT}, or choose another partition"),
    "PartitionNodeLimit": ("it requests more nodes than the partition allows, or nodes that are down", _PARTITION),
    "PartitionTimeLimit": (
        "it requests more time than the partition allows",
        "request less time, or choose another partition",
    ),
    "Priority": ("jobs with a higher priority are ahead of it", f"{_WAIT}; {_SMALLER}"),
    "Prolog": ("the site's prolog prepares its nodes", _WAIT),
    "QOSGrpLimit": ("all users of the quality of service together have reached a limit", _WAIT),
    "QOSJobLimit": ("the quality of service has reached its limit of jobs", _WAIT),
    "QOSNotAllowed": ("the account or partition may not use this quality of service", "choose another one"),
    "QOSResourceLimit": ("the quality of service has reached a resource limit", f"{_WAIT}; {_SMALLER}"),
    "QOSTimeLimit": ("the quality of service has used up its time", "choose another one, or ask the site"),
    "QOSUsageThreshold": ("the quality of service requires better use of earlier allocations", "ask the site"),
    "RaisedSignal": ("it was ended by a signal", "see its log"),
    "ReqNodeNotAvail": (
        "nodes that it needs are down, drained or reserved (often for maintenance)",
        "request less time so that it ends before a reservation, or wait",
    ),
    "Reservation": ("it waits for its reservation to begin", _WAIT),
    "ReservationDeleted": (
        "the reservation that it waits for was deleted",
        "cancel it, and submit it without the reservation",
    ),
    "Resources": ("it is next, and waits for nodes to become free", f"{_WAIT}; {_SMALLER}"),
    "SchedDefer": ("the site's scheduler considers jobs only at intervals", _WAIT),
    "SystemFailure": ("Slurm, a file system or a node failed", "submit it again; report it to the site if it happens again"),
    "TimeLimit": ("it reached its time limit", "request more time, or restart it from a checkpoint"),
    "WaitingForScheduling": ("Slurm has not considered it yet", _WAIT),
    "job_requeued_in_held_state": (
        "it was requeued and is held",
        "find out why (see its log, ask the site), then 'scontrol release'",
    ),
    "launch_failed_requeued_held": ("it could not be launched, and is held", "see its log, then 'scontrol release'"),
    "launch_failure_limit_exceeded_requeued_held": (
        "it reached the site's limit of failed launches, and is held",
        "see its log, ask the site, then 'scontrol release'",
    ),
    "user_env_retrieval_failed_requeued_held": (
        "Slurm could not read your login environment, and held the job",
        "make your login files quick and silent, then 'scontrol release'",
    ),
}

# Codes such as AssocGrpCpuLimit, QOSMaxGRESPerUser and MaxNodePerAccount are composed of the limit's owner and the resource.
_LIMIT = re.compile(
    r"(?P<whose>Assoc|QOS)?(?P<kind>Grp|Max|Min)(?P<what>[A-Za-z]+?)(?P<minutes>RunMinutes|Minutes|RunMins|Mins)?"
    r"(?P<per>Per(?:User|Account|Job|Node))?(?P<limit>Limit|NotSatisfied)?"
)
_WHAT = {
    "billing": "billing units", "bb": "burst buffer space", "cpu": "CPUs", "energy": "energy",
    "gres": "GPUs and other devices", "jobs": "jobs", "jobsaccrue": "jobs that gather priority", "license": "licenses",
    "mem": "memory", "memory": "memory", "node": "nodes", "submitjob": "jobs that wait or run", "wall": "time",
    "wallduration": "time", "unk": "a resource", "unknown": "a resource",
}  # fmt: skip

_ENDS = {
    State.OUT_OF_MEMORY: "it used more memory than it requested: request more (memory)",
    State.TIMEOUT: "it reached its time limit: request more (time), or restart it from a checkpoint",
    State.NODE_FAIL: "one of its nodes failed, which is not its own fault: submit it again",
    State.PREEMPTED: "another job took its nodes: submit it again, with requeue if the site allows it",
    State.CANCELLED: "cancelled by you, an administrator, or a failed dependency (after)",
    State.SUSPENDED: f"it is suspended and will continue later: {_WAIT}",
}
_HELD = "it is held, and starts only after 'scontrol release'"

# Reasons why a job failed (FAIL_... in src/common/job_state_reason.c). Only these are explained for a failed job, because
# squeue shows any other reason from the time when the job was pending, so its explanation would be wrong.
_FAILURES = {
    "BadConstraints": "no set of nodes can ever satisfy its request: request less or other features, and submit it again",
    "DeadLine": "it could no longer end before its deadline: submit it again with a later one",
    "NodeDown": "one of its nodes went down, which is not its own fault: submit it again",
    "PartitionDown": "its partition was taken down: submit it again, to another partition or later",
    NO_NODE: "it failed before it started: submit it again, and Slurm reports what it does not accept",
} | {
    code: f"{_REASONS[code][0]}: {_REASONS[code][1]}"
    for code in (
        "BurstBufferOperation",
        "InactiveLimit",
        "InvalidAccount",
        "InvalidQOS",
        "JobLaunchFailure",
        "NonZeroExitCode",
        "RaisedSignal",
        "SystemFailure",
    )
}
_REQUEUES = {
    "REQUEUED": "it is requeued and will restart",
    "REQUEUE_HOLD": "it was requeued and is held: release it with 'scontrol release'",
    "SPECIAL_EXIT": "it ended with an exit code that the site requeues and holds: see its log, then 'scontrol release'",
    "RESV_DEL_HOLD": "the reservation that it waited for was deleted, and it is held: cancel it, and submit it without one",
    "BOOT_FAIL": "its node did not boot, which is not its own fault: submit it again",
    "DEADLINE": "it could no longer end before its deadline",
    "CONFIGURING": "its nodes are being prepared",
    "STAGE_OUT": "its data is in transfer from the burst buffer",
}

_BAD_ENDS = TERMINAL - {State.COMPLETED, State.CANCELLED}


def explain(status: TaskStatus) -> str:
    """Return why a task waits, is held or failed, and what the user can do; empty if there is nothing to explain."""
    # slurmctld may append a detail to a reason: RaisedSignal:9(Killed) (src/slurmctld/job_mgr.c).
    reason = status.reason.partition(":")[0]
    if status.state is State.CANCELLED and status.reason == "DependencyNeverSatisfied":
        explanation = (
            "a run that it waited for did not end as required: submit that run again, then this one; or use afterany"
        )
    elif status.state in {State.PENDING, State.HELD}:
        explanation = _REQUEUES.get(status.word) or _reason(status.reason) or (_HELD if status.state is State.HELD else "")
    elif status.state in _BAD_ENDS and reason in _FAILURES:
        explanation = _FAILURES[reason]
    else:
        explanation = _REQUEUES.get(status.word) or _ENDS.get(status.state, "")
    return explanation


def _reason(code: str) -> str:
    # Examples of reasons that contain more than the code: "ReqNodeNotAvail, UnavailableNodes:node[1-3]",
    # "(launch failed requeued held)", "Nodes_required_for_job_are_DOWN,_DRAINED...".
    first = code.strip("()").split(",", maxsplit=1)[0].strip().replace(" ", "_")
    if first.startswith("Nodes_required_for_job_are"):
        first = "ReqNodeNotAvail"
    reason = _REASONS.get(first)
    return f"{reason[0]}: {reason[1]}" if reason else _limit(first)


def _limit(code: str) -> str:
    """Return the explanation of a limit's code; empty if `code` is not one.

    The explanation is composed, because Slurm has about two hundred of these codes, which combine the same few components.
    """
    match = _LIMIT.fullmatch(code)
    if not match or not (match["whose"] or match["per"] or match["limit"]):
        return ""
    whose = {"Assoc": "your account", "QOS": "the quality of service"}.get(match["whose"], "the site")
    what = match["what"].lower()
    resource = _WHAT.get(what) or _WHAT.get(what.removesuffix("s")) or match["what"]
    resource = f"minutes of {resource}" if match["minutes"] else resource
    per = match["per"] or ""
    match match["kind"]:
        case "Grp":
            return f"all users of {whose} together have reached its limit on {resource}: {_WAIT}"
        case "Min":
            return f"it requests less than the minimum of {whose} for {resource}: request more"
        case _ if per in {"PerJob", "PerNode"}:
            return f"it requests more {resource} than {whose} allows one {per.removeprefix('Per').lower()}: request less"
        case _:
            return f"you have reached the limit of {whose} on {resource}: wait for your other jobs, or request less"
