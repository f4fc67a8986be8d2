"""The settings of a lab: its name, Debian suite, size and folders."""

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
    """The settings of one lab.

    Attributes:
        cache: The folder that all labs share.
        state: The folder of this lab.
        name: The lab's name: its host name, its name as a Slurm cluster, and its key in ``[clusters.NAME]``.
        slurm: The release of Slurm (`hpcdeploy_lab.releases`), or ``newest``. It determines the Debian suite of the root
            file system. The suite for 22.05 has no HTCondor, and its libc is too old for Apptainer. So a lab with 22.05
            runs jobs, but no containers.
        apptainer_suite: The Debian suite that Apptainer is installed from, because no stable suite has Apptainer.
        user: The name of the lab's user.
        uid: The user id of the lab's user.
        colleague: The name of a second user, whose id is ``uid + 1``, for tests of what one user can do to another.
        team: The name of a group whose members are both users.
        nodes: The names of the simulated nodes.
        cpus: CPUs that every node claims to have; the machine may have fewer.
        memory_mb: Memory in MB that every node claims to have; the machine may have less.
        gpus: GPUs that every node claims to have; the machine need not have any.
        max_array_size: The highest task number of an array, plus one (slurm.conf(5), MaxArraySize).
        min_job_age: Time in seconds for which the controller remembers a finished job (slurm.conf(5), MinJobAge).
        task_affinity: Whether Slurm binds the processes of a step to the step's CPUs (slurm.conf(5), TaskPlugin). The
            machine must have as many CPUs as the nodes claim.
        accounting: Whether slurmdbd runs.
        base_image: Whether the demo's base image is pushed to the lab's registry.
        scratch_in_memory: Whether the scratch folder is kept in memory (tmpfs) until the lab is stopped. A build of an
            image then takes little more than half the time (5.1 s instead of 8.6 s measured), because it mostly creates and
            removes small files.
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
        """Return the home folder of the lab's user on login and compute nodes."""
        return f"/home/{self.user}"

    @property
    def release(self) -> Release:
        """Return the release of Slurm, and its suites."""
        return release_of(self.slurm)

    @property
    def suite(self) -> str:
        """Return the Debian suite of the root file system."""
        return self.release.suite

    @property
    def schedulers(self) -> tuple[SchedulerName, ...]:
        """Return the schedulers of the suite, the default first."""
        return ("slurm",) if self.suite == "bookworm" else ("slurm", "htcondor")

    @property
    def scratch(self) -> str:
        """Return the scratch folder of the lab's user on login and compute nodes."""
        return f"/scratch/{self.user}"


def default_settings(
    environment: Mapping[str, str] | None = None, *, name: str = "lab", accounting: bool = True, slurm: str = ""
) -> LabSettings:
    """Return the settings of a lab in hpcdeploy's own folders on this machine.

    Every name has its own state folder; all labs share the cache.

    Args:
        environment: The environment variables; those of this process if omitted.
        name: The lab's name.
        accounting: Run slurmdbd.
        slurm: The release of Slurm, or ``newest``. If empty, the environment variable `hpcdeploy_lab.releases.VARIABLE`
            names the release; if that is not set either, it is `hpcdeploy_lab.releases.DEFAULT`.

    Raises:
        ConfigError: A lab cannot have the requested release.
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
    """Return the variables that the lab sets for every user, as a site does: the scratch folder, and an option of Apptainer.

    The option selects a faster compression of images: they are packed six times as fast, and are 10 % larger. Apptainer
    reads each option of ``apptainer build`` also from a variable (apptainer-build(1)).
    """
    return {"SCRATCH": scratch, "APPTAINER_MKSQUASHFS_ARGS": "-Xcompression-level 1"}


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The TCP ports on loopback, one for each daemon that listens on a port; ``slurmd`` has one port for each node."""

    ssh: int
    registry: int
    condor: int
    slurmctld: int
    slurmdbd: int
    slurmd: tuple[int, ...]

    def numbers(self) -> tuple[int, ...]:
        """Return all port numbers."""
        return (self.ssh, self.registry, self.condor, self.slurmctld, self.slurmdbd, *self.slurmd)


@dataclass(frozen=True, kw_only=True)
class Service:
    """One daemon.

    Attributes:
        name: The name of the daemon in messages, in the status and as ``NAME.log``.
        argv: The command that runs the daemon in the foreground.
        ready: A command that succeeds once the daemon answers.
        after: The names of the daemons that must be ready before this daemon starts.
        user: The user that the daemon runs as; empty for root.
        stop_signal: The name of the signal that stops the daemon in order, such as ``SIGTERM``.
    """

    name: str
    argv: tuple[str, ...]
    ready: tuple[str, ...]
    after: tuple[str, ...] = ()
    user: str = ""
    stop_signal: str = "SIGTERM"
