"""Validate the layout of a job's tasks for HTCondor, and translate retries and warning signals."""

from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Job
from hpcdeploy.scheduler.htcondor.submit_language import Command

_UNSUPPORTED = {
    "tasks_per_node": "it starts one process for a job; use an array",
    "launcher": "it starts one process for a job",
    "mpi": "it starts one process for a job",
}


def refuse_shapes(job: Job) -> None:
    """Check that the job uses no layout of tasks that HTCondor does not support; no setting is ignored silently.

    Raises:
        ConfigError: The job uses one.
    """
    for name, why in _UNSUPPORTED.items():
        if getattr(job, name) is not None:
            key = name.replace("_", "-")
            raise ConfigError(f"job {job.name!r} has the key {key}, which HTCondor does not support: {why}; remove it here")


def retry_commands(job: Job) -> list[Command]:
    """Return the commands for how often, and after which exit codes, HTCondor restarts `job`.

    A job leaves the queue after its last allowed restart, after exit code 0, or after an exit code that is not listed. A
    program that was killed by a signal counts as 128 + signal, as everywhere in hpcdeploy: its ``ExitCode`` is undefined,
    and HTCondor holds a job with an undefined policy. HTCondor itself restarts jobs after the loss of a machine. If that is
    not wanted, a job that was started and did not end matches no machine any more, and is removed.
    """
    chosen: list[Command] = []
    if job.retries:
        chosen.append(("max_retries", str(job.retries.max)))
        if job.retries.exit_codes:
            codes = ", ".join(map(str, job.retries.exit_codes))
            code = "ifThenElse(ExitBySignal, 128 + ExitSignal, ExitCode)"
            chosen.append(("retry_until", f"!member({code}, {{{codes}}})"))
    if job.requeue is False:
        lost = "(MY.NumJobStarts ?: 0) > (MY.NumJobCompletions ?: 0)"
        chosen += [("requirements", f"!({lost})"), ("periodic_remove", f"JobStatus == 1 && {lost}")]
    return chosen


def warning_of(job: Job) -> tuple[str, int] | None:
    """Return the signal that warns `job` of its time limit, and after how many seconds it is sent; None without a signal.

    Raises:
        ConfigError: There is no time limit to warn of, or it is too short; HTCondor has no time limit of its own.
    """
    if job.signal is None:
        return None
    after = (job.resources.time or 0) - job.signal.before
    if after <= 0:
        limit = f"a time limit of {job.resources.time} s" if job.resources.time else "no time limit"
        raise ConfigError(
            f"job {job.name!r} has a signal {job.signal.before} s before its time limit, and the limit is {limit}; "
            "set a longer time"
        )
    return job.signal.name, after
