"""Define the keys of ``[jobs.NAME]`` and how their values are read; options of a command are read by the same rules."""

from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

from hpcdeploy.config.directives import htcondor_key, htcondor_value, slurm_key, slurm_value
from hpcdeploy.config.image_schema import COMMAND, ENVIRONMENT, LINE
from hpcdeploy.config.job_files import CODE, INPUTS, OUTPUTS
from hpcdeploy.config.project import JobSettings, job_settings
from hpcdeploy.config.reading import Either, Key, Kind, Leaf, ListOf, MapOf, Report, Table, read
from hpcdeploy.config.srun import srun_key
from hpcdeploy.config.sweeps import parameter_name, sweep, sweep_file
from hpcdeploy.config.sweeps import value as parameter_value
from hpcdeploy.config.task_layout import (
    AFTER,
    RETRIES,
    exit_code,
    mpi_plugin,
    parse_after,
    parse_retries,
    parse_signal,
    retries,
)
from hpcdeploy.config.validators import (
    ARRAY,
    BIND,
    FLAG,
    LARGEST,
    array,
    bind,
    capability,
    cluster_path,
    gpu_count,
    image_path,
    label,
    memory,
    node_memory,
    number,
    one_of,
    parse_array,
    parse_bind,
    time_limit,
    version,
)
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import SETTINGS, Launcher
from hpcdeploy.job_field import ValueName


def _array_or_sweep(values: dict[str, Any]) -> object:
    if "array" in values and "sweep" in values:
        raise ConfigError(
            "both array and sweep are set; expected one, because a sweep is an array with one task for each combination"
        )
    if "sweep" in values:
        values["array"] = values.pop("sweep")
    return values


PARAMETER = Leaf(parameter_value, {"type": ["string", "number", "boolean"]})
DIRECTIVE = Leaf(slurm_value, {"type": ["string", "integer", "boolean"]})
SUBMIT_COMMAND = Leaf(htcondor_value, DIRECTIVE.accepts)
EXIT_CODE = Leaf(exit_code, {"type": "integer", "minimum": 1, "maximum": 255})
GPU_COUNT = Leaf(gpu_count, {"type": ["integer", "string"], "minimum": 0, "maximum": LARGEST, "pattern": "^[0-9]{1,9}$"})
BIND_TABLE = Table(
    (
        Key(name="source", kind=Leaf(cluster_path), required=True),
        Key(name="destination", kind=Leaf(image_path)),
        Key(name="read-only", kind=FLAG),
    ),
    lambda values: bind(values["source"], values.get("destination", ""), read_only=values.get("read-only", False)),
)
BINDS = ListOf(Either({str: Leaf(parse_bind), dict: BIND_TABLE}, BIND), f"a list, each item {BIND}")
ARRAY_TABLE = Table(
    (Key(name="size", kind=number(1), required=True), Key(name="throttle", kind=number(0))),
    lambda values: array(values["size"], values.get("throttle", 0)),
)
AFTER_LIST = ListOf(Leaf(parse_after), f"a list, each item {AFTER}")
AFTER_KIND: Kind = Either({str: Leaf(lambda words: (parse_after(words),)), list: AFTER_LIST}, f"{AFTER}, or a list")
SWEEP = Table(
    (
        Key(
            name="grid",
            kind=MapOf(
                parameter_name,
                ListOf(PARAMETER, "a list of values", least=1),
                "a table of lists, such as { lr = [0.1, 0.01], seed = [1, 2, 3] }",
            ),
        ),
        Key(
            name="list",
            kind=ListOf(
                MapOf(parameter_name, PARAMETER, "a table of values, such as { lr = 0.1 }"),
                "a list of tables, such as [{ lr = 0.1 }, { lr = 0.01 }]",
                least=1,
            ),
        ),
        Key(name="file", kind=Leaf(sweep_file)),
        Key(name="throttle", kind=number(0)),
    ),
    sweep,
)
RETRIES_TABLE = Table(
    (
        Key(name="max", kind=number(1), required=True),
        Key(name="exit-codes", kind=ListOf(EXIT_CODE, "a list of exit codes, such as [75]", least=1)),
    ),
    lambda values: retries(values["max"], values.get("exit-codes", ())),
)
RETRIES_KIND: Kind = Either({int: Leaf(retries), str: Leaf(parse_retries), dict: RETRIES_TABLE}, RETRIES)
ARRAY_KIND: Kind = Either({int: Leaf(array), str: Leaf(parse_array), dict: ARRAY_TABLE}, ARRAY)


class Value(NamedTuple):
    """How a value is read (`kind`), and the name of its type in ``docs/configuration.md`` (`type_name`)."""

    kind: Kind
    type_name: str


VALUES: dict[ValueName, Value] = {
    "amount": Value(Leaf(memory), "amount"),
    "array": Value(ARRAY_KIND, "number, string or table"),
    "binds": Value(BINDS, "list"),
    "capability": Value(Leaf(capability), "version or range"),
    "code": Value(CODE, "path here, table, or false"),
    "command": Value(COMMAND, "list of words"),
    "count": Value(number(1), "whole number"),
    "dependencies": Value(AFTER_KIND, "string, or list"),
    "environment": Value(ENVIRONMENT, "table of strings"),
    "flag": Value(FLAG, "true or false"),
    "gpu count": Value(GPU_COUNT, "whole number"),
    "inputs": Value(INPUTS, "list"),
    "label": Value(Leaf(label), "word"),
    "launcher": Value(one_of(get_args(Launcher)), '`"srun"` or `"torchrun"`'),
    "limit": Value(number(0), "whole number"),
    "line": Value(LINE, "string"),
    "mpi plugin": Value(Leaf(mpi_plugin), "word"),
    "node memory": Value(Leaf(node_memory), "amount"),
    "path": Value(Leaf(cluster_path), "path on the cluster"),
    "patterns": Value(OUTPUTS, "list of patterns"),
    "retries": Value(RETRIES_KIND, "number, string or table"),
    "sbatch options": Value(MapOf(slurm_key, DIRECTIVE, "a table of options of sbatch"), "table"),
    "signal": Value(Leaf(parse_signal), "string"),
    "srun options": Value(MapOf(srun_key, DIRECTIVE, "a table of options of srun"), "table"),
    "submit commands": Value(MapOf(htcondor_key, SUBMIT_COMMAND, "a table of submit commands"), "table"),
    "sweep": Value(SWEEP, "table"),
    "time limit": Value(Leaf(time_limit), "time"),
    "version": Value(Leaf(version), "version"),
}

_KEYS = {setting: Key(name=setting.key, kind=VALUES[setting.value].kind, meaning=setting.meaning) for setting in SETTINGS}

JOB = Table(tuple(key for setting, key in _KEYS.items() if setting.meaning), _array_or_sweep)

DEFAULTS = Table(tuple(key for setting, key in _KEYS.items() if setting.in_defaults))
"""The keys that the table ``defaults`` of a cluster may have."""

OPTIONS = Table(tuple(_KEYS.values()), _array_or_sweep)
"""The keys that options of a command may set: all keys, including those that a settings file must not have."""


def read_options(given: Mapping[str, object]) -> JobSettings:
    """Parse the values of options, by the key of ``[jobs.NAME]``.

    Args:
        given: The values by key; None, an empty list and an empty table mean that the option was not given.

    Raises:
        ConfigError: Options are invalid; the message lists all problems.
    """
    report = Report(file="on the command line")
    options = {key: value for key, value in given.items() if value is not None and value not in ([], {}, ())}
    values = read(OPTIONS, options, report)
    report.raise_problems()
    return job_settings(values)
