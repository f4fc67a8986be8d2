"""The shapes of jobs in HTCondor's words: what it has one for, and what it has none for."""

from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Job
from hpcdeploy.scheduler.htcondor.submit_language import Command

_NOT_THERE = {
    "tasks_per_node": "it starts one process for a job; use an array",
    "launcher": "it starts one process for a job",
    "mpi": "it starts one process for a job",
}


def refuse_shapes(job: Job) -> None:
    """Raise `ConfigError` for what this scheduler has no word for: it is never left out in silence."""
    for name, why in _NOT_THERE.items():
        if getattr(job, name) is not None:
            key = name.replace("_", "-")
            raise ConfigError(f"job {job.name!r} has the key {key}, which HTCondor does not support: {why}; remove it here")


def retry_commands(job: Job) -> list[Command]:
    """Say how often, and after which ends, HTCondor starts `job` again.

    A job leaves the queue when it has been started again often enough, or with 0, or with an exit code that is none of those
    named: a program that a signal ended counts as 128 and the signal, as everywhere here, since its ``ExitCode`` is
    undefined, and a policy that is undefined holds the job. HTCondor itself starts again what a machine lost; where that is
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
    """Return the signal that `job` is warned by, and after how many seconds; None where it wants none.

    Raises `ConfigError` where there is no time limit before which to warn: HTCondor has none of its own.
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
