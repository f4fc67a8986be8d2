"""The number of processes in Slurm's own words: what the options of ``sbatch`` say of a job's tasks."""

import re

from hpcdeploy.job import Directives

TASK_OPTIONS = frozenset({"ntasks", "ntasks-per-node", "tasks-per-node", "ntasks-per-gpu", "gpus-per-task"})
"""Options of sbatch that decide how many tasks a job has; srun takes them over from sbatch. ``tasks-per-node`` is another
name of ``ntasks-per-node`` (common_options in src/common/slurm_opt.c of Slurm 26.11rc1)."""


def says_tasks(directives: Directives) -> bool:
    """Tell whether a job's own options say how many tasks it has, be that a number or one for each so many GPUs."""
    return any(option in TASK_OPTIONS and value is not False for option, value in directives)


def tasks_on_node(directives: Directives, nodes: int) -> int | None:
    """Return how many tasks `directives` ask for on each of `nodes`, rounded up; None: Slurm counts them by the GPUs.

    ``ntasks`` comes first: beside it ``ntasks-per-node`` is a maximum (sbatch(1)). Options that say nothing of tasks mean
    one for each node. A value that is no number is left to sbatch, and counts as not known.
    """
    given = {option: str(value) for option, value in directives if option in TASK_OPTIONS and value is not False}
    for option, places in (("ntasks", nodes), ("ntasks-per-node", 1), ("tasks-per-node", 1)):
        if option in given:
            return -(-int(given[option]) // places) if re.fullmatch("[0-9]{1,9}", given[option]) else None
    return None if given else 1
