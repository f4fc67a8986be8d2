"""Check ``gpus = 0`` against the job's own options that request GPUs."""

import re

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.gres import asks_for_gpus
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Directives, Job


def asking_options(slurm: Directives) -> list[str]:
    """Return the options of ``sbatch`` that request GPUs, as Slurm parses them."""
    return [option for option, value in slurm if asks_for_gpus(((option, value),))]


def asking_commands(htcondor: Directives) -> list[str]:
    """Return the submit commands that request GPUs.

    A pool can define its own resources, each with a command (condor_submit(1), ``request_<name>``). A value may be an
    expression; only a plain zero is not a request.
    """
    return [name for name, value in htcondor if _asks_for_gpus(name) and not re.fullmatch(" *0+ *", str(value))]


def _asks_for_gpus(name: str) -> bool:
    first, underscore, resource = name.lower().partition("_")
    return first == "request" and bool(underscore) and "gpu" in resource


def check_no_gpus(job: Job, cluster: Cluster) -> None:
    """Raise `ConfigError` for ``gpus = 0`` beside options that request GPUs, which may come from the cluster's defaults."""
    if job.resources.gpus != 0:
        return
    asking = [f"slurm.{name}" for name in asking_options(job.slurm) if "slurm" in cluster.schedulers]
    asking += [f"htcondor.{name}" for name in asking_commands(job.htcondor) if "htcondor" in cluster.schedulers]
    if asking:
        raise ConfigError(
            f"job {job.name} on {cluster.name}: gpus = 0 requests no GPU, but {' and '.join(asking)} does; expected "
            'one. Set a cluster\'s own option to false to remove it, a submit command to "0"'
        )
