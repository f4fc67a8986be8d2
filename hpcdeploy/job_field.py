"""Describe the settings of a job as data.

A field of a job is declared once, in `hpcdeploy.job`. All else derives from it: the keys of the settings files and their
parsers (`hpcdeploy.config.job_schema`), the command's options (`hpcdeploy.cli.job_options`), how settings of several sources
are merged (`hpcdeploy.config.resolution`), and the tables of ``docs/configuration.md``.
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
"""How a value is written and checked; `hpcdeploy.config.job_schema.VALUES` has the parser of each.

Amounts become MiB, and times seconds.
"""

Form = Literal[
    "text", "number", "flag", "list", "pairs", "options", "sweep", "sweep file", "off", "image", "folder", "sources"
]
"""The kind of an option's value.

``list`` may be repeated; so may ``pairs`` (NAME=VALUE), ``options`` (KEY[=VALUE]) and ``sweep`` (NAME=A,B,C), which become a
table. ``sweep file``, ``folder``, an ``image`` that is a ``.sif``, and the sources (SRC[:DEST]) of ``sources``, which may be
repeated, are paths of this machine, relative to the current folder. ``off`` has no value, and sets its key to false.
"""

Merge = Literal["last", "last or none", "name", "caseless name", "destination"]
"""How the values of a cluster's defaults, ``[jobs.NAME]`` and the options are merged.

``last``: the latest. ``last or none``: the same, and false removes earlier ones. ``name``: entry by entry, and false removes
an earlier entry; ``caseless name``: the same without regard to case. ``destination``: by the path in the container.
"""


class Option(NamedTuple):
    """A command-line option of a job.

    Attributes:
        names: Its names, separated by spaces. The last one also names the parameter: ``--gpu-mem --gpu-memory``.
        help: Its help text, without the schedulers that support it.
        form: The kind of its value.
        completions: Words that a shell completes.
    """

    names: str
    help: str
    form: Form = "text"
    completions: tuple[str, ...] = ()

    @property
    def parameter(self) -> str:
        """The name of its value: ``gpu_memory``."""
        return self.names.split()[-1].partition("/")[0].removeprefix("--").replace("-", "_")


class Setting(NamedTuple):
    """A key of ``[jobs.NAME]``.

    Attributes:
        value: How its value is written.
        meaning: Its text in ``docs/configuration.md``; if empty, it can only be set by an option.
        key: Its name; if empty, that of its field with dashes.
        field: The field that it sets; if empty, the one that it is declared with.
        options: Its options.
        only: The scheduler that supports it; None if all do.
        merge: How its values are merged.
        in_defaults: Whether a cluster's defaults may set it.
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
    """Declare a field of a dataclass with its key in ``[jobs.NAME]`` (see `Setting`).

    `also` are further keys that set this field, or the one that they name. A field whose entries are merged is empty by
    default; any other is None.
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
