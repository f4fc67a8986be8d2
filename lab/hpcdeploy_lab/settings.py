"""What a lab is made of: its name, its suite, its size, and the folders that it keeps."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy.cluster import SchedulerName
from hpcdeploy.folders import cache_folder, state_folder
from hpcdeploy_lab import releases
from hpcdeploy_lab.releases import Release, release_of


@dataclass(frozen=True, kw_only=True)
class LabSettings:
    """Choices that make one lab.

    ``slurm`` is the release of Slurm (`hpcdeploy_lab.releases`), or ``newest``. It decides the Debian suite of the root file
    system; Apptainer comes from ``apptainer_suite``, because no stable suite has it. The suite of 22.05 has no HTCondor, and
    a libc too old for Apptainer: a lab of it runs jobs and no containers.
    ``state`` holds everything that belongs to this one lab, ``cache`` what labs share.
    ``user`` is the one who logs in, and whose number is ``uid``. ``colleague`` is another user of the same cluster, with the
    next number, who is in the group ``team`` as the first one is: for what one user can do to another.
    CPUs, memory (MB) and GPUs are those that every node claims to have: the machine need not have them.
    ``base_image`` puts the base image of the demo into the lab's registry.
    ``scratch_in_memory`` keeps scratch in memory (tmpfs) until the lab is down; a build then takes little more than half the
    time (5.1 s instead of 8.6 s seen), most of which is the making and removing of small files.
    ``max_array_size`` is one more than the highest number of an array's task (slurm.conf(5), MaxArraySize).
    ``min_job_age`` (seconds) is how long the controller remembers a finished job (slurm.conf(5), MinJobAge).
    ``task_affinity`` binds the processes of a step to its CPUs (slurm.conf(5), TaskPlugin); the machine must have them.
    """

    cache: Path
    state: Path
    name: str = "lab"
    slurm: str = releases.DEFAULT
    apptainer_suite: str = "sid"
    user: str = "lab"
    uid: int = 1000
    colleague: str = "colleague"
    team: str = "team"
    nodes: tuple[str, ...] = ("node1", "node2")
    cpus: int = 4
    memory_mb: int = 64000
    gpus: int = 2
    max_array_size: int = 20001
    min_job_age: int = 300
    task_affinity: bool = False
    accounting: bool = True
    base_image: bool = True
    scratch_in_memory: bool = False

    @property
    def home(self) -> str:
        """Home folder of the lab's user, as login and compute nodes see it."""
        return f"/home/{self.user}"

    @property
    def release(self) -> Release:
        """The release of Slurm, and where Debian has it."""
        return release_of(self.slurm)

    @property
    def suite(self) -> str:
        """The Debian suite that the root file system is made from."""
        return self.release.suite

    @property
    def schedulers(self) -> tuple[SchedulerName, ...]:
        """The schedulers that the suite has, the default first."""
        return ("slurm",) if self.suite == "bookworm" else ("slurm", "htcondor")

    @property
    def scratch(self) -> str:
        """Scratch folder of the lab's user, as login and compute nodes see it."""
        return f"/scratch/{self.user}"


def default_settings(
    environment: Mapping[str, str] | None = None, *, name: str = "lab", accounting: bool = True, slurm: str = ""
) -> LabSettings:
    """Place a lab in the folders that this machine keeps what is ours in.

    The lab called ``lab`` owns ``lab`` there; any other name has a state folder of its own beside it, and shares
    the cache. `slurm` is the release of Slurm or ``newest``; empty for that of the environment, else the default one.
    Raises `ConfigError` where no lab can have it.
    """
    environment = os.environ if environment is None else environment
    where = "--slurm" if slurm else f"environment variable {releases.VARIABLE}"
    chosen = slurm or environment.get(releases.VARIABLE, "") or releases.DEFAULT
    return LabSettings(
        cache=cache_folder(environment) / "lab",
        state=state_folder(environment) / name,
        name=name,
        accounting=accounting,
        slurm=releases.check_choice(chosen, where),
    )


def site_variables(scratch: str) -> dict[str, str]:
    """Return what the lab, as a site, sets for everybody who logs in: where scratch is, and images packed six times as fast.

    Images get a tenth larger by it. Every option of ``apptainer build`` has such a variable (apptainer-build(1)).
    """
    return {"SCRATCH": scratch, "APPTAINER_MKSQUASHFS_ARGS": "-Xcompression-level 1"}


@dataclass(frozen=True, kw_only=True)
class Ports:
    """One free TCP port on loopback for everything that listens."""

    ssh: int
    registry: int
    condor: int
    slurmctld: int
    slurmdbd: int
    slurmd: tuple[int, ...]

    def numbers(self) -> tuple[int, ...]:
        """Every port once."""
        return (self.ssh, self.registry, self.condor, self.slurmctld, self.slurmdbd, *self.slurmd)


@dataclass(frozen=True, kw_only=True)
class Service:
    """One daemon: how it is started in the foreground, what must be ready first, and how one sees that it is ready.

    ``ready`` is a command that succeeds once the daemon answers. ``user`` owns the process (root when empty).
    ``stop_signal`` ends it in good order.
    """

    name: str
    argv: tuple[str, ...]
    ready: tuple[str, ...]
    after: tuple[str, ...] = ()
    user: str = ""
    stop_signal: str = "SIGTERM"
