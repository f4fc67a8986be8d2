"""Compute the layout of a job's tasks for Slurm: how many processes, how they start, and how they are warned and retried."""

from collections.abc import Iterable, Iterator, Mapping

from hpcdeploy import shell
from hpcdeploy.config.gres import asks_for_gpus, gpus_in_gres, has_whole_nodes
from hpcdeploy.config.processes import says_tasks, tasks_on_node
from hpcdeploy.config.srun import needs_a_step, srun_options
from hpcdeploy.job import Bind, Job


def is_launched(job: Job) -> bool:
    """Tell whether srun starts the container, once per process, instead of the job script itself."""
    if job.resources.nodes > 1 or (job.tasks_per_node or 1) > 1 or job.launcher or job.mpi or needs_a_step(job):
        return True
    return tasks_on_node(job.slurm, job.resources.nodes) != 1


def slurm_tasks(job: Job) -> int | None:
    """Return how many processes srun starts per node (1 for torchrun, which starts its own); None if directives set it."""
    if job.launcher == "torchrun":
        return 1
    return job.tasks_per_node or (None if says_tasks(job.slurm) else 1)


def shape_values(job: Job, binds: Iterable[Bind]) -> Mapping[str, object]:
    """Return the values for processes, warnings and retries, for ``job.sh`` and ``login_templates/program.sh``.

    Args:
        job: The job.
        binds: All binds of the container, including the cluster's.
    """
    return {
        "launched": is_launched(job),
        "srun": " ".join([*_srun_options(job), *_own_srun_options(job, binds)]),
        "mpi": job.mpi,
        "torchrun": _torchrun_processes(job) if job.launcher == "torchrun" else None,
        "warning": job.signal.name if job.signal else None,
        "retries": job.retries,
    }


def _torchrun_processes(job: Job) -> str:
    """Return the number of processes that torchrun starts on a node, as a shell word for that node.

    If the job requests GPUs with Slurm's own options, only the node knows the number of its GPUs (srun(1),
    SLURM_GPUS_ON_NODE). It does not if the site uses another name for GPUs (``gres = "gpu_a100:8"``).
    """
    if job.tasks_per_node or job.resources.gpus:
        return str(job.tasks_per_node or job.resources.gpus)
    if job.resources.gpus == 0:
        return "1"
    if not (asks_for_gpus(job.slurm) or has_whole_nodes(job.slurm)):
        return "1"
    return f'"${{SLURM_GPUS_ON_NODE:-{gpus_in_gres(job.slurm) or 1}}}"'


def _srun_options(job: Job) -> list[str]:
    # Without --kill-on-bad-exit, the other processes would wait until the time limit after one failed. Slurm 22.05 to 23.02
    # do not inherit --cpus-per-task from sbatch (CHANGELOG of 22.05 and 23.11). SLURM_CPUS_PER_TASK is set only if sbatch
    # got a number (sbatch(1)). Without one the option is omitted: it implies --exact, and each process would get one core.
    tasks = slurm_tasks(job)
    return [
        "--kill-on-bad-exit=1",
        *([f"--ntasks-per-node={tasks}"] if tasks else []),
        '${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"}',
        *([f"--mpi={shell.word(job.mpi)}"] if job.mpi else []),
    ]


def _own_srun_options(job: Job, binds: Iterable[Bind]) -> Iterator[str]:
    for name, value in srun_options(job.srun, job.workdir, binds):
        yield f"--{name}" if value is None else f"--{name}={shell.word(value)}"
