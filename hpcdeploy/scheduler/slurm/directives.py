"""Return a job's ``#SBATCH`` lines, and the values with which its script starts, warns and retries the processes."""

import re
from collections.abc import Iterable, Iterator, Mapping

from hpcdeploy import shell
from hpcdeploy.cluster import Cluster, GpuForm, MemoryForm
from hpcdeploy.config.gres import GPU_OPTIONS, gpus_in_gres, has_whole_nodes, requests_gpus
from hpcdeploy.config.slurm_options import long_option
from hpcdeploy.config.srun import needs_a_step, srun_options
from hpcdeploy.config.task_layout import cpus_on_node, processes_on_node, sets_tasks, tasks_on_node
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Array, Bind, Job, Resources


def is_launched(job: Job) -> bool:
    """Tell whether srun starts the container, once per process. Otherwise the job script starts the container."""
    if job.resources.nodes > 1 or (job.tasks_per_node or 1) > 1 or job.launcher or job.mpi or needs_a_step(job):
        return True
    return tasks_on_node(job.slurm, job.resources.nodes) != 1


def slurm_tasks(job: Job) -> int | None:
    """Return how many processes srun starts per node; None if directives set the number.

    It is 1 for torchrun, because torchrun itself starts the processes of a node.
    """
    if job.launcher == "torchrun":
        return 1
    return job.tasks_per_node or (None if sets_tasks(job.slurm) else 1)


def shape_values(job: Job, binds: Iterable[Bind]) -> Mapping[str, object]:
    """Return the values of the templates ``job.sh`` and ``program.sh`` for processes, warnings and retries.

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
    """Return the number of processes that torchrun starts on a node, as a shell word.

    If the job requests GPUs with options of sbatch, the number is known only on the node. So the word is then the variable
    SLURM_GPUS_ON_NODE (srun(1)). Slurm does not set the variable if the site does not name its GPUs ``gpu``
    (``gres = "gpu_a100:8"``). So the number in the option is the variable's default.
    """
    if job.tasks_per_node or job.resources.gpus:
        return str(job.tasks_per_node or job.resources.gpus)
    if job.resources.gpus == 0:
        return "1"
    if not (requests_gpus(job.slurm) or has_whole_nodes(job.slurm)):
        return "1"
    return f'"${{SLURM_GPUS_ON_NODE:-{gpus_in_gres(job.slurm) or 1}}}"'


def _srun_options(job: Job) -> list[str]:
    # --kill-on-bad-exit: without this option, the other processes could wait for a failed process until the time limit.
    # --cpus-per-task: srun of Slurm 22.05 to 23.02 does not inherit it from sbatch (CHANGELOG of 22.05 and 23.11). The
    # option is passed only if sbatch got it: then SLURM_CPUS_PER_TASK is set (sbatch(1)). Without a value from sbatch, the
    # option would give each process only one core, because it implies --exact.
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
"""The name of a long option of sbatch, and its value; None for an option without a value."""


MULTIPLIES_TASKS = frozenset({"sockets-per-node", "cores-per-socket", "threads-per-core", "extra-node-info"})
"""Options that describe nodes, and from which sbatch computes a number of tasks.

If ``--nodes`` is set and ``--ntasks`` is not, sbatch makes one task for each socket, core or thread in these options, and
requests the CPUs for these tasks ("massage the numbers" in src/sbatch/opt.c of Slurm 22.05 to 26.05).
"""


def quote(value: str) -> str:
    r"""Quote `value` for sbatch, whose rules differ from a shell's (get_argument in Slurm's src/sbatch/opt.c).

    - A backslash escapes the next character everywhere, even inside single quotes.
    - A ``#`` outside of quotes starts a comment.
    - A quote that is not closed is a fatal error.

    So the value is put in double quotes, with a backslash before ``"`` and ``\``.

    Raises:
        ConfigError: The value contains a line break or a NUL, which cannot be quoted.
    """
    if any(sign in value for sign in "\n\r\0"):
        raise ConfigError(f"{value!r} cannot be written in an #SBATCH line: it contains a line break or a NUL; remove it")
    if re.fullmatch(r"[A-Za-z0-9_.,=/@%+:-]+", value) and not value.startswith(":"):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def directives(job: Job, cluster: Cluster, run_id: str) -> list[Directive]:
    """Return the directives of `job`.

    The user's directives are last, because sbatch uses the last of several values. Only one option for GPUs and one for
    memory are used: Slurm 26.05 rejects two options for GPUs, and every release rejects two for memory (sbatch(1)).

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
        # Without this option, a job whose dependency can never be met may stay in the queue (sbatch(1)).
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
    """Merge all ``--gres`` into one. sbatch uses only the last of several, so the user's option would replace the GPUs."""
    requested = [value for option, value in lines if option == "gres" and value]
    if len(requested) < 2:
        return lines
    return [line for line in lines if line[0] != "gres"] + [("gres", ",".join(requested))]


def _ends(job: Job) -> list[Directive]:
    """Return the directives for signals and requeues.

    With ``B:`` Slurm sends the signal only to the job script, which forwards it to the program (sbatch(1), --signal).
    """
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
    """Check that a job with requirements for its GPUs also selects GPUs or nodes by a name.

    Slurm cannot compare memory or capability of GPUs. It selects GPUs by type (gres.conf(5)), and nodes by feature
    (slurm.conf(5), Feature). Both are names that the site chose.

    Raises:
        ConfigError: The job has requirements, but neither a GPU type, nor a constraint, nor GPU options of sbatch.
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
    """Return the number of CPUs for each process of a node that has `cpus` CPUs for the job.

    Raises:
        ConfigError: The number of processes is unknown, or `cpus` is not a multiple of it.
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
