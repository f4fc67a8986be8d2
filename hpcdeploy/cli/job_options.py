"""Define the options for a job as data, for ``render``, ``submit`` and ``rerun``."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from hpcdeploy.config.sweeps import parse_values
from hpcdeploy.errors import ConfigError


def _option(kind: Any, *names: str, words: str) -> Any:  # noqa: ANN401 - a type is a value here
    return Annotated[kind | None, typer.Option(*names, help=words, show_default=False, rich_help_panel="Job")]


_OPTIONS: dict[str, Any] = {
    "image": _option(str, "--image", words="Image of the project, path to a .sif, or oras:// reference."),
    "gpus": _option(int, "-G", "--gpus", words="GPUs per node."),
    "gpu_type": _option(str, "--gpu-type", words="GPU type, as the site names it (Slurm)."),
    "gpu_memory": _option(str, "--gpu-mem", "--gpu-memory", words='Minimum memory of each GPU, such as "40 GB" (HTCondor).'),
    "gpu_capability": _option(
        str, "--gpu-capability", words='Minimum compute capability or range: "8.0", "7.5-9.0" (HTCondor).'
    ),
    "gpu_runtime": _option(str, "--gpu-runtime", words='Minimum CUDA version of the driver, such as "12.4" (HTCondor).'),
    "cpus": _option(int, "--cpus", words="CPU cores per node."),
    "memory": _option(str, "--mem", "--memory", words='Memory per node, such as "32 GB".'),
    "time": _option(str, "-t", "--time", words='Time limit: "4 h", "1-12:00:00".'),
    "nodes": _option(int, "-N", "--nodes", words="Number of nodes (Slurm)."),
    "disk": _option(str, "--disk", words='Local disk per node, such as "10 GB".'),
    "partition": _option(str, "-p", "--partition", words="Partition (Slurm)."),
    "account": _option(str, "-A", "--account", words="Account to charge."),
    "qos": _option(str, "-q", "--qos", words="Quality of service (Slurm)."),
    "constraint": _option(str, "-C", "--constraint", words="Required node features (Slurm)."),
    "env": _option(list[str], "-e", "--env", words="Environment variable NAME=VALUE; may be repeated."),
    "bind": _option(list[str], "-B", "--bind", words="Bind mount SRC[:DEST[:ro]], as in apptainer; may be repeated."),
    "array": _option(str, "-a", "--array", words='Array tasks: "0-99", or "0-99%10" for at most 10 at once.'),
    "after": _option(list[str], "--after", words="Start after [afterok:|afterany:|afternotok:]JOB or RUN; may be repeated."),
    "sweep": _option(list[str], "--sweep", words="Sweep parameter NAME=A,B,C; repeat for all combinations."),
    "sweep_file": _option(str, "--sweep-file", words="One task per line of a .csv or .jsonl file of parameters."),
    "throttle": _option(int, "--throttle", words="Maximum number of tasks at once; 0: no limit."),
    "signal": _option(str, "--signal", words='Signal before the time limit, such as "USR1@5 min".'),
    "requeue": _option(bool, "--requeue/--no-requeue", words="Allow the site to restart the job, or forbid it."),
    "retries": _option(str, "--retries", words='Retries of a failed task: "3", or "3 on 75,76" for these exit codes only.'),
    "tasks_per_node": _option(int, "--tasks-per-node", words="Processes per node (Slurm)."),
    "launcher": _option(str, "--launcher", words="Process launcher: srun or torchrun (Slurm)."),
    "mpi": _option(str, "--mpi", words='MPI plugin of srun, such as "pmix" (Slurm).'),
    "workdir": _option(str, "-D", "--workdir", words="Working directory on the cluster."),
    "code": _option(str, "--code", words="Folder with code to upload."),
    "no_code": _option(bool, "--no-code", words="Upload no code, even if the job has some."),
    "outputs": _option(list[str], "--outputs", words="Pattern of files to fetch, such as 'plots/*.png'; may be repeated."),
    "input": _option(list[str], "--input", words="File or folder to upload, SRC[:DEST]; may be repeated."),
    "slurm": _option(list[str], "--slurm", words="Option of sbatch, KEY[=VALUE]; may be repeated."),
    "srun": _option(list[str], "--srun", words="Option of srun, KEY[=VALUE]; may be repeated."),
    "htcondor": _option(list[str], "--htcondor", words="Submit command of HTCondor, KEY=VALUE; may be repeated."),
}


_BY_HAND = {"env", "bind", "sweep_file", "code", "no_code", "input"}
"""Options that are not keys of a job."""


def takes_job_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Give `verb` one keyword for each option of a job instead of its ``**options``; typer reads the signature."""
    own = list(inspect.signature(verb).parameters.values())[:-1]
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in _OPTIONS.items()]
    verb.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]  # PEP 362
    verb.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *added)}
    return verb


def as_settings(options: Mapping[str, Any], command: Sequence[str]) -> dict[str, object]:
    """Convert options to the keys of ``[jobs.NAME]``.

    Raises:
        ConfigError: A pair has no ``=``, or options contradict each other.
    """
    plain = {name.replace("_", "-"): value for name, value in options.items() if name not in _BY_HAND}
    if options["no_code"] and options["code"]:
        raise ConfigError("on the command line: --code and --no-code contradict each other; expected one")
    return {
        **plain,
        "code": False if options["no_code"] else options["code"],
        "inputs": options["input"],
        "sweep": _sweep(options["sweep"], options["sweep_file"]),
        "environment": pairs(options["env"], "--env"),
        "binds": options["bind"],
        "slurm": _flags(options["slurm"]),
        "srun": _flags(options["srun"]),
        "htcondor": pairs(options["htcondor"], "--htcondor"),
        "command": list(command),
    }


def joined(first: Mapping[str, object], later: Mapping[str, object]) -> dict[str, object]:
    """Merge options given at two times: tables by name, binds one after the other; otherwise the later value wins."""
    both = dict(first)
    for key, value in later.items():
        if value in (None, [], {}, ()):
            continue
        before = both.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            both[key] = {**before, **value}
        elif key == "binds" and isinstance(before, list) and isinstance(value, list):
            both[key] = [*before, *value]
        else:
            both[key] = value
    return both


def _sweep(given: list[str] | None, file: str | None) -> dict[str, object]:
    """Convert the options of a sweep to its table; a file is relative to the working folder."""
    grid = {name: list(parse_values(values)) for name, values in pairs(given, "--sweep").items()}
    if given and len(grid) < len(given):
        raise ConfigError("on the command line: --sweep has a parameter twice; expected all its values in one, NAME=A,B,C")
    return {**({"grid": grid} if grid else {}), **({"file": str(Path(file).absolute())} if file else {})}


def pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """Parse arguments ``NAME=VALUE``.

    Raises:
        ConfigError: An argument has no ``=``.
    """
    pairs: dict[str, str] = {}
    for words in given or []:
        name, sign, value = words.partition("=")
        if not sign:
            raise ConfigError(f"on the command line: {option} {words!r} has no '='; expected NAME=VALUE")
        pairs[name] = value
    return pairs


def _flags(given: list[str] | None) -> dict[str, str | bool]:
    """Parse ``KEY[=VALUE]``: an option of sbatch may have no value."""
    split = (words.partition("=") for words in given or [])
    return {key.removeprefix("--"): value if sign else True for key, sign, value in split}
