"""Configure the container of an HTCondor job, and reject settings that this way of starting it does not support."""

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Job
from hpcdeploy.scheduler.htcondor.gpus import asks_for_gpus
from hpcdeploy.scheduler.htcondor.submit_language import Command

_HAS_SINGULARITY = "(TARGET.HasSingularity =?= true || TARGET.HAS_SINGULARITY =?= true)"
"""Attributes of workers that can start containers: HTCondor's own, and the one of OSPool's pilots."""


def refuse_binds(job: Job, cluster: Cluster) -> None:
    """Check that a job has no binds if HTCondor itself starts the container, because it accepts none from jobs.

    Raises:
        ConfigError: The job or the cluster has binds.
    """
    if cluster.htcondor_container == "apptainer" or not (job.binds or cluster.binds):
        return
    who = f"job {job.name!r}" if job.binds else f"cluster {cluster.name!r}"
    raise ConfigError(
        f"{who} has binds: if HTCondor starts the container, only the site can bind folders. Use file transfer "
        '(htcondor = { transfer_input_files = "..." }). Or set htcondor-container = "apptainer" for the cluster if the '
        "workers see the cluster's folders and jobs may start Apptainer"
    )


def refuse_vendor(job: Job, cluster: Cluster) -> None:
    """Check that a job with AMD GPUs starts Apptainer itself: a job cannot make HTCondor add ``--rocm``.

    HTCondor adds ``--nv`` for every job with GPUs. From 25.8.2 on it adds ``--rocm`` too, unless the site forbids it
    (``SINGULARITY_ADD_ROCM_FLAG``). From 25.14.0 on it adds the flag of the GPUs that it detects (its manual, "Version
    History"). A submit description has no command for any of this (condor_submit(1)).

    Raises:
        ConfigError: HTCondor starts the container, the job requests GPUs, and the cluster's GPUs are AMD's.
    """
    if cluster.gpu_vendor != "amd" or cluster.htcondor_container == "apptainer" or not asks_for_gpus(job):
        return
    raise ConfigError(
        f'job {job.name!r} requests GPUs, and cluster {cluster.name!r} has gpu-vendor = "amd": if HTCondor starts the '
        'container, a job cannot pass --rocm. Set htcondor-container = "apptainer" for the cluster if the workers see the '
        "cluster's folders and jobs may start Apptainer. Or remove gpu-vendor if HTCondor is 25.14 or later, which detects "
        "AMD GPUs itself"
    )


def container_commands(cluster: Cluster) -> list[Command]:
    """Return the commands that `+SingularityImage` requires.

    The image is transferred as an input file. Workers without Singularity are excluded, because they would start the
    program outside of a container.
    """
    if cluster.htcondor_container != "singularity-image":
        return []
    return [("transfer_input_files", "$(sandbox)"), ("requirements", _HAS_SINGULARITY)]
