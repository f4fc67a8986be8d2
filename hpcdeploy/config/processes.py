"""Determine a job's number of processes from the options of ``sbatch``."""

import re

from hpcdeploy.job import Directives, Job

TASK_OPTIONS = frozenset({"ntasks", "ntasks-per-node", "tasks-per-node", "ntasks-per-gpu", "gpus-per-task"})
"""Options of sbatch that set a job's number of tasks; srun inherits them.

``tasks-per-node`` is another name of ``ntasks-per-node`` (common_options in src/common/slurm_opt.c of Slurm 26.11rc1).
"""


def says_tasks(directives: Directives) -> bool:
    """Tell whether a job's own options set its number of tasks, directly or per GPU."""
    return bool(_of_tasks(directives))


def _of_tasks(directives: Directives) -> dict[str, str]:
    """Return the options that set the number of tasks, with their values.

    A gres in ``tres-per-task`` counts, like ``gpus-per-task``: beside ``gpus`` Slurm divides one by the other
    (gres_job_state_validate in src/interfaces/gres.c of Slurm 26.05).
    """
    return {
        option: str(value)
        for option, value in directives
        if value is not False and (option in TASK_OPTIONS or (option == "tres-per-task" and "gres" in str(value)))
    }


def tasks_on_node(directives: Directives, nodes: int) -> int | None:
    """Return the number of tasks per node of `nodes`, rounded up; None if Slurm derives it from the GPUs.

    ``ntasks`` takes precedence: beside it ``ntasks-per-node`` is a maximum (sbatch(1)). Without any option it is one per
    node. A value that is not a number is left to sbatch, and counts as unknown.
    """
    given = _of_tasks(directives)
    for option, places in (("ntasks", nodes), ("ntasks-per-node", 1), ("tasks-per-node", 1)):
        if option in given:
            return -(-int(given[option]) // places) if re.fullmatch("[0-9]{1,9}", given[option]) else None
    return None if given else 1


def processes_on_node(job: Job) -> int | None:
    """Return the number of processes that Slurm starts per node, rounded up; None if Slurm derives it from the GPUs.

    torchrun counts as one: it starts the others itself.
    """
    if job.launcher == "torchrun":
        return 1
    return job.tasks_per_node or tasks_on_node(job.slurm, job.resources.nodes)


def cpus_on_node(job: Job) -> int | None:
    """Return the number of CPUs per node that a job requests, at least one per process; None if only Slurm knows it."""
    if job.resources.cpus:
        return job.resources.cpus
    given = {option: int(value) for option, value in job.slurm if re.fullmatch("[1-9][0-9]{0,8}", str(value))}
    if "cpus-per-gpu" in given and job.resources.gpus:
        return given["cpus-per-gpu"] * job.resources.gpus
    each = processes_on_node(job)
    return None if each is None else each * given.get("cpus-per-task", 1)
