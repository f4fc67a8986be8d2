"""What HTCondor does with a job that was held, ran out of time, or is to be run again."""

from hpcdeploy.job import Job
from hpcdeploy.scheduler.htcondor.submit_language import Command

OUT_OF_TIME = "HoldReasonCode =?= 46 || HoldReasonCode =?= 47"
"""The hold codes of allowed_job_duration and allowed_execute_duration (the manual's list of HoldReasonCode)."""

WORTH_A_RELEASE = (13, 19, 45, 48)
"""Hold codes of what went wrong on the way to a worker, or on one worker, before the program began: input files that could
not be transferred (13), the hooks that prepare a job, among them OSPool's fetching of images (19, 48), and a worker whose
Apptainer fails its test (45). Never 1, which is a person's own hold; and nothing that is the job's own fault."""

_MOST_HOLDS = 4


def policy_commands(job: Job) -> list[Command]:
    """Say when HTCondor ends `job`, and when it releases it from a hold.

    HTCondor holds a job that reaches its time limit, and keeps it so for ever; Slurm ends it. Here both end it, and the
    event log keeps the reason. A release comes 1, 4, 9 and 16 minutes after the first, second, third and fourth hold. A
    person's own ``periodic_remove`` counts beside this one, a person's own ``periodic_release`` instead of it.
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
