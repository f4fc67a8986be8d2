"""A job: plain frozen values, independent of any scheduler."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hpcdeploy.parameters import Parameters

SignalName = Literal["USR1", "USR2", "TERM", "HUP"]
"""INT and QUIT are excluded: background processes of a script ignore them from the start (POSIX sh, 2.11)."""

Launcher = Literal["srun", "torchrun"]
"""The program that starts the processes of a job that has several."""

AfterKind = Literal["afterok", "afterany", "afternotok"]
"""How another run must end before one starts: successfully, in any way, or with a failure (``sbatch --dependency``)."""


@dataclass(frozen=True, kw_only=True)
class Bind:
    """A folder of the cluster that is mounted in the container.

    Attributes:
        source: A path on the compute node; ``$VAR`` is expanded there.
        destination: Its path in the container; if empty, the same.
        read_only: Mount it read-only.
    """

    source: str
    destination: str = ""
    read_only: bool = False


@dataclass(frozen=True, kw_only=True)
class Code:
    """A folder of this machine that is uploaded for a job as its code.

    Attributes:
        source: A path relative to the project's folder, or one that begins with ``/`` or ``~/``.
        destination: Its path for the program: absolute in the container, or relative to the working folder. If empty,
            ``/code``, or ``code`` if nothing can be mounted.
        limit: Maximum size in MiB; more is assumed to be a mistake.
    """

    source: str = "."
    destination: str = ""
    limit: int = 100


@dataclass(frozen=True, kw_only=True)
class Input:
    """A file or folder of this machine that is uploaded for a job; ``source`` and ``destination`` are as in `Code`."""

    source: str
    destination: str


@dataclass(frozen=True, kw_only=True)
class Array:
    """The tasks ``0 .. size - 1`` of a job.

    Attributes:
        size: The number of tasks.
        throttle: Maximum number of tasks that run at once; 0 for no limit.
        parameters: One row per task of a sweep.
        numbers: The task numbers that the program sees, in a run that repeats some tasks of another one; empty if they are
            ``0 .. size - 1``.
    """

    size: int
    throttle: int = 0
    parameters: Parameters | None = None
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class After:
    """Another run that must end first: ``what`` is a job of the project (its newest run), or the id of a run."""

    what: str
    kind: AfterKind = "afterok"


@dataclass(frozen=True, kw_only=True)
class Predecessor:
    """A run, by its id, that must end before another one starts; ``tasks`` is its number of tasks."""

    run_id: str
    kind: AfterKind
    tasks: int


@dataclass(frozen=True, kw_only=True)
class Signal:
    """A signal that the program gets ``before`` seconds before its time limit, so that it can save its work."""

    name: SignalName = "USR1"
    before: int = 60


@dataclass(frozen=True, kw_only=True)
class Retries:
    """The maximum number of restarts of a task, and the exit codes that cause one (empty: all except 0)."""

    max: int
    exit_codes: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Resources:
    """The resources that a job requests per node. None means the cluster's own default.

    Attributes:
        nodes: The number of nodes.
        gpus: The number of GPUs. 0 hides the GPUs of nodes that the job has for itself; None leaves them visible.
        gpu_type: The site's name of the GPU type.
        gpu_memory: Minimum memory of each GPU in MiB.
        gpu_capability: Minimum and maximum compute capability, as CUDA numbers it (``("8.0", "")``: no maximum).
        gpu_runtime: Minimum CUDA version that the driver must support.
        cpus: The number of CPUs.
        memory: Memory in MiB.
        time: Time limit in seconds.
        disk: Local disk space in MiB.
        partition: The partition.
        account: The account to charge.
        qos: The quality of service.
        constraint: Required node features.
    """

    nodes: int = 1
    gpus: int | None = None
    gpu_type: str | None = None
    gpu_memory: int | None = None
    gpu_capability: tuple[str, str] | None = None
    gpu_runtime: str | None = None
    cpus: int | None = None
    memory: int | None = None
    time: int | None = None
    disk: int | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None


Directives = tuple[tuple[str, str | bool], ...]
"""The user's own options for the scheduler: ``("constraint", "a100")``, ``("exclusive", True)``; True: without a value."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command in an image, with its resources and files.

    Attributes:
        name: The job's name.
        image: The name of an image in the project, a path to a ``.sif``, or an ``oras://`` reference.
        command: The arguments, which reach the program unchanged; if empty, the image's run script runs.
        resources: The resources.
        environment: Variables to set.
        binds: Folders to mount.
        array: The tasks, for an array.
        after: Runs that must end first.
        signal: A signal before the time limit.
        requeue: Whether the site may restart the job; None leaves that to the site.
        retries: Restarts after a failure.
        tasks_per_node: The number of processes on each node; None for one.
        launcher: The program that starts the processes; None for srun if there are several.
        mpi: The MPI plugin of srun.
        workdir: The working folder on the cluster (``$VAR`` is expanded there); empty for the run's own folder.
        code: The code to upload.
        inputs: Files and folders to upload.
        outputs: Patterns of the files in the working folder to download; empty for all.
        slurm: The user's own options of sbatch.
        srun: The user's own options of the srun that starts the processes.
        htcondor: The user's own submit commands.
    """

    name: str
    image: str
    command: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)
    environment: tuple[tuple[str, str], ...] = ()
    binds: tuple[Bind, ...] = ()
    array: Array | None = None
    after: tuple[After, ...] = ()
    signal: Signal | None = None
    requeue: bool | None = None
    retries: Retries | None = None
    tasks_per_node: int | None = None
    launcher: Launcher | None = None
    mpi: str | None = None
    workdir: str = ""
    code: Code | None = None
    inputs: tuple[Input, ...] = ()
    outputs: tuple[str, ...] = ()
    slurm: Directives = ()
    srun: Directives = ()
    htcondor: Directives = ()


@dataclass(frozen=True, kw_only=True)
class Request:
    """The settings and options of a submission, so that some of its tasks can be submitted again.

    Attributes:
        project: The project's folder.
        job: The job's name in the project; None for its only one.
        options: The command's options as given, by the keys of ``[jobs.NAME]``.
        array: The resulting tasks.
    """

    project: str
    job: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    array: Array | None = None
