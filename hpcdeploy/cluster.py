"""A cluster as a person describes it: where it is, what schedules it, and the site's own ways."""

from dataclasses import dataclass
from typing import Literal

from hpcdeploy.gpus import GpuVendorChoice
from hpcdeploy.job import Bind

SchedulerName = Literal["slurm", "htcondor"]
GpuForm = Literal["gres", "gpus-per-node", "gpus"]
MemoryForm = Literal["mem", "mem-per-cpu", "mem-per-gpu"]
HtcondorContainer = Literal["universe", "singularity-image", "apptainer"]
ImageRoute = Literal["auto", "login", "stream", "job"]
TransportName = Literal["auto", "paramiko", "openssh"]

LOCAL = "local"
"""The ``host`` of a cluster whose login node is this machine: no SSH is used."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """One cluster.

    ``host`` is any ``Host`` of the person's SSH configuration, or ``"local"``; ``ssh_config`` names another configuration
    file, as ``ssh -F`` does. ``transport`` says who speaks SSH: paramiko, or OpenSSH's own ssh, on whose open connections
    hpcdeploy rides; ``auto``: OpenSSH where such a connection is there, or where it alone can get in. ``schedulers`` are
    those it has, the default first. ``root`` is hpcdeploy's folder there, seen by login and compute nodes alike; ``$VAR``
    in it is expanded on the login node. ``gpu_form`` and ``memory_form`` choose the one way of asking that the site wants
    (Slurm refuses two at once). ``gpu_vendor`` is whose GPUs a job's container is given; ``auto``: those whose driver is on
    the job's node. ``htcondor_container`` is who starts the container: HTCondor's container universe, a
    worker that reads ``+SingularityImage``, or the job itself. ``setup`` are shell lines that bring Apptainer into reach
    (``module load apptainer``), run on the login node and in jobs. ``apptainer`` is the program.
    ``poll_interval`` is the least time between two questions of where jobs are, in seconds. ``image_route`` is how an
    image of a registry gets here: pulled on the login node, streamed through hpcdeploy, pulled in the job; ``auto``: pulled
    on the login node where it can be, else streamed. ``image_cache`` is the folder of all images, ``tmp`` the one for what
    is not finished (empty: in the root); ``image_cache_owners`` are users, by name or number, whose images and folder of
    images are accepted besides one's own and root's; ``image_cache_size`` is in MiB, None: no limit. ``mirrors`` say which
    registry to ask in place of another (``("ghcr.io", "localhost:5000")``). ``project`` is the folder of the
    project in which the cluster is used, whose own templates hold (empty: none); ``of_project`` says that this project's
    settings describe the cluster, and not the person's.
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
        """The folder where images lie, each under its sha256; ``$VAR`` is expanded there."""
        return self.image_cache or f"{self.root}/images"

    @property
    def tmp_folder(self) -> str:
        """The folder for what is not finished; ``$VAR`` is expanded there."""
        return self.tmp or f"{self.root}/tmp"  # noqa: S108 - the cluster's own, not this machine's
