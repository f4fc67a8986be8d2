"""What is to run: plain frozen values that say nothing of any scheduler's words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hpcdeploy.parameters import Parameters

SignalName = Literal["USR1", "USR2", "TERM", "HUP"]
"""Not INT and QUIT: what a script starts in the background ignores them from its birth (POSIX sh, 2.11)."""

Launcher = Literal["srun", "torchrun"]
"""What starts the processes of a job that has several."""

AfterKind = Literal["afterok", "afterany", "afternotok"]
"""On which end of another run one may start: a good one, any, a bad one (``sbatch --dependency``)."""


@dataclass(frozen=True, kw_only=True)
class Bind:
    """A folder of the cluster that the container sees.

    ``source`` is a path on the compute node and may hold ``$VAR``, expanded there; ``destination`` is its place in the
    container, the same where it is empty.
    """

    source: str
    destination: str = ""
    read_only: bool = False


@dataclass(frozen=True, kw_only=True)
class Code:
    """A folder of this machine that a job brings along, for its program to run.

    ``source`` is relative to the project's folder, or from ``/`` or ``~/`` on. ``destination`` is where the program finds
    it: absolute in the container, or relative to the working folder; empty: ``/code``, and ``code`` where nothing can be
    mounted. More than ``limit`` (in MiB) is taken for a mistake.
    """

    source: str = "."
    destination: str = ""
    limit: int = 100


@dataclass(frozen=True, kw_only=True)
class Input:
    """A file or folder of this machine that a job brings along; ``source`` and ``destination`` as in `Code`."""

    source: str
    destination: str


@dataclass(frozen=True, kw_only=True)
class Array:
    """Tasks ``0 .. size - 1``, at most ``throttle`` of them at once (0: as many as there is room for).

    ``parameters`` has a row for each task of a sweep. ``numbers`` are those by which the program knows the tasks, where they
    are not their own: in a run that repeats some tasks of another one.
    """

    size: int
    throttle: int = 0
    parameters: Parameters | None = None
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class After:
    """Another run that must end first: ``what`` is a job of the project, meaning its newest run, or the id of a run."""

    what: str
    kind: AfterKind = "afterok"


@dataclass(frozen=True, kw_only=True)
class Predecessor:
    """A run, by its id, that must end before another one starts; ``tasks`` is how many tasks it has."""

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
    """How often a task is started again at most, and on which exit codes only (none: on every one but 0)."""

    max: int
    exit_codes: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a job asks of the cluster, per node. None leaves the cluster's own default in force.

    ``gpus`` of 0 keeps GPUs from a job that has its nodes for itself. None: it has those that are there.
    ``memory`` is in MiB, ``time`` in seconds. ``gpu_memory`` is the least that each GPU has, in MiB; ``gpu_capability`` the
    least and the most that it can do, in CUDA's own versions (``("8.0", "")``: no upper bound); ``gpu_runtime`` the version
    of CUDA that its driver must know.
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
"""Free words for the scheduler: ``("constraint", "a100")``, ``("exclusive", True)``; the value True stands for no value."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command in an image, with what it needs.

    ``command`` reaches the program word by word, exactly as it stands; where it is empty, the image's own run script
    decides. ``workdir`` is the working folder on the cluster (``$VAR`` expanded there); empty means the run's own folder.
    ``requeue`` says whether the site may start it again; None leaves that to the site. ``tasks_per_node`` processes run on
    each node, started by ``launcher``, with the MPI plugin ``mpi`` of srun; None: one, and srun where there are several.
    ``srun`` are options of the srun that starts them, and of that one only.
    ``image`` is the name of an image in the project, a path to a ``.sif``, or an ``oras://`` reference. ``code`` and
    ``inputs`` are brought along from this machine; ``outputs`` are patterns of files in the working folder that are to come
    home, all where it is empty.
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
    """The words by which a run was asked for, so that some of its tasks can be asked for again.

    ``project`` is the project's folder, ``job`` the job's name there (None: its only one). ``options`` are those of the
    command by the keys of ``[jobs.NAME]``, as they were given. ``array`` is what came of it all.
    """

    project: str
    job: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    array: Array | None = None
