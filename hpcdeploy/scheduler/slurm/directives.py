"""A job in Slurm's words: ``#SBATCH`` directives, quoted for sbatch's own tokenizer."""

import re
from collections.abc import Iterable

from hpcdeploy.cluster import Cluster, GpuForm, MemoryForm
from hpcdeploy.config.gres import GPU_OPTIONS
from hpcdeploy.config.processes import cpus_on_node, processes_on_node
from hpcdeploy.config.slurm_options import long_option
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Array, Job, Resources
from hpcdeploy.scheduler.slurm.shapes import is_launched, slurm_tasks

Directive = tuple[str, str | None]
"""A long option of sbatch and its value; None where it takes none."""


MULTIPLIES_TASKS = frozenset({"sockets-per-node", "cores-per-socket", "threads-per-core", "extra-node-info"})
"""Options that choose nodes. Beside ``--nodes`` without ``--ntasks`` sbatch makes one task for each socket, core or thread
that they name, and asks for the CPUs of as many ("massage the numbers" in src/sbatch/opt.c of Slurm 22.05 to 26.05)."""


def quote(value: str) -> str:
    r"""Quote `value` for sbatch's own tokenizer, which is no shell's.

    A backslash escapes everywhere, inside single quotes too; a bare ``#`` starts a comment; an open quote is fatal
    (get_argument in Slurm's src/sbatch/opt.c). So: double quotes around, a backslash before ``"`` and ``\``. A line break
    cannot be said at all, and raises `ConfigError`.
    """
    if any(sign in value for sign in "\n\r\0"):
        raise ConfigError(f"{value!r} cannot be written in an #SBATCH line: it contains a line break or a NUL; remove it")
    if re.fullmatch(r"[A-Za-z0-9_.,=/@%+:-]+", value) and not value.startswith(":"):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def directives(job: Job, cluster: Cluster, run_id: str) -> list[Directive]:
    """Say what `job` asks for in sbatch's long options, those of the person last, so that theirs win.

    Exactly one GPU form and one memory form are used: Slurm 26.05 refuses two GPU forms, every Slurm two memory forms
    (sbatch(1)).
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
    _refuse_unsayable_gpus(job)
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
        # Else a job whose turn can never come stays in the queue for ever (sbatch(1), --kill-on-invalid-dep).
        lines.append(("kill-on-invalid-dep", "yes"))
    lines += [(long_option(name), None if value is True else str(value)) for name, value in job.slurm if value is not False]
    return _one_gres(lines)


def lines(chosen: Iterable[Directive]) -> str:
    """Write directives as the lines of a batch script."""
    return "\n".join(f"#SBATCH --{option}" + ("" if value is None else f"={quote(value)}") for option, value in chosen)


def clock(seconds: int) -> str:
    """Write a time limit as sbatch reads it, days-hours:minutes:seconds, never rounded."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    return f"{day}-{hour:02}:{minute:02}:{second:02}"


def _one_gres(lines: list[Directive]) -> list[Directive]:
    """Ask for all generic resources at once: of two ``--gres`` sbatch takes the last alone, and the GPUs would be gone."""
    asked = [value for option, value in lines if option == "gres" and value]
    if len(asked) < 2:
        return lines
    return [line for line in lines if line[0] != "gres"] + [("gres", ",".join(asked))]


def _ends(job: Job) -> list[Directive]:
    """Say what is to happen before and after an end. ``B:``: to the job script only, which passes it on to the program."""
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


def _refuse_unsayable_gpus(job: Job) -> None:
    """Raise `ConfigError` where a job says what a GPU must be able to do, and not in words that the site gave it.

    Slurm knows GPUs by type (gres.conf(5)) and nodes by features (slurm.conf(5), Feature), each a name that the site chose.
    """
    wanted = job.resources
    wishes = ("gpu_memory", "gpu_capability", "gpu_runtime")
    asked = [name.replace("_", "-") for name in wishes if getattr(wanted, name)]
    in_the_sites_words = {"constraint", "gres", "tres-per-task", *GPU_OPTIONS} & {name for name, _ in job.slurm}
    if asked and not (wanted.gpu_type or wanted.constraint or in_the_sites_words):
        raise ConfigError(
            f"job {job.name!r} asks for {' and '.join(asked)}: Slurm knows GPUs only by names that the site chose; "
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
    """Share a node's CPUs among its processes; raises `ConfigError` where that cannot be."""
    each = processes_on_node(job)
    if each is None:
        raise ConfigError(
            f"job {job.name}: cpus are those of a node, and only Slurm knows how many tasks there are on one; "
            "use slurm = { cpus-per-task = ... } or { cpus-per-gpu = ... } in place of cpus"
        )
    if cpus % each:
        raise ConfigError(
            f"job {job.name}: {cpus} cpus on a node cannot be shared among {each} tasks; expected a multiple of {each}"
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
                    f"job {job.name}: memory is that of a node, and only Slurm knows how many CPUs the job has there; use "
                    "slurm = { mem-per-cpu = ... } in place of memory"
                )
            return [("mem-per-cpu", f"{-(-wanted.memory // cpus)}M")]
        case "mem-per-gpu" if wanted.gpus:
            return [("mem-per-gpu", f"{-(-wanted.memory // wanted.gpus)}M")]
        case "mem-per-gpu":
            return [("mem", f"{wanted.memory}M")]


def _array(array: Array) -> str:
    return f"0-{array.size - 1}" + (f"%{array.throttle}" if array.throttle else "")
