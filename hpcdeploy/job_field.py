"""Describe the settings of a job as data.

`hpcdeploy.job` declares each setting of a job once. The following are derived from these declarations:

- the keys of the settings files and their parsers (`hpcdeploy.config.job_schema`)
- the options of the commands (`hpcdeploy.cli.job_options`)
- how the settings of several sources are merged (`hpcdeploy.config.resolution`)
- the tables in ``docs/configuration.md``
"""

from dataclasses import field, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from hpcdeploy.cluster import SchedulerName

ValueName = Literal[
    "amount", "array", "binds", "capability", "code", "command", "count", "dependencies", "environment", "flag",
    "gpu count", "inputs", "label", "launcher", "limit", "line", "mpi plugin", "node memory", "path", "patterns",
    "retries", "sbatch options", "signal", "srun options", "submit commands", "sweep", "time limit", "version",
]  # fmt: skip
"""The format of a setting's value. `hpcdeploy.config.job_schema.VALUES` has a parser for each format.

The parser converts an amount of memory or disk to MiB, and a time to seconds.
"""

Form = Literal[
    "text", "number", "flag", "list", "pairs", "options", "sweep", "sweep file", "off", "image", "folder", "sources"
]
"""The format of the value of a command-line option.

- ``text``, ``number``: one value.
- ``flag``: no value; the option sets its key to true, or its negation (``--no-...``) sets the key to false.
- ``off``: no value; the option sets its key to false.
- ``list``: a text. The option may be repeated.
- ``pairs`` (NAME=VALUE), ``options`` (KEY[=VALUE]), ``sweep`` (NAME=A,B,C): an entry of a table. The option may be repeated.
- ``sweep file``, ``folder``: a path on this machine, relative to the current folder.
- ``image``: the name or reference of an image, or the path of a ``.sif`` on this machine, relative to the current folder.
- ``sources``: SRC[:DEST], where SRC is a path on this machine, relative to the current folder. The option may be repeated.
"""

Merge = Literal["last", "last or none", "name", "caseless name", "destination"]
"""How the values of three sources are merged: a cluster's defaults, then ``[jobs.NAME]``, then the command-line options.

- ``last``: the value of the last source that sets it.
- ``last or none``: like ``last``, but false removes the values of earlier sources.
- ``name``: the entries of all sources. An entry replaces an earlier one of the same name, and false removes it.
- ``caseless name``: like ``name``, but names that differ only in case are the same.
- ``destination``: the entries of all sources. An entry replaces an earlier one with the same path in the container.
"""


class Option(NamedTuple):
    """A command-line option that sets a value of a job.

    Attributes:
        names: The names of the option, separated by spaces, such as ``--gpu-mem --gpu-memory``. `parameter` is derived from
            the last name.
        help: The help text, without the names of the schedulers that support the option.
        form: The format of the option's value.
        completions: The values that a shell completes.
    """

    names: str
    help: str
    form: Form = "text"
    completions: tuple[str, ...] = ()

    @property
    def parameter(self) -> str:
        """The name of the Python parameter that gets the option's value, such as ``gpu_memory``."""
        return self.names.split()[-1].partition("/")[0].removeprefix("--").replace("-", "_")


class Setting(NamedTuple):
    """A setting of a job: a key of ``[jobs.NAME]``, or a value that only command-line options can set.

    Attributes:
        value: The format of the value.
        meaning: The description in ``docs/configuration.md``; empty if only command-line options can set the value.
        key: The name of the key; empty for the name of the field, with dashes instead of underscores.
        field: The name of the field that the setting sets; empty for the field with which the setting is declared.
        options: The command-line options that set the value.
        only: The scheduler that supports the setting; None if all schedulers do.
        merge: How the values of several sources are merged.
        in_defaults: Whether ``[clusters.NAME.defaults]`` may contain the key.
    """

    value: ValueName
    meaning: str
    key: str = ""
    field: str = ""
    options: tuple[Option, ...] = ()
    only: "SchedulerName | None" = None
    merge: Merge = "last"
    in_defaults: bool = False


def declare(
    value: ValueName,
    meaning: str,
    *options: Option,
    only: "SchedulerName | None" = None,
    merge: Merge = "last",
    in_defaults: bool = False,
    also: tuple[Setting, ...] = (),
) -> Any:  # noqa: ANN401 - as for dataclasses.field: of any field's type
    """Declare a field of a dataclass, with its key in ``[jobs.NAME]`` and its options.

    The arguments are the attributes of `Setting`. `also` contains further settings; each sets this field, or the field that
    it names. The default of a field is ``()`` if the entries of several sources are merged, and None otherwise.
    """
    default = None if merge in ("last", "last or none") else ()
    setting = Setting(value=value, meaning=meaning, options=options, only=only, merge=merge, in_defaults=in_defaults)
    return field(default=default, metadata={"settings": (setting, *also)})


def settings_of(declaration: type) -> tuple[Setting, ...]:
    """Return the settings of a dataclass whose fields were declared with `declare`."""
    return tuple(
        setting._replace(field=setting.field or one.name, key=setting.key or one.name.replace("_", "-"))
        for one in fields(declaration)
        for setting in one.metadata.get("settings", ())
    )
