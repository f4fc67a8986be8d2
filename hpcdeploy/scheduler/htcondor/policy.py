"""Translate time limits, holds and releases into HTCondor's policy commands."""

from hpcdeploy.job import Job
from hpcdeploy.scheduler.htcondor.submit_language import Command

OUT_OF_TIME = "HoldReasonCode =?= 46 || HoldReasonCode =?= 47"
"""True for the hold codes of allowed_job_duration and allowed_execute_duration (HTCondor's manual, HoldReasonCode)."""

WORTH_A_RELEASE = (13, 19, 45, 48)
"""Hold codes of errors before the program started, on the way to a worker or on one worker.

Code 13: input files could not be transferred. Codes 19 and 48: a hook that prepares jobs failed; OSPool downloads images in
one. Code 45: the worker's Apptainer failed its test. A hold by a user (1) is never released, nor is a hold that the
job itself caused.
"""

_MOST_HOLDS = 4


def policy_commands(job: Job) -> list[Command]:
    """Return the commands that make HTCondor end `job` at its time limit, and release it from some holds.

    HTCondor holds a job at its time limit and keeps it forever; Slurm ends it. These commands make both end it, and the
    event log keeps the reason. A release follows 1, 4, 9 and 16 minutes after the first, second, third and fourth hold. A
    user's own ``periodic_remove`` is combined with this one; a user's own ``periodic_release`` replaces this one.
    """
    free = {name.lower(): value for name, value in job.htcondor}
    chosen: list[Command] = []
    if job.resources.time:
        chosen.append(("allowed_execute_duration", str(job.resources.time)))
    if job.resources.time or {"allowed_execute_duration", "allowed_job_duration"} & free.keys():
        chosen.append(("periodic_remove", f"JobStatus == 5 && ({OUT_OF_TIME})"))
    if "periodic_release" not in free:
        codes = ", ".join(map(str, WORTH_A_RELEASE))
        waited = "time() - EnteredCurrentStatus >= 60 * NumHolds * NumHolds"
        chosen.append(("periodic_release", f"member(HoldReasonCode, {{{codes}}}) && NumHolds <= {_MOST_HOLDS} && {waited}"))
    return chosen
