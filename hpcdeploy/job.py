"""Define a job and its settings as frozen values that do not depend on the scheduler."""

from collections.abc import Mapping
from dataclasses import field
from functools import partial
from typing import Literal, get_args

from hpcdeploy.frozen import frozen
from hpcdeploy.job_field import Option, Setting, declare, settings_of
from hpcdeploy.parameters import Parameters

SignalName = Literal["USR1", "USR2", "TERM", "HUP"]
"""The signals that a job can get before its time limit.

INT and QUIT are excluded, because a shell starts background processes so that they ignore both signals (POSIX sh, 2.11).
"""

Launcher = Literal["srun", "torchrun"]
"""The program that starts the processes of a job with several processes."""

AfterKind = Literal["afterok", "afterany", "afternotok"]
"""The condition for the end of another run, with the names of ``sbatch --dependency``.

``afterok``: it must succeed; ``afterany``: it must end in any way; ``afternotok``: it must fail.
"""


@frozen
class Bind:
    """A folder of the cluster that is mounted in the container.

    Attributes:
        source: The path of the folder on the compute node. ``$VAR`` is expanded there.
        destination: The path at which it is mounted in the container; empty for the path in `source`.
        read_only: Whether the program cannot write to the folder.
    """

    source: str
    destination: str = ""
    read_only: bool = False


@frozen
class Code:
    """A folder of this machine that is uploaded as the code of a job.

    Attributes:
        source: A path relative to the project's folder, or one that begins with ``/`` or ``~/``.
        destination: The folder's path for the program: an absolute path in the container, or a path relative to the working
            folder. If empty, it is ``/code``; if HTCondor starts the container, it is ``code``, because then nothing can be
            mounted.
        limit: Maximum size in MiB; a larger folder is uploaded only if the user confirms it, because it was probably
            chosen by mistake.
    """

    source: str = "."
    destination: str = ""
    limit: int = 100


@frozen
class Input:
    """A file or folder of this machine that is uploaded for a job. The format of both paths is described in `Code`."""

    source: str
    destination: str


@frozen
class Array:
    """The tasks of a job. The scheduler numbers them from 0 to ``size - 1``.

    Attributes:
        size: The number of tasks.
        throttle: Maximum number of tasks that run at once; 0 for no limit.
        parameters: The parameters of a sweep, one row per task; None if the job has no sweep.
        numbers: The task number that the program of each task sees. It differs from the scheduler's number if the run
            repeats some tasks of another run. Empty if all numbers are equal.
    """

    size: int
    throttle: int = 0
    parameters: Parameters | None = None
    numbers: tuple[int, ...] = ()


@frozen
class After:
    """Another run that must end before the job starts. ``what`` is the id of the run, or a job whose newest run is meant."""

    what: str
    kind: AfterKind = "afterok"


@frozen
class Predecessor:
    """A run that must end before another run starts. ``tasks`` is the number of tasks of the run that must end first."""

    run_id: str
    kind: AfterKind
    tasks: int


@frozen
class Signal:
    """A signal that the program gets ``before`` seconds before its time limit, so that the program can save its work."""

    name: SignalName = "USR1"
    before: int = 60


@frozen
class Retries:
    """A failed task is restarted at most ``max`` times, and only after ``exit_codes`` (empty: all exit codes except 0)."""

    max: int
    exit_codes: tuple[int, ...] = ()


Directives = tuple[tuple[str, str | bool], ...]
"""Names and values of options of the scheduler that the user sets, such as ``("constraint", "a100")``.

The value True means an option without a value, such as ``("exclusive", True)``.
"""


@frozen
class SweepFile:
    """A sweep whose parameters are in a file, which is read at the submission. At most ``throttle`` tasks run at once."""

    path: str
    throttle: int = 0


@frozen
class ProgramFields:
    """Declare the settings for the image, the command and the files of a job. None means that a setting is not set."""

    image: str | None = declare(
        "line",
        "an image of the project, a path to a `.sif`, an `oras://` reference, or an address that HTCondor's workers"
        " fetch ([htcondor.md](htcondor.md)); default: the project's only image",
        Option("--image", "Image of the project, path to a .sif, or oras:// reference.", "image"),
    )
    command: tuple[str, ...] | None = declare(
        "command", "the program and its arguments, passed unchanged; default: the image's own command"
    )
    environment: tuple[tuple[str, str], ...] = declare(
        "environment",
        "variables that the program sees; variables that a shell manages itself, such as `UID` and `PPID`, are refused",
        Option("-e --env", "Environment variable NAME=VALUE; may be repeated.", "pairs"),
        merge="name",
        in_defaults=True,
    )
    binds: tuple[Bind, ...] = declare(
        "binds",
        'folders of the cluster that the container sees: `"/data"`, `"/data:/mnt"`, `"$SCRATCH/x:/mnt:ro"`, or a table',
        Option("-B --bind", "Bind mount SRC[:DEST[:ro]], as in apptainer; may be repeated.", "list"),
        merge="destination",
        in_defaults=True,
    )
    workdir: str | None = declare(
        "path",
        "working folder on the cluster; default: the run's own folder",
        Option("-D --workdir", "Working directory on the cluster."),
    )
    code: Code | Literal[False] | None = declare(
        "code",
        "the folder of your code, which is uploaded and mounted read-only at `/code`"
        " ([code-and-data.md](code-and-data.md)); `false`: upload no code",
        Option("--code", "Folder with code to upload.", "folder"),
        Option("--no-code", "Upload no code, even if the job has some.", "off"),
        merge="last or none",
    )
    inputs: tuple[Input, ...] = declare(
        "inputs",
        'files and folders of this machine to upload: `"data.csv"`, `"data.csv:in/data.csv"`, or a table',
        Option("--input", "File or folder to upload, SRC[:DEST]; may be repeated.", "sources"),
        merge="destination",
    )
    outputs: tuple[str, ...] | None = declare(
        "patterns",
        'files in the working folder to download: `["model.pt", "plots/*.png"]`; default: all files, if the working'
        " folder is the run's own folder",
        Option("--outputs", "Pattern of files to fetch, such as 'plots/*.png'; may be repeated.", "list"),
    )


_request = partial(declare, in_defaults=True)


@frozen
class ResourceFields:
    """Declare the settings for the resources of a job, per node. None means that a setting is not set.

    Sizes of memory and disk are in MiB, and times in seconds.
    """

    nodes: int | None = _request(
        "count",
        "number of nodes; default 1. `gpus`, `cpus`, `memory` and `disk` are amounts per node",
        Option("-N --nodes", "Number of nodes.", "number"),
        only="slurm",
    )
    gpus: int | None = _request(
        "gpu count",
        "number of GPUs; default: only the GPUs that `slurm` or `htcondor` request. With 0 the job requests no GPU. If"
        " it gets GPUs anyway, because no other job may use its nodes, the container does not see the GPUs",
        Option("-G --gpus", "GPUs per node.", "number"),
    )
    gpu_type: str | None = _request(
        "label",
        "GPU type, by the site's name for it",
        Option("--gpu-type", "GPU type, as the site names it."),
        only="slurm",
    )
    gpu_memory: int | None = _request(
        "amount",
        'minimum memory of each GPU: `"40 GB"`',
        Option("--gpu-mem --gpu-memory", 'Minimum memory of each GPU, such as "40 GB".'),
        only="htcondor",
    )
    gpu_capability: tuple[str, str] | None = _request(
        "capability",
        'minimum compute capability, or minimum and maximum: `"8.0"`, `"7.5-9.0"`',
        Option("--gpu-capability", 'Minimum compute capability or range: "8.0", "7.5-9.0".'),
        only="htcondor",
    )
    gpu_runtime: str | None = _request(
        "version",
        'minimum CUDA version that the node\'s driver must support: `"12.4"`',
        Option("--gpu-runtime", 'Minimum CUDA version of the driver, such as "12.4".'),
        only="htcondor",
    )
    cpus: int | None = _request("count", "number of CPU cores", Option("--cpus", "CPU cores per node.", "number"))
    memory: int | None = _request(
        "node memory",
        'amount of memory; for all memory of a node use `slurm = { mem = "0" }` instead',
        Option("--mem --memory", 'Memory per node, such as "32 GB".'),
    )
    time: int | None = _request(
        "time limit",
        'time limit; for the partition\'s own limit use `slurm = { time = "0" }` instead',
        Option("-t --time", 'Time limit: "4 h", "1-12:00:00".'),
    )
    disk: int | None = _request(
        "amount", "amount of local disk space", Option("--disk", 'Local disk per node, such as "10 GB".')
    )
    partition: str | None = _request("line", "partition", Option("-p --partition", "Partition."), only="slurm")
    account: str | None = _request(
        "line", "account to charge; on HTCondor the accounting group", Option("-A --account", "Account to charge.")
    )
    qos: str | None = _request("line", "quality of service", Option("-q --qos", "Quality of service."), only="slurm")
    constraint: str | None = _request(
        "line", "required node features", Option("-C --constraint", "Required node features."), only="slurm"
    )


@frozen
class SchedulingFields:
    """Declare the settings for the tasks and processes of a job. None means that a setting is not set."""

    array: Array | SweepFile | None = declare(
        "array",
        'tasks, numbered from 0: `100` or `"0-99"` (100 tasks), `"0-99%10"` (at most ten at once), `"0"` (one task, number'
        " 0), or a table",
        Option("-a --array", 'Array tasks: "0-99", or "0-99%10" for at most 10 at once.'),
        also=(
            Setting(
                key="sweep",
                value="sweep",
                meaning="one task for each combination of parameters; not together with `array` ([sweeps.md](sweeps.md))",
                options=(
                    Option("--sweep", "Sweep parameter NAME=A,B,C; repeat for all combinations.", "sweep"),
                    Option("--sweep-file", "One task per line of a .csv or .jsonl file of parameters.", "sweep file"),
                ),
            ),
            Setting(
                key="throttle",
                field="throttle",
                value="limit",
                meaning="",
                options=(Option("--throttle", "Maximum number of tasks at once; 0: no limit.", "number"),),
            ),
        ),
    )
    after: tuple[After, ...] | None = declare(
        "dependencies",
        'runs that must end first: `"prepare"`, `"afterany:prepare"` ([job-shapes.md](job-shapes.md))',
        Option("--after", "Start after [afterok:|afterany:|afternotok:]JOB or RUN; may be repeated.", "list"),
    )
    signal: Signal | None = declare(
        "signal",
        'sends the program a signal before the time limit: `"USR1@5 min"`. The default signal of `"5 min"` is USR1; the'
        ' default time of `"USR1"` is one minute',
        Option("--signal", 'Signal before the time limit, such as "USR1@5 min".', completions=get_args(SignalName)),
    )
    requeue: bool | None = declare(
        "flag",
        "whether the site may restart the job; default: the site's configuration",
        Option("--requeue/--no-requeue", "Allow the site to restart the job, or forbid it.", "flag"),
    )
    retries: Retries | None = declare(
        "retries",
        'maximum number of restarts of a failed task: `3`, `"3 on 75,76"` (only after these exit codes), or a table',
        Option("--retries", 'Retries of a failed task: "3", or "3 on 75,76" for these exit codes only.'),
    )
    tasks_per_node: int | None = declare(
        "count",
        "number of processes on each node; default 1",
        Option("--tasks-per-node", "Processes per node.", "number"),
        only="slurm",
    )
    launcher: Launcher | None = declare(
        "launcher",
        "program that starts the processes; default: srun if there are several processes",
        Option("--launcher", "Process launcher: srun or torchrun.", completions=get_args(Launcher)),
        only="slurm",
    )
    mpi: str | None = declare(
        "mpi plugin",
        'plugin of `srun --mpi`, such as `"pmix"`',
        Option("--mpi", 'MPI plugin of srun, such as "pmix".'),
        only="slurm",
    )
    slurm: Directives = declare(
        "sbatch options",
        "options of `sbatch` by long name. `true` is for an option without a value, `false` removes an option that the"
        ' cluster\'s defaults set, and `"+NAME"` is for an option that a plugin of the site adds',
        Option("--slurm", "Option of sbatch, KEY[=VALUE]; may be repeated.", "options"),
        merge="name",
        in_defaults=True,
    )
    srun: Directives = declare(
        "srun options",
        'options of the `srun` that starts the processes, written as in `slurm`: `{ cpu-bind = "cores", label = true }`'
        " ([job-shapes.md](job-shapes.md))",
        Option("--srun", "Option of srun, KEY[=VALUE]; may be repeated.", "options"),
        merge="name",
        in_defaults=True,
    )
    htcondor: Directives = declare(
        "submit commands",
        'submit commands, and job attributes as `"+Name"`; hpcdeploy passes them on unchanged',
        Option("--htcondor", "Submit command of HTCondor, KEY=VALUE; may be repeated.", "pairs"),
        merge="caseless name",
        in_defaults=True,
    )


SETTINGS = tuple(setting for fields in (ProgramFields, ResourceFields, SchedulingFields) for setting in settings_of(fields))
"""All keys of ``[jobs.NAME]``, and the settings that only command-line options can set."""


@frozen
class Resources(ResourceFields):
    """The resources that a job requests per node. None means that the cluster's default applies.

    Two values need an explanation. A job that has its nodes exclusively sees all their GPUs if ``gpus`` is None, and none of
    them if ``gpus`` is 0. ``gpu_capability`` is a pair of minimum and maximum; ``("8.0", "")`` has no maximum.
    """

    nodes: int = 1


@frozen
class Job(ProgramFields, SchedulingFields):
    """A command that runs in an image, with its resources and files.

    ``image`` is the name of an image in the project, a path to a ``.sif``, or a reference. If ``command`` is empty, the run
    script of the image runs. ``workdir`` is a path on the cluster, in which ``$VAR`` is expanded; if it is empty, the job
    runs in the folder of the run.
    """

    name: str
    image: str = field()  # required here, but optional in `ProgramFields`
    command: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)
    array: Array | None = None
    after: tuple[After, ...] = ()
    workdir: str = ""
    code: Code | None = None
    outputs: tuple[str, ...] = ()


@frozen
class Request:
    """The user's request of a submission. It is recorded, so that some tasks of the run can be submitted again.

    Attributes:
        project: The path of the project's folder.
        job: The NAME of ``[jobs.NAME]``; None if the user gave no name because the project has only one job.
        options: The values of the command-line options, by the keys of ``[jobs.NAME]``.
        array: The tasks of the run; None if it has a single task.
    """

    project: str
    job: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    array: Array | None = None
