"""The job table ``srun``: options of the ``srun`` that starts a job's processes, and what does not go with them."""

import re
from collections.abc import Iterable, Iterator

from hpcdeploy.config.directives import SLURM_REFUSED, check_spelling
from hpcdeploy.config.slurm_options import OF_A_PLUGIN, SBATCH, SRUN, badly_given, long_option, unknown
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Bind, Directives, Job

OF_STEPS = frozenset(
    {
        "acctg-freq", "cpu-freq", "distribution", "exclusive", "export", "extra-node-info", "gpu-bind", "gpu-freq", "gres",
        "hint", "mem", "mem-bind", "network", "oom-kill-step", "profile", "propagate", "threads-per-core", "tres-bind",
        "verbose",
    }
)  # fmt: skip
"""Options of both programs that say something of a step of its own (srun(1)): a job may give them to srun alone."""

FOLLOWED_BY_STEPS = frozenset({"cpu-freq", "gpu-bind", "mem-bind", "tres-bind"})
"""Options of sbatch that do nothing to the job's script, only to what srun starts in it: sbatch(1), ``--cpu-freq``; for the
others, what a node is told of a batch job has no place (``batch_job_launch_msg_t`` in src/common/slurm_protocol_defs.h of
Slurm 26.05.3 and src/slurmd/slurmstepd)."""

_IMAGE = "it would copy the shell that starts the container, not the program"

_REFUSED = {
    "mpi": "use the key mpi",
    "kill-on-bad-exit": "hpcdeploy writes it itself: the exit code of the first process that fails is the run's",
    "jobid": "the step belongs to the job that starts it",
    "no-allocate": "the step belongs to the job that starts it",
    "immediate": "it is about the allocation, which the step has already",
    "het-group": "a heterogeneous job needs several scripts",
    "pack-group": "a heterogeneous job needs several scripts",
    "multi-prog": "every process runs the container; let the program look at SLURM_PROCID",
    "preserve-env": "hpcdeploy sets the number of nodes and processes itself",
    "relative": "the processes run on all nodes of the job",
    "bcast": _IMAGE,
    "bcast-exclude": _IMAGE,
    "compress": f"it is about --bcast: {_IMAGE}",
    "send-libs": f"it is about --bcast: {_IMAGE}",
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
"""Options of srun(1) that are not for a person to set, and why."""

BINDINGS = ("cpu-bind", "accel-bind", "gpu-bind", "mem-bind", "tres-bind")
"""Options that give each process of srun its own part of a node. With torchrun that is one process for the whole node."""

_OF_THE_SCRIPT = ("PATH", "HOME", "USER", "TMPDIR", "MASTER_ADDR", "MASTER_PORT", "HPCDEPLOY_RESTART", "HPCDEPLOY_PMIX")
"""Variables that ``slurm_templates/rank.sh`` and ``slurm_templates/program.sh`` read; PATH finds Apptainer. What Apptainer
itself hands to the program is another matter: the image's own values win."""


def srun_key(key: str) -> str:
    """Return the long name of an option that a job may give to ``srun`` alone, or ``+NAME`` for one that a plugin adds."""
    check_spelling(key, "srun", "cpu-bind")
    if key in _REFUSED:
        raise ConfigError(f"not for a job to set: {_REFUSED[key]}")
    known = {name: option for name, option in SRUN.items() if name in OF_STEPS or name not in SBATCH or name == "wait"}
    if key in known or key.startswith(OF_A_PLUGIN):
        return key
    if key in SRUN and key in SLURM_REFUSED:
        raise ConfigError(f"not for a job to set: {SLURM_REFUSED[key]}")
    if key in SRUN:
        raise ConfigError("it is about the job and not about the step; write it into the table slurm = { ... }")
    if key in SBATCH:
        raise ConfigError(f"srun has no option --{key}, only sbatch does; write it into the table slurm = {{ ... }}")
    raise ConfigError(unknown("srun", key, {name: known[name] for name in known.keys() - _REFUSED.keys()}))


def check_srun(job: Job) -> None:
    """Refuse, with `ConfigError`, values that srun would not take, and what has no meaning beside a job's launcher."""
    for name, value in job.srun:
        wrong = badly_given("srun", name, value)
        if wrong:
            raise ConfigError(f"job {job.name}: srun.{name}: {wrong}")
        if name == "export" and "NIL" in _exported(value):
            raise ConfigError(
                f'job {job.name}: srun.export: NIL is valid for sbatch only; expected "NONE", "ALL" or variables'
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
                'its processes would share that one part of the node; set it to false, or use launcher = "srun"'
            )


def needs_a_step(job: Job) -> bool:
    """Tell whether a job of one process needs srun all the same: for its options, or for those that only srun follows."""
    return any(value is not False for _, value in job.srun) or any(
        name in FOLLOWED_BY_STEPS and value is not False for name, value in job.slurm
    )


def srun_options(given: Directives, workdir: str, binds: Iterable[Bind]) -> tuple[tuple[str, str | None], ...]:
    """Return what a job's table ``srun`` says, as long options and their values (None: no value).

    An ``export`` without ``ALL`` gets the variables that the job's script needs in each process, those in `workdir` and
    `binds` among them: srun passes on only ``SLURM_*`` and those that are named (srun(1)).
    """
    chosen: list[tuple[str, str | None]] = []
    for name, value in given:
        if value is False:
            continue
        text = None if value is True else str(value)
        if name == "export" and "ALL" not in _exported(value):
            text = ",".join(_with_ours(str(value), workdir, binds))
        chosen.append((long_option(name), text))
    return tuple(chosen)


def _exported(value: object) -> list[str]:
    """Return the words of ``--export``, in capitals: srun knows its own in any (_build_user_env in src/srun/launch.c)."""
    return [word.strip().upper() for word in str(value).split(",")]


def _with_ours(value: str, workdir: str, binds: Iterable[Bind]) -> Iterator[str]:
    """Name what is exported: what stands before ``NONE``, where srun stops to read, and what the script needs."""
    words = value.split(",")
    until = _exported(value).index("NONE") if "NONE" in _exported(value) else len(words)
    yield from words[:until]
    paths = " ".join([workdir, *(bind.source for bind in binds)])
    needed = dict.fromkeys([*_OF_THE_SCRIPT, *re.findall(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)", paths)])
    named = {word.partition("=")[0].strip() for word in words[:until]}
    yield from (name for name in needed if name not in named and not name.startswith("SLURM"))
