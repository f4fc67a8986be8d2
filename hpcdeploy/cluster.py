"""Define the settings of a cluster: its host, its schedulers, and the conventions of its site."""

from typing import Literal

from hpcdeploy.architecture import Architecture
from hpcdeploy.frozen import frozen
from hpcdeploy.gpus import GpuVendorChoice
from hpcdeploy.job import Bind

SchedulerName = Literal["slurm", "htcondor"]
GpuForm = Literal["gres", "gpus-per-node", "gpus"]
MemoryForm = Literal["mem", "mem-per-cpu", "mem-per-gpu"]
HtcondorContainer = Literal["universe", "singularity-image", "apptainer"]
ImageRoute = Literal["auto", "login", "stream", "job"]
TransportName = Literal["auto", "paramiko", "openssh"]

LOCAL = "local"
"""The ``host`` of a cluster whose login node is this machine; no SSH is used."""


@frozen
class Nodes:
    """The processors of a cluster's nodes, as the cluster reports them.

    Attributes:
        login: The processor of the login node (``uname -m``); empty if unknown.
        processors: The processors of the nodes of each partition. HTCondor has no partitions; the name is empty.
        default: The partition of jobs that name none; empty if there is none.
    """

    login: str = ""
    processors: tuple[tuple[str, tuple[str, ...]], ...] = ()
    default: str = ""


@frozen
class Cluster:
    """The settings of one cluster.

    Attributes:
        name: The NAME in ``[clusters.NAME]``.
        host: A ``Host`` of the user's SSH configuration, or ``"local"``.
        schedulers: The names of the cluster's schedulers; the first one is the default.
        root: hpcdeploy's folder on the cluster, visible on login and compute nodes. ``$VAR`` is expanded on the login node.
        ssh_config: The SSH configuration file, as for ``ssh -F``; None for the default files.
        transport: The SSH implementation. ``paramiko`` is a Python library. ``openssh`` runs ssh, and reuses its open
            connections. ``auto`` uses OpenSSH if there is an open connection or if only OpenSSH can log in, else paramiko.
        gpu_form: The option of sbatch that requests GPUs. Slurm rejects a job with two of these options.
        memory_form: The option of sbatch that requests memory. Slurm rejects a job with two of these options.
        gpu_vendor: The vendor of the GPUs that a job's container gets. ``auto`` means the vendor whose driver is found on
            the job's node.
        htcondor_container: The program that starts containers under HTCondor. ``universe``: HTCondor's container universe;
            ``singularity-image``: a worker that reads ``+SingularityImage``; ``apptainer``: the job's own script.
        apptainer: The name or path of the Apptainer program on the cluster.
        setup: Shell lines that make Apptainer available (``module load apptainer``), for the login node and for jobs.
        poll_interval: Minimum time between two queries of job states, in seconds.
        binds: Folders to mount in every container.
        image_route: How an image in a registry gets to the cluster. ``login``: Apptainer pulls it on the login node;
            ``stream``: hpcdeploy downloads it and uploads it at the same time; ``job``: the job pulls it; ``auto``: like
            ``login``, and like ``stream`` if the login node cannot pull the image.
        image_cache: The folder for images on the cluster; empty for ``images`` in the root.
        image_cache_owners: Names or ids of users. Images and image folders that belong to them are accepted, in addition to
            those that belong to the user or to root.
        image_cache_size: Maximum size of the image cache in MiB; None for no limit.
        tmp: The folder for unfinished files on the cluster; empty for ``tmp`` in the root.
        mirrors: Pairs of a registry and the registry that replaces it (``("ghcr.io", "localhost:5000")``).
        platform: The architectures of the compute nodes, by partition; the name of all other nodes is empty. For partitions
            without an entry the scheduler is queried.
        project: The folder of the project that uses the cluster, whose templates replace the built-in ones; empty if there
            is no project.
        of_project: True if the project's settings define the cluster, false if the user's own settings do.
    """

    name: str
    host: str = LOCAL
    schedulers: tuple[SchedulerName, ...] = ("slurm",)
    root: str = "$SCRATCH/hpcdeploy"
    ssh_config: str | None = None
    transport: TransportName = "auto"
    gpu_form: GpuForm = "gres"
    memory_form: MemoryForm = "mem"
    gpu_vendor: GpuVendorChoice = "auto"
    htcondor_container: HtcondorContainer = "universe"
    apptainer: str = "apptainer"
    setup: tuple[str, ...] = ()
    poll_interval: int = 10
    binds: tuple[Bind, ...] = ()
    image_route: ImageRoute = "auto"
    image_cache: str = ""
    image_cache_owners: tuple[str, ...] = ()
    image_cache_size: int | None = None
    tmp: str = ""
    mirrors: tuple[tuple[str, str], ...] = ()
    platform: tuple[tuple[str, tuple[Architecture, ...]], ...] = ()
    project: str = ""
    of_project: bool = False

    @property
    def images_folder(self) -> str:
        """Return the folder of images, each named by its sha256; ``$VAR`` is expanded on the cluster."""
        return self.image_cache or f"{self.root}/images"

    @property
    def tmp_folder(self) -> str:
        """Return the folder for unfinished files; ``$VAR`` is expanded on the cluster."""
        return self.tmp or f"{self.root}/tmp"  # noqa: S108 - on the cluster, not on this machine
