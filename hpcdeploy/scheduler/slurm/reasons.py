"""Why a job waits or ended, in words: Slurm's reason codes, each with what it means and what one can do."""

import re

from hpcdeploy.run import TERMINAL, State, TaskStatus
from hpcdeploy.scheduler.slurm.answers import NO_NODE

_WAIT = "nothing need be done"
_SMALLER = "ask for less, or for less time, and it may start sooner"
_PARTITION = "choose another partition, or ask the site"

# squeue(1), "JOB REASON CODES", of Slurm 24.11; what is older or newer is shown as it comes.
_REASONS: dict[str, tuple[str, str]] = {
    "AccountNotAllowed": ("the account may not use this partition", "choose another account or partition"),
    "AccountingPolicy": (
        "a limit of the accounting has been reached",
        "wait, or ask the site for the limits (sacctmgr show assoc)",
    ),
    "AssociationJobLimit": ("your account runs as many jobs as it may", _WAIT),
    "AssociationResourceLimit": ("your account uses as much as it may", _WAIT),
    "AssociationTimeLimit": ("your account has used up its time", "ask the site"),
    "BadConstraints": (
        "no set of nodes can ever meet what it asks for",
        "cancel it, and ask for less or for other features",
    ),
    "BeginTime": ("it is not to start before a certain time; after a requeue, Slurm waits two minutes", _WAIT),
    "BurstBufferOperation": ("the burst buffer that it asked for did not work", "ask the site"),
    "BurstBufferResources": ("the burst buffer that it asked for has no room yet", _WAIT),
    "BurstBufferStageIn": ("its data is brought to the burst buffer", _WAIT),
    "Cleaning": ("it was requeued, and its last attempt is still being cleaned up", _WAIT),
    "Constraints": ("no node that has the features it asks for is free", f"{_WAIT}, or ask for other features"),
    "DeadLine": ("it can no longer end before its deadline", "cancel it, and submit it with a later deadline"),
    "Dependency": ("it waits for another job to end", _WAIT),
    "DependencyNeverSatisfied": ("the job that it waits for did not end as it had to", "cancel it: it will never start"),
    "FrontEndDown": ("no front-end node can start it", _WAIT),
    "InactiveLimit": ("the system's limit for inactive jobs was reached", "submit it again"),
    "InvalidAccount": ("the account is not valid", "name one of yours (sacctmgr show assoc user=$USER)"),
    "InvalidQOS": ("the quality of service is not valid", "name one of yours (sacctmgr show assoc user=$USER format=qos)"),
    "JobArrayTaskLimit": ("as many tasks of the array run as the throttle allows", f"{_WAIT}, or raise the throttle"),
    "JobHeldAdmin": ("somebody who runs the cluster holds it", "ask the site"),
    "JobHeldUser": ("its owner holds it", "release it with 'scontrol release'"),
    "JobHoldMaxRequeue": (
        "it was requeued as often as the site allows, and is held now",
        "find out why it is requeued, then 'scontrol release'",
    ),
    "JobLaunchFailure": (
        "it could not be launched: a file system, a node or the program is at fault",
        "look at its log, and submit it again",
    ),
    "Licenses": ("a license that it needs is in use", _WAIT),
    "MaxBatchRequeue": (
        "its batch script failed to start as often as the site allows",
        "ask the site, then 'scontrol release'",
    ),
    "MaxMemPerLimit": ("it asks for more memory for a CPU or a node than the site allows", "ask for less memory"),
    "NodeDown": ("a node that it needs is down", _WAIT),
    "NonZeroExitCode": ("it ended with an exit code that is not 0", "look at its log"),
    "None": ("Slurm has not looked at it yet", _WAIT),
    "OutOfMemory": ("it used more memory than it asked for", "ask for more memory"),
    "PartitionConfig": ("it asks for more than the partition allows", _PARTITION),
    "PartitionDown": ("the partition is down", f"{_WAIT}, or choose another partition"),
    "PartitionInactive": ("the partition starts no jobs at present", f"{_WAIT}, or choose another partition"),
    "PartitionNodeLimit": ("it asks for more nodes than the partition gives, or for nodes that are down", _PARTITION),
    "PartitionTimeLimit": (
        "it asks for more time than the partition gives",
        "ask for less time, or choose another partition",
    ),
    "Priority": ("jobs of a higher priority stand before it", f"{_WAIT}; {_SMALLER}"),
    "Prolog": ("the site's prolog prepares its nodes", _WAIT),
    "QOSGrpLimit": ("everybody who shares the quality of service has together reached a limit", _WAIT),
    "QOSJobLimit": ("the quality of service has as many jobs as it may", _WAIT),
    "QOSNotAllowed": ("the account or partition may not use this quality of service", "choose another one"),
    "QOSResourceLimit": ("the quality of service has reached a limit of its resources", f"{_WAIT}; {_SMALLER}"),
    "QOSTimeLimit": ("the quality of service has used up its time", "choose another one, or ask the site"),
    "QOSUsageThreshold": ("the quality of service asks for a better usage of what was used before", "ask the site"),
    "RaisedSignal": ("it was ended by a signal", "look at its log"),
    "ReqNodeNotAvail": (
        "nodes that it needs are down, drained or reserved (maintenance, often)",
        "ask for less time so that it ends before a reservation, or wait",
    ),
    "Reservation": ("it waits for its reservation to begin", _WAIT),
    "ReservationDeleted": (
        "the reservation that it waits for was deleted",
        "cancel it, and submit it without the reservation",
    ),
    "Resources": ("it is next, and waits for nodes to become free", f"{_WAIT}; {_SMALLER}"),
    "SchedDefer": ("the site's scheduler looks at jobs in turns only", _WAIT),
    "SystemFailure": ("Slurm, a file system or a node failed", "submit it again; tell the site if it happens again"),
    "TimeLimit": ("it used up the time that it asked for", "ask for more time, or let it go on from a checkpoint"),
    "WaitingForScheduling": ("Slurm has not looked at it yet", _WAIT),
    "job_requeued_in_held_state": (
        "it was put back into the queue and is held there",
        "find out why (look at its log, ask the site), then 'scontrol release'",
    ),
    "launch_failed_requeued_held": ("it could not be launched, and is held", "look at its log, then 'scontrol release'"),
    "launch_failure_limit_exceeded_requeued_held": (
        "it could not be launched as often as the site allows, and is held",
        "look at its log, ask the site, then 'scontrol release'",
    ),
    "user_env_retrieval_failed_requeued_held": (
        "Slurm could not read your login environment, and holds it",
        "make your login files quick and silent, then 'scontrol release'",
    ),
}

# AssocGrpCpuLimit, QOSMaxGRESPerUser, MaxNodePerAccount ...: whose limit, and of what.
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
    State.OUT_OF_MEMORY: "it used more memory than it asked for: ask for more (memory)",
    State.TIMEOUT: "it used up the time that it asked for: ask for more (time), or let it go on from a checkpoint",
    State.NODE_FAIL: "a node under it failed, which is not its own fault: submit it again",
    State.PREEMPTED: "another job was given its place: submit it again, with requeue where the site allows it",
    State.CANCELLED: "it was cancelled: by you, by the site, or since what it waited for (after) did not end as it had to",
    State.SUSPENDED: "it was suspended, and goes on later: nothing need be done",
}
_HELD = "it is held, and starts only after 'scontrol release'"

# Why a job ended: squeue keeps these reasons for ended jobs too (FAIL_... in src/common/job_state_reason.c). Any other is
# left over from the time when it waited. Advice to a job that waits may be wrong for one that ended.
_FAILURES = {
    "BadConstraints": (
        "no set of nodes can ever meet what it asked for: ask for less or for other features, and submit it again"
    ),
    "DeadLine": "it could no longer end before its deadline: submit it again with a later one",
    "NodeDown": "a node under it went down, which is not its own fault: submit it again",
    "PartitionDown": "its partition was taken down: submit it again, to another partition or later",
    NO_NODE: "it failed before it started: submit it again, and Slurm tells what it does not accept",
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
    "REQUEUED": "it goes back to the queue, to be begun anew",
    "REQUEUE_HOLD": "it went back to the queue and is held there: release it with 'scontrol release'",
    "SPECIAL_EXIT": "it ended with an exit code that the site requeues and holds: look at its log, then 'scontrol release'",
    "RESV_DEL_HOLD": "the reservation that it waited for was deleted, and it is held: cancel it, and submit it without",
    "BOOT_FAIL": "its node did not boot, which is not its own fault: submit it again",
    "DEADLINE": "it could no longer end before its deadline",
    "CONFIGURING": "its nodes are made ready",
    "STAGE_OUT": "its data is brought away from the burst buffer",
}

_BAD_ENDS = TERMINAL - {State.COMPLETED, State.CANCELLED}


def explain(status: TaskStatus) -> str:
    """Say in words why a task waits, is held or ended badly, and what one can do; empty where there is nothing to say."""
    # RaisedSignal:9(Killed), as slurmctld writes it (src/slurmctld/job_mgr.c)
    reason = status.reason.partition(":")[0]
    if status.state is State.CANCELLED and status.reason == "DependencyNeverSatisfied":
        said = "what it waited for did not end as it had to: submit that again, then this; or say afterany"
    elif status.state in {State.PENDING, State.HELD}:
        said = _REQUEUES.get(status.word) or _reason(status.reason) or (_HELD if status.state is State.HELD else "")
    elif status.state in _BAD_ENDS and reason in _FAILURES:
        said = _FAILURES[reason]
    else:
        said = _REQUEUES.get(status.word) or _ENDS.get(status.state, "")
    return said


def _reason(code: str) -> str:
    # ReqNodeNotAvail, UnavailableNodes:node[1-3]; (launch failed requeued held); Nodes_required_for_job_are_DOWN,_DRAINED...
    first = code.strip("()").split(",", maxsplit=1)[0].strip().replace(" ", "_")
    if first.startswith("Nodes_required_for_job_are"):
        first = "ReqNodeNotAvail"
    told = _REASONS.get(first)
    return f"{told[0]}: {told[1]}" if told else _limit(first)


def _limit(code: str) -> str:
    """Take the name of a limit apart: there are some two hundred, all made of the same words."""
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
            return f"everybody who shares {whose} has together reached its limit on {resource}: {_WAIT}"
        case "Min":
            return f"it asks for less than {whose} wants of {resource}: ask for more"
        case _ if per in {"PerJob", "PerNode"}:
            return f"it asks for more {resource} than {whose} allows one {per.removeprefix('Per').lower()}: ask for less"
        case _:
            return f"you have reached the limit of {whose} on {resource}: wait for your other jobs, or ask for less"
