"""Validate directives: options of the scheduler that the user sets in the tables ``slurm`` and ``htcondor``.

- An option that hpcdeploy always writes is rejected, and the message has the key to use instead.
- An option that requests the same thing as a key of the job (`twins`) is rejected only if the job also sets this key.
"""

import re
from collections.abc import Iterator, Mapping

from hpcdeploy.cluster import SchedulerName
from hpcdeploy.config.gres import requests_gpus_too
from hpcdeploy.config.reading import found
from hpcdeploy.config.slurm_options import OF_A_PLUGIN, SBATCH, SRUN, long_option, unknown
from hpcdeploy.config.validators import line
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Directives

_LOGS = "hpcdeploy writes output and errors to the run's folder; see them with: hpcdeploy logs"
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
    "comment": "hpcdeploy writes the run's id to it, to find the job again after a lost connection",
    "wait": "use: hpcdeploy wait",
    "wrap": "use the key command",
    "test-only": "use: hpcdeploy submit --dry-run",
    "clusters": "describe the other cluster as [clusters.NAME]",
    "mpi": "only srun has this option, not sbatch; use the key mpi",
    "cluster": "describe the other cluster as [clusters.NAME]",
    "autocomplete": "with this option sbatch submits no job",
    "external": "the job would run no program",
    "quiet": "sbatch would not print the job id",
    "help": "with this option sbatch submits no job",
    "usage": "with this option sbatch submits no job",
    "version": "with this option sbatch submits no job",
}
"""Options of sbatch(1) that users must not set, with the reason or with what to use instead."""

# Commands and statements of a submit file (condor_submit(1)) that users must not set, in lower case. HTCondor ignores the
# case of these names, so `htcondor_key` ignores it too.
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
    "log_xml": "hpcdeploy reads the run's states from HTCondor's job log, which must have the default format",
    "userlogusexml": "hpcdeploy reads the run's states from HTCondor's job log, which must have the default format",
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
        "hpcdeploy's submit description uses that name",
    ),
    **dict.fromkeys(
        ("if", "elif", "else", "endif", "include", "use", "warning"),
        "this name is a statement of the submit language, not a submit command",
    ),
}

# Attributes that condor_submit derives from submit commands (condor_submit -dry-run shows them), in lower case. The value is
# the submit command to use instead; empty if hpcdeploy writes this command. Users must not set these attributes, because a
# value that is set directly replaces the derived one: "+Requirements = true" silently removes the requirements for a
# container, memory and GPUs.
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


def twins(scheduler: SchedulerName, directives: Directives) -> Iterator[tuple[str, str]]:
    """Yield pairs of a job's key and a directive of `directives` that request the same thing from `scheduler`."""
    names = {name.lower() for name, value in directives if value is not False}
    for key, same in _TWINS[scheduler].items():
        for name in same:
            other_things = key == "gpus" and scheduler == "slurm" and not requests_gpus_too(directives, name)
            if name in names and not other_things:
                yield key, name


def slurm_key(key: str) -> str:
    """Return `key` after checks: a long option of ``sbatch``, or ``+NAME`` for an option of a plugin.

    Raises:
        ConfigError: `key` is malformed, ``sbatch`` has no such option, or users must not set the option.
    """
    check_spelling(key, "sbatch", "constraint")
    if key in SLURM_REFUSED:
        raise ConfigError(f"must not be set: {SLURM_REFUSED[key]}")
    if key in SBATCH or key.startswith(OF_A_PLUGIN):
        return key
    if key in SRUN:
        raise ConfigError(f"only srun has the option --{key}, not sbatch; set it in the job's table srun = {{ ... }}")
    raise ConfigError(unknown("sbatch", key, {name: SBATCH[name] for name in SBATCH.keys() - SLURM_REFUSED.keys()}))


def check_spelling(key: str, program: str, example: str) -> None:
    """Check the spelling of a long option; messages name the `program` and the `example` of an option.

    Raises:
        ConfigError: `key` is not spelt like a long option, or has the prefix for plugins although Slurm has the option.
    """
    if not re.fullmatch(rf"[{OF_A_PLUGIN}]?[a-z][a-z0-9]+(-[a-z0-9]+)*", key):
        raise ConfigError(f'found {found(key)}; expected the long name of an option of {program}, such as "{example}"')
    plain = long_option(key)
    if key != plain and plain in SBATCH.keys() | SRUN.keys():
        raise ConfigError(
            f'found {found(key)}; expected "{plain}", because Slurm itself has this option and "{OF_A_PLUGIN}" is for '
            "options of plugins"
        )


def htcondor_key(key: str) -> str:
    """Return `key` after checks: a submit command, or a job attribute as ``+Name`` or ``My.Name``.

    Raises:
        ConfigError: `key` is malformed, or users must not set this command or attribute.
    """
    if not re.fullmatch(r"(\+|[Mm][Yy]\.)?[A-Za-z_][A-Za-z0-9_]*", key):
        raise ConfigError(f'found {found(key)}; expected a submit command such as "rank", or "+Name" for a job attribute')
    plain = re.sub(r"^(\+|my\.)", "", key.lower())
    if plain in _HTCONDOR_REFUSED:
        raise ConfigError(f"must not be set: {_HTCONDOR_REFUSED[plain]}")
    if plain != key.lower() and plain in _MADE_BY_COMMANDS:
        instead = _MADE_BY_COMMANDS[plain]
        raise ConfigError(
            f"must not be set: {f'use the submit command {instead}' if instead else _WRITTEN}; "
            "the attribute would replace the value that HTCondor derives from submit commands"
        )
    if plain.startswith("hpcdeploy"):
        raise ConfigError("must not be set: hpcdeploy sets the attributes whose names start with hpcdeploy")
    return key


def slurm_value(value: object) -> str | bool:
    """Return the value of an option of ``sbatch`` or ``srun`` after checks.

    ``true`` means an option without a value. ``false`` removes an option that the cluster's defaults set.

    Raises:
        ConfigError: `value` is not a boolean, an integer of at most 64 bits, or a single line.
    """
    if isinstance(value, bool):
        return value
    return _number_or_line(value)


def htcondor_value(value: object) -> str:
    """Return a submit command's value as text, without adding quotes: users quote the strings of the ClassAd language.

    Raises:
        ConfigError: `value` is not a boolean, an integer of at most 64 bits, or a single line, or ends with a backslash.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    words = _number_or_line(value)
    if words.endswith("\\"):
        raise ConfigError(
            f"found {found(value)}; expected no backslash at the end, because HTCondor would read the next line as a part "
            "of this value"
        )
    return words


def _number_or_line(value: object) -> str:
    if isinstance(value, int) and value.bit_length() <= 64:
        return str(value)
    return line(value)
