"""Compute how many tasks and CPUs a job has per node, parse dependencies, signals and retries, and check a job.

The check (`check_consistency`) finds settings that contradict each other, such as ``ntasks`` and ``launcher = "torchrun"``.
"""

import re
from typing import cast, get_args

from hpcdeploy.config.gres import in_gres
from hpcdeploy.config.reading import found
from hpcdeploy.config.slurm_options import value_problem
from hpcdeploy.config.srun import check_srun
from hpcdeploy.config.units import parse_time
from hpcdeploy.config.validators import name, text, whole
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import After, AfterKind, Directives, Job, Retries, Signal, SignalName

TASK_OPTIONS = frozenset({"ntasks", "ntasks-per-node", "tasks-per-node", "ntasks-per-gpu", "gpus-per-task"})
"""Options of ``sbatch`` that set a job's number of tasks; ``srun`` uses the same number.

``tasks-per-node`` is another name of ``ntasks-per-node`` (common_options in src/common/slurm_opt.c of Slurm 26.11rc1).
"""


def sets_tasks(directives: Directives) -> bool:
    """Tell whether options of ``sbatch`` set the number of tasks, directly or per GPU."""
    return bool(_of_tasks(directives))


def _of_tasks(directives: Directives) -> dict[str, str]:
    """Return the options that set the number of tasks, with their values.

    ``gpus-per-task``, and ``tres-per-task`` with a generic resource, are included: if the job also requests a total of GPUs,
    Slurm divides the total by the number per task (gres_job_state_validate in src/interfaces/gres.c of Slurm 26.05).
    """
    return {
        option: str(value)
        for option, value in directives
        if value is not False and (option in TASK_OPTIONS or (option == "tres-per-task" and "gres" in str(value)))
    }


def tasks_on_node(directives: Directives, nodes: int) -> int | None:
    """Return the number of tasks per node for a job on `nodes` nodes, rounded up; None if it is unknown.

    - ``ntasks`` has precedence, because with it ``ntasks-per-node`` is only a maximum (sbatch(1)).
    - Without any option the number is one.
    - The number is unknown if Slurm derives it from the GPUs, or if an option is not a number, which ``sbatch`` will reject.
    """
    given = _of_tasks(directives)
    for option, places in (("ntasks", nodes), ("ntasks-per-node", 1), ("tasks-per-node", 1)):
        if option in given:
            return -(-int(given[option]) // places) if re.fullmatch("[0-9]{1,9}", given[option]) else None
    return None if given else 1


def processes_on_node(job: Job) -> int | None:
    """Return the number of processes that Slurm starts per node, rounded up; None if it is unknown (`tasks_on_node`).

    With torchrun the number is one, because Slurm starts only torchrun, which starts the processes of the program.
    """
    if job.launcher == "torchrun":
        return 1
    return job.tasks_per_node or tasks_on_node(job.slurm, job.resources.nodes)


def cpus_on_node(job: Job) -> int | None:
    """Return the number of CPUs per node that a job requests; None if it is unknown.

    Without a request, each process gets one CPU. The number is unknown if the number of processes is unknown.
    """
    if job.resources.cpus:
        return job.resources.cpus
    given = {option: int(value) for option, value in job.slurm if re.fullmatch("[1-9][0-9]{0,8}", str(value))}
    if "cpus-per-gpu" in given and job.resources.gpus:
        return given["cpus-per-gpu"] * job.resources.gpus
    each = processes_on_node(job)
    return None if each is None else each * given.get("cpus-per-task", 1)


AFTER = 'the name of a job, or the id of a run, such as "prepare" or "afterany:prepare"'
SIGNAL = 'a signal and how long before the time limit it is sent, such as "USR1@5 min", "USR1" or "5 min"'
RETRIES = 'a number of retries, "3 on 75,76" for these exit codes only, or a table such as { max = 3, exit-codes = [75] }'

_LONGEST_LEAD = 65535
"""Maximum number of seconds between the signal and the time limit (sbatch(1), --signal)."""


def parse_after(words: object) -> After:
    """Parse a dependency: ``"NAME"``, ``"afterok:NAME"``, ``"afterany:NAME"`` or ``"afternotok:NAME"``.

    Raises:
        ConfigError: `words` is malformed.
    """
    kind, colon, what = text(words).rpartition(":")
    if colon and kind not in get_args(AfterKind):
        raise ConfigError(f"found {found(words)}; expected {AFTER}, with afterok, afterany or afternotok before the colon")
    return After(what=name(what), kind=cast("AfterKind", kind or "afterok"))


def parse_signal(words: object) -> Signal:
    """Parse a signal: ``"USR1@5 min"``, ``"USR1"`` or ``"5 min"``.

    Without a time, the signal is sent a minute before the time limit, as with ``sbatch``. Without a name, the signal is
    USR1.

    Raises:
        ConfigError: `words` is malformed, hpcdeploy does not support the signal, or the time exceeds Slurm's maximum.
    """
    match = re.fullmatch(r"(?:(?:SIG)?(?P<name>[A-Z][A-Z0-9]+)(?:@(?P<at>.+))?|(?P<only>[0-9][^@]*))", text(words).strip())
    if match is None:
        raise ConfigError(f"found {found(words)}; expected {SIGNAL}")
    known = get_args(SignalName)
    if match["name"] and match["name"] not in known:
        raise ConfigError(f"found the signal {match['name']}; expected one of {', '.join(known)}, as in {SIGNAL}")
    time = match["at"] or match["only"]
    before = parse_time(time) if time else Signal().before
    if before > _LONGEST_LEAD:
        raise ConfigError(
            f"found {found(words)}; expected at most {_LONGEST_LEAD} s before the time limit, the maximum of Slurm"
        )
    return Signal(name=cast("SignalName", match["name"] or Signal().name), before=before)


def retries(most: object, exit_codes: tuple[int, ...] = ()) -> Retries:
    """Return the settings of retries.

    Args:
        most: The maximum number of retries.
        exit_codes: The exit codes after which a task is retried; if empty, all except 0.

    Raises:
        ConfigError: `most` is not a whole number of at least 1.
    """
    return Retries(max=whole(1)(most), exit_codes=tuple(dict.fromkeys(exit_codes)))


def exit_code(value: object) -> int:
    """Return `value` if it is the exit code of a failure.

    Raises:
        ConfigError: `value` is not a whole number from 1 to 255.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 255:
        raise ConfigError(f"found {found(value)}; expected an exit code from 1 to 255")
    return value


def parse_retries(words: str) -> Retries:
    """Parse retries: ``"3"``, or ``"3 on 75,76"`` with the exit codes after which a task is retried.

    Raises:
        ConfigError: `words` is malformed.
    """
    match = re.fullmatch(r"([0-9]{1,9})(?: +on +([0-9]{1,9}(?: *, *[0-9]{1,9})*))?", words.strip())
    if match is None:
        raise ConfigError(f"found {found(words)}; expected {RETRIES}")
    return retries(int(match[1]), tuple(exit_code(int(code)) for code in (match[2] or "").split(",") if code))


def mpi_plugin(value: object) -> str:
    """Return `value` if it can be the name of a plugin for ``srun --mpi``.

    Raises:
        ConfigError: `value` is malformed, or is ``list``, which would print the plugins instead of using one.
    """
    words = text(value)
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", words) or words == "list":
        raise ConfigError(
            f'found {found(value)}; expected a plugin for srun --mpi, such as "pmix"; to list the plugins of a cluster, run '
            "srun --mpi=list there"
        )
    return words


def check_consistency(job: Job) -> None:
    """Check that the settings of a job do not contradict each other.

    Raises:
        ConfigError: Two settings contradict each other, or an option of Slurm has a value that Slurm would reject.
    """
    limit, cpus, tasks = job.resources.time, job.resources.cpus, job.tasks_per_node or 1
    if job.retries and job.requeue is False:
        raise _clash(job, "retries restart a task, but requeue = false forbids that; remove one of them")
    if job.signal and limit and job.signal.before >= limit:
        when = f"{job.signal.before} s before the time limit, which is {limit} s"
        raise _clash(job, f"the signal is {when}; expected a time that is shorter than the limit")
    if job.launcher == "torchrun":
        _check_torchrun(job)
    elif cpus and cpus % tasks:
        raise _clash(job, f"{cpus} CPUs on a node cannot be divided among {tasks} tasks; expected a multiple of {tasks}")
    _check_directives(job)
    check_srun(job)


def _check_torchrun(job: Job) -> None:
    if job.mpi:
        raise _clash(job, "mpi applies to processes that srun starts; torchrun connects its processes itself")
    if job.command and job.command[0].startswith("-"):
        words = "expected a program at the start of the command, because torchrun runs it unchanged"
        raise _clash(job, f'found {found(job.command[0])}; {words}, such as ["python", "-m", "train"]')
    counted = [option for option, value in job.slurm if value is not False and option in TASK_OPTIONS]
    tasks = tasks_on_node(job.slurm, job.resources.nodes)
    if counted and tasks != 1 and counted != ["gpus-per-task"]:
        raise _clash(
            job,
            f"slurm.{counted[0]} starts several tasks on a node, but torchrun must be started once per node, because it "
            "starts the processes itself. Use the key tasks-per-node, or request only the GPUs of a node",
        )


def _check_directives(job: Job) -> None:
    given = dict(job.slurm)
    for option, value in job.slurm:
        wrong = value_problem("sbatch", option, value)
        if wrong:
            raise _clash(job, f"slurm.{option}: {wrong}")
    memory = [key for key in ("mem", "mem-per-cpu", "mem-per-gpu") if key in given]
    if len(memory) > 1:
        raise _clash(job, f"slurm requests memory with {' and '.join(memory)}, which sbatch rejects; expected only one")
    # sbatch(1) of Slurm 26.05; earlier releases accepted both, and used the value that they read last.
    if "gpus-per-node" in given and "gpu" in {one.name for one in in_gres(job.slurm)}:
        raise _clash(job, "slurm requests GPUs with gres and gpus-per-node, which Slurm 26.05 rejects; expected only one")


def _clash(job: Job, why: str) -> ConfigError:
    return ConfigError(f"job {job.name}: {why}")
