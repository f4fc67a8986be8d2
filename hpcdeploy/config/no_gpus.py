"""No GPUs: ``gpus = 0``, and what of a job's own words for its scheduler would ask for some all the same."""

import re

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.gres import asks_for_gpus
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Directives, Job


def asking_options(slurm: Directives) -> list[str]:
    """Return the options of ``sbatch`` that ask for GPUs, as Slurm reads them."""
    return [option for option, value in slurm if asks_for_gpus(((option, value),))]


def asking_commands(htcondor: Directives) -> list[str]:
    """Return the submit commands that ask for GPUs.

    A pool can give resources names of its own, each with a command (condor_submit(1), ``request_<name>``). A value may be an
    expression; only a plain zero is none.
    """
    return [name for name, value in htcondor if _asks_for_gpus(name) and not re.fullmatch(" *0+ *", str(value))]


def _asks_for_gpus(name: str) -> bool:
    first, underscore, resource = name.lower().partition("_")
    return first == "request" and bool(underscore) and "gpu" in resource


def check_no_gpus(job: Job, cluster: Cluster) -> None:
    """Refuse, with `ConfigError`, ``gpus = 0`` beside words that ask for GPUs: those may be the cluster's own defaults."""
    if job.resources.gpus != 0:
        return
    asking = [f"slurm.{name}" for name in asking_options(job.slurm) if "slurm" in cluster.schedulers]
    asking += [f"htcondor.{name}" for name in asking_commands(job.htcondor) if "htcondor" in cluster.schedulers]
    if asking:
        raise ConfigError(
            f"job {job.name} on {cluster.name}: gpus = 0 asks for no GPU, and {' and '.join(asking)} for some; expected "
            'one. A cluster\'s own option is taken away by the value false, a submit command by "0"'
        )
