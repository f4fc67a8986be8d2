"""The options that say what a job is, as data: ``render`` and ``submit`` take the same ones."""

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
    "image": _option(str, "--image", words="An image of the project, or oras://..."),
    "gpus": _option(int, "-G", "--gpus", words="GPUs on each node."),
    "gpu_type": _option(str, "--gpu-type", words="Which GPUs, in the site's words (Slurm)."),
    "gpu_memory": _option(str, "--gpu-mem", "--gpu-memory", words='Memory of each GPU: "40 GB" (HTCondor).'),
    "gpu_capability": _option(str, "--gpu-capability", words='Least compute capability: "8.0", or "7.5-9.0" (HTCondor).'),
    "gpu_runtime": _option(str, "--gpu-runtime", words='CUDA version that the driver must know: "12.4" (HTCondor).'),
    "cpus": _option(int, "--cpus", words="CPUs on each node."),
    "memory": _option(str, "--mem", "--memory", words='Memory on each node: "32 GB".'),
    "time": _option(str, "-t", "--time", words='How long at most: "4 h", "1-12:00:00".'),
    "nodes": _option(int, "-N", "--nodes", words="How many nodes (Slurm)."),
    "disk": _option(str, "--disk", words='Disk on the node: "10 GB".'),
    "partition": _option(str, "-p", "--partition", words="Slurm's partition."),
    "account": _option(str, "-A", "--account", words="Who pays."),
    "qos": _option(str, "-q", "--qos", words="Slurm's quality of service."),
    "constraint": _option(str, "-C", "--constraint", words="Slurm's node features."),
    "env": _option(list[str], "-e", "--env", words="NAME=VALUE for the program; again for more."),
    "bind": _option(list[str], "-B", "--bind", words="SRC[:DEST[:ro]], as apptainer has it; again for more (Slurm)."),
    "array": _option(str, "-a", "--array", words='Tasks: "0-99", or "0-99%10" for ten at once.'),
    "after": _option(
        list[str], "--after", words="A job or a run to end well first; afterany:, afternotok: before it; again for more."
    ),
    "sweep": _option(list[str], "--sweep", words="A parameter and its values, NAME=A,B,C; again for all combinations."),
    "sweep_file": _option(str, "--sweep-file", words="A task for each line of a .csv or .jsonl file of parameters."),
    "throttle": _option(int, "--throttle", words="Tasks at once at most; 0: no limit."),
    "signal": _option(str, "--signal", words='Warn the program before its time limit: "USR1@5 min".'),
    "requeue": _option(bool, "--requeue/--no-requeue", words="Whether the site may start it again."),
    "retries": _option(str, "--retries", words='Start a failed task again: "3", or "3 on 75,76" for these exit codes.'),
    "tasks_per_node": _option(int, "--tasks-per-node", words="Processes on each node (Slurm)."),
    "launcher": _option(str, "--launcher", words="What starts them: srun or torchrun (Slurm)."),
    "mpi": _option(str, "--mpi", words='The plugin of srun for MPI: "pmix" (Slurm).'),
    "workdir": _option(str, "-D", "--workdir", words="The working folder on the cluster."),
    "code": _option(str, "--code", words="The folder of your code to bring along."),
    "no_code": _option(bool, "--no-code", words="Bring no code, whatever the job says."),
    "outputs": _option(list[str], "--outputs", words="What comes home, a pattern: 'plots/*.png'; again for more."),
    "input": _option(list[str], "--input", words="A file or folder to bring along, SRC[:PLACE]; again for more."),
    "slurm": _option(list[str], "--slurm", words="Any option of sbatch, KEY[=VALUE]; again for more."),
    "srun": _option(list[str], "--srun", words="An option of srun alone, KEY[=VALUE]; again for more."),
    "htcondor": _option(list[str], "--htcondor", words="Any submit command, KEY=VALUE; again for more."),
}


_BY_HAND = {"env", "bind", "sweep_file", "code", "no_code", "input"}
"""Options that are no key of a job as they stand."""


def takes_job_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Give `verb` one keyword for each option of a job, in place of its ``**options``; typer reads the signature."""
    own = list(inspect.signature(verb).parameters.values())[:-1]
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in _OPTIONS.items()]
    verb.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]  # PEP 362
    verb.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *added)}
    return verb


def as_settings(options: Mapping[str, Any], command: Sequence[str]) -> dict[str, object]:
    """Write options as the keys of ``[jobs.NAME]``; raises `ConfigError` for a pair without its ``=``."""
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
    """Join options given at two times: tables by name, binds one behind the other, of all else the later counts."""
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
    """Write the options of a sweep as its table; a file is relative to the working folder, as on every command line."""
    grid = {name: list(parse_values(values)) for name, values in pairs(given, "--sweep").items()}
    if given and len(grid) < len(given):
        raise ConfigError("on the command line: --sweep names a parameter twice; expected its values after one, NAME=A,B,C")
    return {**({"grid": grid} if grid else {}), **({"file": str(Path(file).absolute())} if file else {})}


def pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """Read ``NAME=VALUE`` words; raises `ConfigError` for one without its ``=``."""
    pairs: dict[str, str] = {}
    for words in given or []:
        name, sign, value = words.partition("=")
        if not sign:
            raise ConfigError(f"on the command line: {option} {words!r} has no '='; expected NAME=VALUE")
        pairs[name] = value
    return pairs


def _flags(given: list[str] | None) -> dict[str, str | bool]:
    """Read ``KEY[=VALUE]``: an option of sbatch may stand alone."""
    split = (words.partition("=") for words in given or [])
    return {key.removeprefix("--"): value if sign else True for key, sign, value in split}
