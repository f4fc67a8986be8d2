"""A cluster as its settings describe it: host, schedulers, and the site's conventions."""

from typing import Literal

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
class Cluster:
    """One cluster.

    Attributes:
        name: The cluster's name.
        host: A ``Host`` of the user's SSH configuration, or ``"local"``.
        schedulers: The schedulers, the default first.
        root: hpcdeploy's folder on the cluster, visible on login and compute nodes; ``$VAR`` is expanded on the login node.
        ssh_config: Another SSH configuration file, as for ``ssh -F``.
        transport: The SSH implementation: paramiko, or OpenSSH's own ssh, whose open connections are reused. ``auto``:
            OpenSSH if there is such a connection, or if only OpenSSH can log in.
        gpu_form: The site's way of requesting GPUs (Slurm rejects two at once).
        memory_form: The site's way of requesting memory (Slurm rejects two at once).
        gpu_vendor: The vendor of the GPUs that a job's container gets; ``auto``: the one whose driver is on the job's node.
        htcondor_container: The starter of the container: HTCondor's container universe, a worker that reads
            ``+SingularityImage``, or the job itself.
        apptainer: The program.
        setup: Shell lines that make Apptainer available (``module load apptainer``), for the login node and for jobs.
        poll_interval: Minimum time between two queries of job states, in seconds.
        binds: Folders to mount in every container.
        image_route: How an image in a registry gets to the cluster: pulled on the login node, streamed through hpcdeploy,
            or pulled in the job. ``auto``: pulled on the login node if possible, else streamed.
        image_cache: The folder of all images; empty for one in the root.
        image_cache_owners: Users, by name or id, whose image folder and images are accepted besides the user's own and
            root's.
        image_cache_size: Maximum size of the image cache in MiB; None for no limit.
        tmp: The folder for unfinished files; empty for one in the root.
        mirrors: Pairs of a registry and its replacement (``("ghcr.io", "localhost:5000")``).
        project: The folder of the project that uses the cluster, whose own templates replace the built-in ones; empty for
            none.
        of_project: The cluster is described by the settings of this project, not by the user's.
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
