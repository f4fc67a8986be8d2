"""The job table ``srun``: options of the ``srun`` that starts a job's processes, and which of them go with what else a job says."""

from collections.abc import Mapping

from hpcdeploy.config.directives import check_spelling
from hpcdeploy.config.slurm_options import SBATCH, SRUN, badly_given, unknown
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Job

OF_STEPS = frozenset(
    {
        "acctg-freq", "cpu-freq", "distribution", "exclusive", "export", "extra-node-info", "gpu-bind", "gpu-freq", "gres",
        "hint", "mem", "mem-bind", "network", "oom-kill-step", "profile", "propagate", "threads-per-core", "tres-bind",
        "verbose", "wait",
    }
)  # fmt: skip
"""Options of both programs that say something of a step of its own (srun(1)): a job may give them to srun alone."""

_REFUSED: Mapping[str, str] = {
    "mpi": "use the key mpi",
    "kill-on-bad-exit": "hpcdeploy writes it itself: the exit code of the first process that fails is the run's",
    "jobid": "the step belongs to the job that starts it",
    "no-allocate": "the step belongs to the job that starts it",
    "immediate": "it is about the allocation, which the step has already",
    "het-group": "a heterogeneous job needs several scripts",
    "pack-group": "a heterogeneous job needs several scripts",
    "multi-prog": "every process runs the container; let the program look at SLURM_PROCID",
    "preserve-env": "hpcdeploy says the number of nodes and processes itself",
    "relative": "the processes run on all nodes of the job",
    "bcast": "it would copy the shell that starts the container, not the program",
    "bcast-exclude": "it would copy the shell that starts the container, not the program",
    "compress": "it is about --bcast, which would copy the shell that starts the container",
    "send-libs": "it is about --bcast, which would copy the shell that starts the container",
    "async": "srun would end before the program, and the job with it",
    "debugger-test": "no program would run",
    "external-launcher": "no program would run",
    "interactive": "a job has no terminal",
    "pty": "a job has no terminal",
    "x11": "a job has no terminal",
    "disable-status": "it is about an interrupt from a terminal, and a job has none",
    "quit-on-interrupt": "hpcdeploy passes signals on itself",
    "ignore-signals": "hpcdeploy passes signals on itself",
    "parsable": "it prints a job id, and the job has one already",
    "gid": "only root can set it, and no Slurm after 22.05 has it",
    "uid": "only root can set it, and no Slurm after 22.05 has it",
}

BINDINGS = ("cpu-bind", "accel-bind", "gpu-bind", "mem-bind", "tres-bind")
"""Options that give each process of srun its own part of a node. With torchrun that is one process for the whole node."""


def srun_key(key: str) -> str:
    """Return the long name of an option that a job may give to ``srun`` alone."""
    check_spelling(key, "srun", "cpu-bind")
    if key in _REFUSED:
        raise ConfigError(f"not for a job to set: {_REFUSED[key]}")
    known = {name: option for name, option in SRUN.items() if name in OF_STEPS or name not in SBATCH}
    if key in known:
        return key
    if key in SRUN:
        raise ConfigError(
            f"not an option of the step: it is about the job; write it into the table slurm, or use the job's key {key}"
        )
    if key in SBATCH:
        raise ConfigError("an option of sbatch, which srun does not have; write it into the table slurm")
    raise ConfigError(unknown("srun", key, {name: known[name] for name in known.keys() - _REFUSED.keys()}))


def check_srun(job: Job) -> None:
    """Refuse, with `ConfigError`, values that srun would not take, and what has no meaning beside a job's launcher."""
    for name, value in job.srun:
        wrong = badly_given("srun", name, SRUN[name], value)
        if wrong:
            raise ConfigError(f"job {job.name}: srun.{name}: {wrong}")
        if name == "export" and "NIL" in str(value).split(","):
            raise ConfigError(
                f"job {job.name}: srun.export = NIL takes away the SLURM_* variables, by which each process knows its number; "
                'expected "NONE", or a list of variables'
            )
    if job.launcher == "torchrun":
        _refuse_bindings(job)


def _refuse_bindings(job: Job) -> None:
    for table, given in (("slurm", dict(job.slurm)), ("srun", dict(job.srun))):
        for name in BINDINGS:
            value = given.get(name, False)
            # "none" binds nothing, "verbose" and "quiet" only say what is bound (srun(1)).
            if value is False or set(str(value).lower().split(",")) <= {"none", "verbose", "quiet", "v", "q", "no"}:
                continue
            raise ConfigError(
                f"job {job.name}: {table}.{name} binds each process of srun, and torchrun is the only one on its node: all "
                'its processes would share that one part of the node; leave it out, or use launcher = "srun"'
            )


def srun_options(job: Job) -> tuple[tuple[str, str | None], ...]:
    """Return what a job's table ``srun`` says, as long options and their values (None: no value).

    An ``export`` without ``ALL`` takes with it the variables that the job's script needs in each process: srun(1) passes
    on only ``SLURM_*`` and those named.
    """
    chosen: list[tuple[str, str | None]] = []
    for name, value in job.srun:
        if value is False:
            continue
        if name == "export" and "ALL" not in str(value).split(","):
            kept = [word for word in str(value).split(",") if word != "NONE"]
            chosen.append((name, ",".join([*kept, *_OURS])))
        else:
            chosen.append((name, None if value is True else str(value)))
    return tuple(chosen)


_OURS = ("PATH", "MASTER_ADDR", "MASTER_PORT", "HPCDEPLOY_RESTART", "HPCDEPLOY_PMIX")
"""Variables of the job's script that ``rank.sh`` and ``program.sh`` read; PATH finds Apptainer."""
