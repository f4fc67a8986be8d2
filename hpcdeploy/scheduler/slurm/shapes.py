"""What a job script needs to know of the job's shape: how many processes, what starts them, what warns and retries them."""

from collections.abc import Iterable, Iterator, Mapping

from hpcdeploy import shell
from hpcdeploy.config.srun import needs_a_step, srun_options
from hpcdeploy.job import Bind, Job

TASK_OPTIONS = frozenset({"ntasks", "ntasks-per-node", "ntasks-per-gpu", "gpus-per-task"})
"""Options of sbatch by which people say themselves how many processes there are; srun takes them over from sbatch."""


def is_launched(job: Job) -> bool:
    """Tell whether srun starts the container, once for each process, and not the job script itself."""
    if needs_a_step(job):
        return True
    return job.resources.nodes > 1 or (job.tasks_per_node or 1) > 1 or bool(job.launcher or job.mpi)


def slurm_tasks(job: Job) -> int | None:
    """Return how many processes srun starts on a node: torchrun starts its own. None: the person's directives say it."""
    if {option for option, value in job.slurm if value is not False} & TASK_OPTIONS:
        return None
    return 1 if job.launcher == "torchrun" else job.tasks_per_node or 1


def shape_values(job: Job, binds: Iterable[Bind]) -> Mapping[str, object]:
    """Give what ``slurm_templates/job.sh`` and ``login_templates/program.sh`` need for processes, warnings and retries.

    `binds` are all that the container gets, the cluster's too.
    """
    return {
        "launched": is_launched(job),
        "srun": " ".join([*_srun_options(job), *_own_srun_options(job, binds)]),
        "mpi": job.mpi,
        "torchrun": (job.tasks_per_node or job.resources.gpus or 1) if job.launcher == "torchrun" else None,
        "warning": job.signal.name if job.signal else None,
        "retries": job.retries,
    }


def _srun_options(job: Job) -> list[str]:
    # Without the first, the other processes would wait until the time limit for one that failed. The third: Slurm 22.05 to
    # 23.02 do not take it over from sbatch (CHANGELOG of 22.05 and 23.11).
    tasks = slurm_tasks(job)
    return [
        "--kill-on-bad-exit=1",
        *([f"--ntasks-per-node={tasks}"] if tasks else []),
        '--cpus-per-task="${SLURM_CPUS_PER_TASK:-1}"',
        *([f"--mpi={shell.word(job.mpi)}"] if job.mpi else []),
    ]


def _own_srun_options(job: Job, binds: Iterable[Bind]) -> Iterator[str]:
    for name, value in srun_options(job.srun, job.workdir, binds):
        yield f"--{name}" if value is None else f"--{name}={shell.word(value)}"
