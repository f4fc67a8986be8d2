"""The number of processes in Slurm's own words: what the options of ``sbatch`` say of a job's tasks."""

import re

from hpcdeploy.job import Directives, Job

TASK_OPTIONS = frozenset({"ntasks", "ntasks-per-node", "tasks-per-node", "ntasks-per-gpu", "gpus-per-task"})
"""Options of sbatch that decide how many tasks a job has; srun takes them over from sbatch. ``tasks-per-node`` is another
name of ``ntasks-per-node`` (common_options in src/common/slurm_opt.c of Slurm 26.11rc1)."""


def says_tasks(directives: Directives) -> bool:
    """Tell whether a job's own options say how many tasks it has, be that a number or one for each so many GPUs."""
    return bool(_of_tasks(directives))


def _of_tasks(directives: Directives) -> dict[str, str]:
    """Return the options that decide how many tasks there are, and their values.

    A gres in ``tres-per-task`` does so as ``gpus-per-task`` does: beside ``gpus`` Slurm divides one by the other
    (gres_job_state_validate in src/interfaces/gres.c of Slurm 26.05).
    """
    return {
        option: str(value)
        for option, value in directives
        if value is not False and (option in TASK_OPTIONS or (option == "tres-per-task" and "gres" in str(value)))
    }


def tasks_on_node(directives: Directives, nodes: int) -> int | None:
    """Return how many tasks `directives` ask for on each of `nodes`, rounded up; None: Slurm counts them by the GPUs.

    ``ntasks`` comes first: beside it ``ntasks-per-node`` is a maximum (sbatch(1)). Options that say nothing of tasks mean
    one for each node. A value that is no number is left to sbatch, and counts as not known.
    """
    given = _of_tasks(directives)
    for option, places in (("ntasks", nodes), ("ntasks-per-node", 1), ("tasks-per-node", 1)):
        if option in given:
            return -(-int(given[option]) // places) if re.fullmatch("[0-9]{1,9}", given[option]) else None
    return None if given else 1


def processes_on_node(job: Job) -> int | None:
    """Return how many processes Slurm starts on each node, rounded up; None where it counts them by the GPUs.

    torchrun is one of them: it starts the others itself.
    """
    if job.launcher == "torchrun":
        return 1
    return tasks_on_node(job.slurm, job.resources.nodes) if says_tasks(job.slurm) else job.tasks_per_node or 1


def cpus_on_node(job: Job) -> int | None:
    """Return how many CPUs a job asks for on each node, at least one for each process; None where only Slurm knows."""
    if job.resources.cpus:
        return job.resources.cpus
    given = {option: int(value) for option, value in job.slurm if re.fullmatch("[1-9][0-9]{0,8}", str(value))}
    if "cpus-per-gpu" in given and job.resources.gpus:
        return given["cpus-per-gpu"] * job.resources.gpus
    each = processes_on_node(job)
    return None if each is None else each * given.get("cpus-per-task", 1)
