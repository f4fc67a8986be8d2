"""Free directives: a person's own words for the scheduler, checked for what would break the file they land in.

What hpcdeploy always writes itself is refused with the key to use instead; what it writes only where a key of its own is
given (``twins``) is refused only beside that key, so that a site's odd way of asking stays possible.
"""

import re
from collections.abc import Iterator, Mapping

from hpcdeploy.cluster import SchedulerName
from hpcdeploy.config.found import found
from hpcdeploy.config.gres import asks_twice
from hpcdeploy.config.slurm_options import OF_A_PLUGIN, SBATCH, SRUN, long_option, unknown
from hpcdeploy.config.words import line
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Directives

_LOGS = "output and errors go to the run's own folder; see them with: hpcdeploy logs"
_WRITTEN = "hpcdeploy writes it itself"

SLURM_REFUSED = {
    "job-name": "the job's own name, [jobs.NAME], is used",
    "output": _LOGS,
    "error": _LOGS,
    "input": _WRITTEN,
    "open-mode": _WRITTEN,
    "chdir": "use the key workdir",
    "array": "use the key array",
    "nodes": "use the key nodes",
    "export": "use the key environment",
    "export-file": "use the key environment",
    "parsable": _WRITTEN,
    "comment": "it carries the run's id, by which a submission is found again",
    "wait": "use: hpcdeploy wait",
    "wrap": "use the key command",
    "test-only": "use: hpcdeploy submit --dry-run",
    "clusters": "describe the other cluster as [clusters.NAME]",
    "mpi": "sbatch does not have it, only srun does; use the key mpi",
    "cluster": "describe the other cluster as [clusters.NAME]",
    "autocomplete": "it would end sbatch",
    "external": "no program would run",
    "quiet": "sbatch would not say the job's number",
    "help": "it would end sbatch",
    "usage": "it would end sbatch",
    "version": "it would end sbatch",
}
"""Options of sbatch(1) that are not for a person to set, and what to do instead."""

# Commands and statements of a submit file, condor_submit(1); without regard to capitals there, so here too.
_HTCONDOR_REFUSED = {
    "executable": "use the key command",
    "arguments": "use the key command",
    "args": "use the key command",
    "queue": "use the key array",
    "universe": "the cluster's key htcondor-container chooses it",
    "container_image": "use the key image",
    "docker_image": "use the key image",
    "container_target_dir": _WRITTEN,
    "transfer_container": _WRITTEN,
    "log": _LOGS,
    "log_xml": "the run's states are read from that log, as HTCondor writes it for people",
    "userlogusexml": "the run's states are read from that log, as HTCondor writes it for people",
    "output": _LOGS,
    "error": _LOGS,
    "stream_output": _WRITTEN,
    "stream_error": _WRITTEN,
    "input": _WRITTEN,
    "initialdir": "use the key workdir",
    "initial_dir": "use the key workdir",
    "iwd": "use the key workdir",
    "environment": "use the key environment",
    "env": "use the key environment",
    "getenv": "use the key environment",
    "batch_name": "the job's own name, [jobs.NAME], is used",
    "max_materialize": "use the key array with a throttle",
    "transfer_executable": _WRITTEN,
    "should_transfer_files": _WRITTEN,
    "jobbatchname": "the job's own name, [jobs.NAME], is used",
    **dict.fromkeys(
        ("run_folder", "image_file", "work_folder", "sandbox", "task_line"),
        "hpcdeploy calls a part of its submit description so",
    ),
    **dict.fromkeys(
        ("if", "elif", "else", "endif", "include", "use", "warning"),
        "it is a statement of the submit language, not a setting",
    ),
}

# Attributes that submit commands make (condor_submit -dry-run shows them). Set directly they replace what HTCondor makes: so
# "+Requirements = true" takes away the wish for a container, for memory and for GPUs, and nothing says so.
_MADE_BY_COMMANDS = {
    "requirements": "requirements",
    "requiregpus": "require_gpus",
    "requestgpus": "request_gpus",
    "requestcpus": "request_cpus",
    "requestmemory": "request_memory",
    "requestdisk": "request_disk",
    "transferinput": "transfer_input_files",
    "transferoutput": "transfer_output_files",
    "jobuniverse": "",
    "cmd": "",
    "out": "",
    "err": "",
    "in": "",
    "userlog": "",
    "shouldtransferfiles": "",
    "whentotransferoutput": "",
    "containerimage": "",
    "dockerimage": "",
    "singularityimage": "",
    "wantcontainer": "",
    "wantsif": "",
    "wantdockerimage": "",
    "wantsandboximage": "",
}

_TWINS: Mapping[SchedulerName, Mapping[str, tuple[str, ...]]] = {
    "slurm": {
        "gpus": ("gpus", "gres", "gpus-per-node", "gpus-per-socket", "gpus-per-task", "tres-per-task"),
        "cpus": ("cpus-per-task",),
        "memory": ("mem", "mem-per-cpu", "mem-per-gpu"),
        "time": ("time",),
        "disk": ("tmp",),
        "partition": ("partition",),
        "account": ("account",),
        "qos": ("qos",),
        "constraint": ("constraint",),
        "after": ("dependency",),
        "signal": ("signal",),
        "requeue": ("requeue", "no-requeue"),
        "retries": ("requeue", "no-requeue"),
        "tasks-per-node": ("ntasks-per-node", "tasks-per-node", "ntasks", "ntasks-per-gpu"),
    },
    "htcondor": {
        "gpus": ("request_gpus",),
        "gpu-memory": ("gpus_minimum_memory",),
        "gpu-capability": ("gpus_minimum_capability", "gpus_maximum_capability"),
        "gpu-runtime": ("gpus_minimum_runtime",),
        "cpus": ("request_cpus",),
        "memory": ("request_memory",),
        "disk": ("request_disk",),
        "time": ("allowed_execute_duration",),
        "account": ("accounting_group",),
        "outputs": ("transfer_output_files",),
        "retries": ("max_retries", "retry_until", "on_exit_remove", "success_exit_code"),
    },
}


def twins(scheduler: SchedulerName, given: Directives) -> Iterator[tuple[str, str]]:
    """Yield each key of a job, with a directive of `given` that asks `scheduler` for the same."""
    names = {name.lower() for name, value in given if value is not False}
    for key, same in _TWINS[scheduler].items():
        for name in same:
            other_things = key == "gpus" and scheduler == "slurm" and not asks_twice(given, name)
            if name in names and not other_things:
                yield key, name


def slurm_key(key: str) -> str:
    """Return the long name of an option of ``sbatch`` that a person may set, or ``+NAME`` for one that a plugin adds."""
    check_spelling(key, "sbatch", "constraint")
    if key in SLURM_REFUSED:
        raise ConfigError(f"not a free directive: {SLURM_REFUSED[key]}")
    if key in SBATCH or key.startswith(OF_A_PLUGIN):
        return key
    if key in SRUN:
        raise ConfigError(f"sbatch has no option --{key}, only srun does; write it into the job's table srun = {{ ... }}")
    raise ConfigError(unknown("sbatch", key, {name: SBATCH[name] for name in SBATCH.keys() - SLURM_REFUSED.keys()}))


def check_spelling(key: str, program: str, example: str) -> None:
    """Refuse, with `ConfigError`, what is spelt as no long option is, and as a plugin's option what Slurm has itself."""
    if not re.fullmatch(rf"[{OF_A_PLUGIN}]?[a-z][a-z0-9]+(-[a-z0-9]+)*", key):
        raise ConfigError(f'found {found(key)}; expected the long name of an option of {program}, such as "{example}"')
    plain = long_option(key)
    if key != plain and plain in SBATCH.keys() | SRUN.keys():
        raise ConfigError(f'found {found(key)}; "{OF_A_PLUGIN}" is for options of plugins, and Slurm itself has --{plain}')


def htcondor_key(key: str) -> str:
    """Return the name of a submit command, or of a job attribute as ``+Name`` or ``My.Name``."""
    if not re.fullmatch(r"(\+|[Mm][Yy]\.)?[A-Za-z_][A-Za-z0-9_]*", key):
        raise ConfigError(f'found {found(key)}; expected a submit command such as "rank", or "+Name" for a job attribute')
    plain = re.sub(r"^(\+|my\.)", "", key.lower())
    if plain in _HTCONDOR_REFUSED:
        raise ConfigError(f"not a free directive: {_HTCONDOR_REFUSED[plain]}")
    if plain != key.lower() and plain in _MADE_BY_COMMANDS:
        instead = _MADE_BY_COMMANDS[plain]
        raise ConfigError(
            f"not a free directive: {f'use the submit command {instead}' if instead else _WRITTEN}; "
            "as an attribute it would replace all that HTCondor makes of the job's other wishes"
        )
    if plain.startswith("hpcdeploy"):
        raise ConfigError("not a free directive: attributes of that name carry the run's id")
    return key


def slurm_value(value: object) -> str | bool:
    """Return an option's value; true is an option without one, false takes away what the cluster's defaults set."""
    if isinstance(value, bool):
        return value
    return _number_or_line(value)


def htcondor_value(value: object) -> str:
    """Return a submit command's value, as it stands: quote a string of the ClassAd language yourself."""
    if isinstance(value, bool):
        return "true" if value else "false"
    words = _number_or_line(value)
    if words.endswith("\\"):
        raise ConfigError(f"found {found(value)}; expected no backslash at the end: it would join the next line to this one")
    return words


def _number_or_line(value: object) -> str:
    if isinstance(value, int) and value.bit_length() <= 64:
        return str(value)
    return line(value)
