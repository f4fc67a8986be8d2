"""How HTCondor is told of a container, and what a job can therefore ask for."""

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Job
from hpcdeploy.scheduler.htcondor.gpus import asks_for_gpus
from hpcdeploy.scheduler.htcondor.submit_language import Command

_HAS_SINGULARITY = "(TARGET.HasSingularity =?= true || TARGET.HAS_SINGULARITY =?= true)"
"""What workers that can start containers say of themselves: HTCondor's own word, and the one of OSPool's pilots."""


def refuse_binds(job: Job, cluster: Cluster) -> None:
    """Raise `ConfigError` for folders of the cluster where HTCondor itself starts the container: it takes none from jobs."""
    if cluster.htcondor_container == "apptainer" or not (job.binds or cluster.binds):
        return
    who = f"job {job.name!r}" if job.binds else f"cluster {cluster.name!r}"
    raise ConfigError(
        f"{who} has binds: where HTCondor starts the container, only the site binds folders; use file transfer "
        '(htcondor = { transfer_input_files = "..." }), or, where the workers see the cluster\'s folders and jobs may start '
        'Apptainer, htcondor-container = "apptainer" in the cluster\'s settings'
    )


def refuse_vendor(job: Job, cluster: Cluster) -> None:
    """Raise `ConfigError` for AMD's GPUs where HTCondor itself starts the container: a job cannot have it add ``--rocm``.

    HTCondor adds ``--nv`` for every job with GPUs; from 25.8.2 on ``--rocm`` too, unless the site forbids it
    (``SINGULARITY_ADD_ROCM_FLAG``); from 25.14.0 on the flag of the GPUs that it detects (its manual, "Version History").
    A submit description has no command for any of it (condor_submit(1)).
    """
    if cluster.gpu_vendor != "amd" or cluster.htcondor_container == "apptainer" or not asks_for_gpus(job):
        return
    raise ConfigError(
        f'job {job.name!r} asks for GPUs, and cluster {cluster.name!r} has gpu-vendor = "amd": where HTCondor starts the '
        'container, a job cannot pass --rocm. Set htcondor-container = "apptainer" in the cluster\'s settings, where the '
        "workers see the cluster's folders and jobs may start Apptainer; or, with HTCondor 25.14 or later, which detects "
        "AMD's GPUs itself, leave gpu-vendor out"
    )


def container_commands(cluster: Cluster) -> list[Command]:
    """Say what `+SingularityImage` needs besides.

    The image travels as an input file; and a worker without Singularity would start the program outside of any container, so
    such workers are not asked for.
    """
    if cluster.htcondor_container != "singularity-image":
        return []
    return [("transfer_input_files", "$(sandbox)"), ("requirements", _HAS_SINGULARITY)]
