"""Validate the job's table ``srun``: options of the command ``srun`` that starts the job's processes."""

import re
from collections.abc import Iterable, Iterator

from hpcdeploy.config.directives import SLURM_REFUSED, check_spelling
from hpcdeploy.config.slurm_options import OF_A_PLUGIN, SBATCH, SRUN, long_option, unknown, value_problem
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Bind, Directives, Job

OF_STEPS = frozenset(
    {
        "acctg-freq", "cpu-freq", "distribution", "exclusive", "export", "extra-node-info", "gpu-bind", "gpu-freq", "gres",
        "hint", "mem", "mem-bind", "network", "oom-kill-step", "profile", "propagate", "threads-per-core", "tres-bind",
        "verbose",
    }
)  # fmt: skip
"""Options of both ``sbatch`` and ``srun`` that apply to a step (srun(1)); a job may set them for ``srun`` alone."""

FOLLOWED_BY_STEPS = frozenset({"cpu-freq", "gpu-bind", "mem-bind", "tres-bind"})
"""Options of ``sbatch`` that do not affect the job's script, but only the steps that ``srun`` starts in the script.

Source: sbatch(1) for ``--cpu-freq``. The other options are not sent to the node with a batch job
(``batch_job_launch_msg_t`` in src/common/slurm_protocol_defs.h of Slurm 26.05.3; src/slurmd/slurmstepd).
"""

_IMAGE = "the option would copy the shell that starts the container, not the program"

_REFUSED = {
    "mpi": "use the key mpi",
    "kill-on-bad-exit": "hpcdeploy writes this option; the run gets the exit code of the first process that fails",
    "jobid": "the step belongs to the job that starts it",
    "no-allocate": "the step belongs to the job that starts it",
    "immediate": "the option applies to the allocation, which the step already has",
    "het-group": "a heterogeneous job needs several scripts",
    "pack-group": "a heterogeneous job needs several scripts",
    "multi-prog": "every process runs the container; use SLURM_PROCID in the program",
    "preserve-env": "hpcdeploy sets the number of nodes and processes itself",
    "relative": "the processes run on all nodes of the job",
    "bcast": _IMAGE,
    "bcast-exclude": _IMAGE,
    "compress": f"the option applies to --bcast: {_IMAGE}",
    "send-libs": f"the option applies to --bcast: {_IMAGE}",
    "async": "srun and the job would end before the program",
    "debugger-test": "no program would run",
    "external-launcher": "no program would run",
    "interactive": "a job has no terminal",
    "pty": "a job has no terminal",
    "x11": "a job has no terminal",
    "disable-status": "the option applies to interrupts from a terminal, which a job does not have",
    "quit-on-interrupt": "hpcdeploy forwards signals itself",
    "ignore-signals": "hpcdeploy forwards signals itself",
    "parsable": "srun would print a job id, which the job already has",
    "gid": "only root can set it, and no Slurm after 22.05 has it",
    "uid": "only root can set it, and no Slurm after 22.05 has it",
}
"""Options of srun(1) that users must not set, with the reason."""

BINDINGS = ("cpu-bind", "accel-bind", "gpu-bind", "mem-bind", "tres-bind")
"""Options that give each process of ``srun`` a separate part of a node.

They are rejected with torchrun, where ``srun`` starts one process per node.
"""

_OF_THE_SCRIPT = ("PATH", "HOME", "USER", "TMPDIR", "MASTER_ADDR", "MASTER_PORT", "HPCDEPLOY_RESTART", "HPCDEPLOY_PMIX")
"""Variables that ``slurm_templates/rank.sh`` and ``slurm_templates/program.sh`` read; PATH is read to find Apptainer.

Variables for the program in the container are not listed, because the values of the image take precedence.
"""


def srun_key(key: str) -> str:
    """Return `key` after checks: a long option that a job may set for ``srun`` alone, or ``+NAME`` for one of a plugin.

    Raises:
        ConfigError: `key` is malformed, ``srun`` has no such option, or a job must not set the option for ``srun`` alone.
    """
    check_spelling(key, "srun", "cpu-bind")
    if key in _REFUSED:
        raise ConfigError(f"jobs must not set this option: {_REFUSED[key]}")
    known = {name: option for name, option in SRUN.items() if name in OF_STEPS or name not in SBATCH or name == "wait"}
    if key in known or key.startswith(OF_A_PLUGIN):
        return key
    if key in SRUN and key in SLURM_REFUSED:
        raise ConfigError(f"jobs must not set this option: {SLURM_REFUSED[key]}")
    if key in SRUN:
        raise ConfigError("this option applies to the job, not to the step; set it in the job's table slurm = { ... }")
    if key in SBATCH:
        raise ConfigError(f"only sbatch has the option --{key}, not srun; set it in the job's table slurm = {{ ... }}")
    raise ConfigError(unknown("srun", key, {name: known[name] for name in known.keys() - _REFUSED.keys()}))


def check_srun(job: Job) -> None:
    """Check the values in the job's table ``srun``, and whether options contradict the job's launcher.

    Raises:
        ConfigError: ``srun`` would reject a value, or an option binds processes although torchrun starts them.
    """
    for name, value in job.srun:
        wrong = value_problem("srun", name, value)
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
            # "none" binds nothing; "verbose" and "quiet" only affect messages (srun(1)).
            if value is False or set(str(value).lower().split(",")) <= {"none", "verbose", "quiet", "v", "q", "no"}:
                continue
            raise ConfigError(
                f"job {job.name}: {table}.{name} binds each process of srun, but srun starts only torchrun on a node, so "
                "all processes of torchrun would share one part of the node. Set this option to false, or use "
                'launcher = "srun"'
            )


def needs_a_step(job: Job) -> bool:
    """Tell whether a job needs ``srun`` even if it has one process only.

    The reason can be an option in the table ``srun``, or an option of ``sbatch`` that only affects steps
    (`FOLLOWED_BY_STEPS`).
    """
    return any(value is not False for _, value in job.srun) or any(
        name in FOLLOWED_BY_STEPS and value is not False for name, value in job.slurm
    )


def srun_options(directives: Directives, workdir: str, binds: Iterable[Bind]) -> tuple[tuple[str, str | None], ...]:
    """Return the job's table ``srun`` as long options and values (None: no value).

    If ``export`` does not contain ``ALL``, ``srun`` only passes ``SLURM_*`` and the listed variables (srun(1)). So the
    variables that the job's script needs in each process are added to the list. Variables in `workdir` and in the sources of
    `binds` are added too.
    """
    chosen: list[tuple[str, str | None]] = []
    for name, value in directives:
        if value is False:
            continue
        text = None if value is True else str(value)
        if name == "export" and "ALL" not in _exported(value):
            text = ",".join(_with_ours(str(value), workdir, binds))
        chosen.append((long_option(name), text))
    return tuple(chosen)


def _exported(value: object) -> list[str]:
    """Return the items of ``--export`` in upper case.

    ``srun`` ignores the case of ``ALL``, ``NONE`` and ``NIL`` (_build_user_env in src/srun/launch.c).
    """
    return [word.strip().upper() for word in str(value).split(",")]


def _with_ours(value: str, workdir: str, binds: Iterable[Bind]) -> Iterator[str]:
    """Yield the variables to export: the user's, and the ones that the script needs.

    The user's variables after ``NONE`` are left out, because ``srun`` stops reading there.
    """
    items = value.split(",")
    until = _exported(value).index("NONE") if "NONE" in _exported(value) else len(items)
    yield from items[:until]
    paths = " ".join([workdir, *(bind.source for bind in binds)])
    needed = dict.fromkeys([*_OF_THE_SCRIPT, *re.findall(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)", paths)])
    named = {word.partition("=")[0].strip() for word in items[:until]}
    yield from (name for name in needed if name not in named and not name.startswith("SLURM"))
