"""How HTCondor is told of a container, and what a job can therefore ask for."""

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Job
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


def with_container(free: list[Command], cluster: Cluster) -> list[Command]:
    """Return a person's own commands with what the container needs in the same words: the later of two would win.

    The image travels as an input file where `+SingularityImage` names it, beside the person's own input files; and a worker
    without Singularity would start the program outside of any container, so such workers are not asked for.
    """
    if cluster.htcondor_container != "singularity-image":
        return free
    both = {"transfer_input_files": "$(sandbox)", "requirements": _HAS_SINGULARITY}
    kept: list[Command] = []
    for name, value in free:
        match name.lower():
            case "transfer_input_files":
                both["transfer_input_files"] += f", {value}"
            case "requirements":
                both["requirements"] += f" && ({value})"
            case _:
                kept.append((name, value))
    return [*both.items(), *kept]
