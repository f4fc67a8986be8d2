"""The shapes of jobs that HTCondor has no word for."""

from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Job

_NOT_THERE = {
    "signal": "it cannot warn a program before its time limit",
    "requeue": "it always starts again what a machine lost",
    "retries": 'say what you mean in htcondor = { max_retries = "3" }',
    "tasks_per_node": "it starts one process for a job; use an array",
    "launcher": "it starts one process for a job",
    "mpi": "it starts one process for a job",
}


def refuse_shapes(job: Job) -> None:
    """Raise `ConfigError` for what this scheduler has no word for: it is never left out in silence."""
    for name, why in _NOT_THERE.items():
        if getattr(job, name) is not None:
            key = name.replace("_", "-")
            raise ConfigError(
                f"job {job.name!r} has the key {key}, for which HTCondor has no word: {why}; leave it out here"
            )
