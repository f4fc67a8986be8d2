"""Compute the layout of a job's tasks for Slurm: how many processes, how they start, and how they are warned and retried."""

import re
from collections.abc import Iterable, Iterator, Mapping

from hpcdeploy import shell
from hpcdeploy.cluster import Cluster, GpuForm, MemoryForm
from hpcdeploy.config.gres import GPU_OPTIONS, asks_for_gpus, gpus_in_gres, has_whole_nodes
from hpcdeploy.config.slurm_options import long_option
from hpcdeploy.config.srun import needs_a_step, srun_options
from hpcdeploy.config.task_layout import cpus_on_node, processes_on_node, says_tasks, tasks_on_node
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Array, Bind, Job, Resources


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
    """Return the values for processes, warnings and retries, for ``job.sh`` and ``program.sh``.

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


Directive = tuple[str, str | None]
"""A long option of sbatch and its value; None if it has none."""


MULTIPLIES_TASKS = frozenset({"sockets-per-node", "cores-per-socket", "threads-per-core", "extra-node-info"})
"""Options that select nodes. With ``--nodes`` but without ``--ntasks``, sbatch makes one task for each socket, core or
thread in them. It requests the CPUs for these tasks ("massage the numbers" in src/sbatch/opt.c of Slurm 22.05 to 26.05)."""


def quote(value: str) -> str:
    r"""Quote `value` for sbatch's own tokenizer, which differs from a shell's.

    A backslash escapes everywhere, even inside single quotes; a bare ``#`` starts a comment; an unclosed quote is fatal
    (get_argument in Slurm's src/sbatch/opt.c). So the value is in double quotes, with a backslash before ``"`` and ``\``.

    Raises:
        ConfigError: The value contains a line break or a NUL, which cannot be quoted.
    """
    if any(sign in value for sign in "\n\r\0"):
        raise ConfigError(f"{value!r} cannot be written in an #SBATCH line: it contains a line break or a NUL; remove it")
    if re.fullmatch(r"[A-Za-z0-9_.,=/@%+:-]+", value) and not value.startswith(":"):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def directives(job: Job, cluster: Cluster, run_id: str) -> list[Directive]:
    """Return the directives of `job`, the user's own last, so that they win.

    Exactly one GPU form and one memory form are used: Slurm 26.05 rejects two GPU forms, every Slurm two memory forms
    (sbatch(1)).

    Raises:
        ConfigError: Slurm does not support a setting of the job, or a value cannot be divided as required.
    """
    wanted = job.resources
    lines: list[Directive] = [("job-name", run_id), ("comment", f"hpcdeploy:{run_id}")]
    lines += [(option, value) for option, value in _sites(wanted) if value]
    lines.append(("nodes", str(wanted.nodes)))
    tasks = slurm_tasks(job)
    if tasks and is_launched(job):
        lines.append(("ntasks-per-node", str(tasks)))
    if tasks and MULTIPLIES_TASKS & {name for name, value in job.slurm if value is not False}:
        lines.append(("ntasks", str(wanted.nodes * tasks)))
    if wanted.cpus:
        lines.append(("cpus-per-task", str(_cpus_of_a_process(job, wanted.cpus))))
    _check_gpu_requirements(job)
    lines += _gpus(wanted, cluster.gpu_form)
    lines += _memory(job, cluster.memory_form)
    if wanted.disk:
        lines.append(("tmp", f"{wanted.disk}M"))
    if wanted.time:
        lines.append(("time", clock(wanted.time)))
    if job.array:
        lines.append(("array", _array(job.array)))
    lines += _ends(job)
    if job.after:
        # Otherwise a job whose dependency can never be met stays in the queue forever (sbatch(1), --kill-on-invalid-dep).
        lines.append(("kill-on-invalid-dep", "yes"))
    lines += [(long_option(name), None if value is True else str(value)) for name, value in job.slurm if value is not False]
    return _one_gres(lines)


def lines(chosen: Iterable[Directive]) -> str:
    """Return directives as the lines of a batch script.

    Raises:
        ConfigError: A value contains a line break or a NUL.
    """
    return "\n".join(f"#SBATCH --{option}" + ("" if value is None else f"={quote(value)}") for option, value in chosen)


def clock(seconds: int) -> str:
    """Return a time limit in seconds in sbatch's format, days-hours:minutes:seconds, without rounding."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    return f"{day}-{hour:02}:{minute:02}:{second:02}"


def _one_gres(lines: list[Directive]) -> list[Directive]:
    """Merge all ``--gres`` into one: sbatch uses only the last of several, so the GPUs would be lost."""
    requested = [value for option, value in lines if option == "gres" and value]
    if len(requested) < 2:
        return lines
    return [line for line in lines if line[0] != "gres"] + [("gres", ",".join(requested))]


def _ends(job: Job) -> list[Directive]:
    """Return the directives for signals and requeues. ``B:``: only to the job script, which forwards it to the program."""
    lines: list[Directive] = []
    if job.signal:
        lines.append(("signal", f"B:{job.signal.name}@{job.signal.before}"))
    if job.requeue or job.retries:
        lines.append(("requeue", None))
    elif job.requeue is False:
        lines.append(("no-requeue", None))
    return lines


def _sites(wanted: Resources) -> list[tuple[str, str | None]]:
    return [
        ("account", wanted.account),
        ("partition", wanted.partition),
        ("qos", wanted.qos),
        ("constraint", wanted.constraint),
    ]


def _check_gpu_requirements(job: Job) -> None:
    """Check that a job with requirements for its GPUs also has a name that the site gave them.

    Slurm knows GPUs by type (gres.conf(5)) and nodes by features (slurm.conf(5), Feature), each a name that the site chose.

    Raises:
        ConfigError: There are requirements, but no such name.
    """
    wanted = job.resources
    requirements = ("gpu_memory", "gpu_capability", "gpu_runtime")
    present = [name.replace("_", "-") for name in requirements if getattr(wanted, name)]
    site_names = {"constraint", "gres", "tres-per-task", *GPU_OPTIONS} & {name for name, _ in job.slurm}
    if present and not (wanted.gpu_type or wanted.constraint or site_names):
        raise ConfigError(
            f"job {job.name!r} requests {' and '.join(present)}: Slurm knows GPUs only by names that the site chose; "
            'set gpu-type = "..." or constraint = "...", for example in the defaults of this cluster'
        )


def _gpus(wanted: Resources, form: GpuForm) -> list[Directive]:
    if not wanted.gpus:
        return []
    kind = f"{wanted.gpu_type}:" if wanted.gpu_type else ""
    match form:
        case "gres":
            return [("gres", f"gpu:{kind}{wanted.gpus}")]
        case "gpus-per-node":
            return [("gpus-per-node", f"{kind}{wanted.gpus}")]
        case "gpus":
            return [("gpus", f"{kind}{wanted.gpus * wanted.nodes}")]


def _cpus_of_a_process(job: Job, cpus: int) -> int:
    """Divide a node's CPUs among its processes.

    Raises:
        ConfigError: The number of processes is unknown, or does not divide the CPUs.
    """
    each = processes_on_node(job)
    if each is None:
        raise ConfigError(
            f"job {job.name}: cpus are per node, and only Slurm knows how many tasks run on one; "
            "use slurm = { cpus-per-task = ... } or { cpus-per-gpu = ... } instead of cpus"
        )
    if cpus % each:
        raise ConfigError(
            f"job {job.name}: {cpus} cpus on a node cannot be divided among {each} tasks; expected a multiple of {each}"
        )
    return cpus // each


def _memory(job: Job, form: MemoryForm) -> list[Directive]:
    wanted = job.resources
    if wanted.memory is None:
        return []
    match form:
        case "mem":
            return [("mem", f"{wanted.memory}M")]
        case "mem-per-cpu":
            cpus = cpus_on_node(job)
            if cpus is None:
                raise ConfigError(
                    f"job {job.name}: memory is per node, and only Slurm knows how many CPUs the job has there; use "
                    "slurm = { mem-per-cpu = ... } instead of memory"
                )
            return [("mem-per-cpu", f"{-(-wanted.memory // cpus)}M")]
        case "mem-per-gpu" if wanted.gpus:
            return [("mem-per-gpu", f"{-(-wanted.memory // wanted.gpus)}M")]
        case "mem-per-gpu":
            return [("mem", f"{wanted.memory}M")]


def _array(array: Array) -> str:
    return f"0-{array.size - 1}" + (f"%{array.throttle}" if array.throttle else "")
