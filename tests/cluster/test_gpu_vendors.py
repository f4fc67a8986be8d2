"""Whose GPUs a container is given: the lab gets the devices and programs that a vendor's driver brings, and a job tells."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.config.files import load_project
from hpcdeploy.flows import logs
from hpcdeploy.gpus import GpuVendorChoice
from hpcdeploy.job import Directives, Job, Resources
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import submit_job, wait_for
from tests.labs import StartLab

# Apptainer brings in the programs of nvliblist.conf with --nv, and those of rocmliblist.conf with --rocm.
PROGRAMS = ("nvidia-smi", "rocminfo")
TELL = (
    "for program in nvidia-smi rocminfo; do command -v $program; done; "
    'printf "%s\\n" "${CUDA_VISIBLE_DEVICES-none} ${ROCR_VISIBLE_DEVICES-none}"'
)
GPU = Resources(gpus=1, memory=200, time=300)
UNSAID = replace(GPU, gpus=None)
NO_GPU = replace(GPU, gpus=0)

Drivers = Callable[..., None]


@pytest.fixture(scope="module")
def own(start_lab: StartLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run a lab of these tests' own: they change what its nodes have."""
    with start_lab(tmp_path_factory.mktemp("gpus")) as lab:
        yield lab


@pytest.fixture
def cluster(own: Lab, tmp_path: Path) -> Cluster:
    environ = {"XDG_STATE_HOME": str(own.state.parent.parent), "HOME": str(tmp_path)}
    return load_project(tmp_path, environ, optional=True).clusters["lab"]


@pytest.fixture
def drivers(own: Lab) -> Iterator[Drivers]:
    """Put both vendors' programs onto the lab's nodes, and give what makes devices there; all of it is gone afterwards."""
    programs = " ".join(f"/usr/bin/{name}" for name in PROGRAMS)
    made: list[str] = []

    def root(line: str) -> None:
        done = inside(own, ["sh", "-c", line])
        assert done.returncode == 0, done.stderr.decode()

    def make(*devices: str) -> None:
        for device in devices:
            made.append(f"/dev/{device}")
            root(f"mknod -m 666 /dev/{device} c 1 3")

    root(f"for program in {programs}; do printf '#!/bin/sh\\n' >$program && chmod 755 $program || exit; done")
    yield make
    root(f"rm -f {programs} {' '.join(made)}")


class Teller:
    """Starts a job that tells which vendor's program is in its container, and which GPUs are its own."""

    def __init__(self, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store) -> None:
        self.cluster, self.delivery, self.connections, self.store = cluster, delivery, connections, store

    def lines(self, job: Job, scheduler: SchedulerName = "slurm", vendor: GpuVendorChoice = "auto") -> list[str]:
        cluster = replace(self.cluster, gpu_vendor=vendor, htcondor_container="apptainer")
        run = submit_job(job, scheduler, cluster, self.delivery, self.connections, self.store).run
        status = wait_for(run, cluster, self.connections, self.store)
        piece = logs.read(status, 0, self.connections.to(cluster))
        assert status.state is State.COMPLETED, piece.err.decode()
        return piece.out.decode().splitlines()


@pytest.fixture
def teller(cluster: Cluster, delivery: Delivery, connections: Connections, store: Store) -> Teller:
    return Teller(cluster, delivery, connections, store)


def job(resources: Resources = GPU, slurm: Directives = ()) -> Job:
    return Job(name="vendor", image="test", command=("sh", "-c", TELL), resources=resources, slurm=slurm)


@pytest.mark.parametrize(
    ("devices", "vendor", "program"),
    [
        (("kfd",), "auto", "/usr/bin/rocminfo"),
        (("kfd", "nvidiactl"), "auto", "/usr/bin/nvidia-smi"),
        ((), "auto", "/usr/bin/nvidia-smi"),
        ((), "amd", "/usr/bin/rocminfo"),
        (("kfd",), "nvidia", "/usr/bin/nvidia-smi"),
    ],
)
def test_the_container_is_given_the_gpus_of_the_driver_on_its_node(
    devices: tuple[str, ...], vendor: GpuVendorChoice, program: str, drivers: Drivers, teller: Teller
) -> None:
    drivers(*devices)
    # Without a word on variables in gres.conf, as in the lab, Slurm sets those of all vendors.
    assert teller.lines(job(), vendor=vendor) == [program, "0 0"]


@pytest.mark.parametrize(
    ("resources", "slurm", "told"),
    [
        (UNSAID, (("gpus-per-task", "1"), ("ntasks", "1")), ["/usr/bin/rocminfo", "0 0"]),
        (UNSAID, (("tres-per-task", "cpu=1,gres/gpu=2"), ("ntasks", "1")), ["/usr/bin/rocminfo", "0,1 0,1"]),
        (UNSAID, (("ntasks-per-gpu", "1"), ("ntasks", "1")), ["/usr/bin/rocminfo", "0 0"]),
        (UNSAID, (("exclusive", True),), ["/usr/bin/rocminfo", "0,1 0,1"]),
        (NO_GPU, (("exclusive", True),), ["0,1 0,1"]),
        (UNSAID, (("gres", "gpu:0"),), ["none none"]),
        (UNSAID, (), ["none none"]),
    ],
    ids=["gpus-per-task", "tres-per-task", "ntasks-per-gpu", "exclusive", "exclusive and none", "none of gres", "none"],
)
def test_every_way_of_having_gpus_gives_them_to_the_container(
    resources: Resources, slurm: Directives, told: list[str], drivers: Drivers, teller: Teller
) -> None:
    drivers("kfd")
    assert teller.lines(job(resources, slurm)) == told


def test_a_node_of_a_jobs_own_that_has_no_gpu_gives_none(drivers: Drivers, teller: Teller) -> None:
    drivers()
    assert [line for line in teller.lines(job(UNSAID, (("exclusive", True),))) if line.startswith("/")] == []


def test_each_process_that_srun_starts_has_them(drivers: Drivers, teller: Teller) -> None:
    drivers("kfd")
    assert sorted(teller.lines(replace(job(), tasks_per_node=2))) == [*["/usr/bin/rocminfo"] * 2, *["0 0"] * 2]


@pytest.mark.usefixtures("pmix")
def test_a_process_that_srun_starts_with_pmix_has_them(drivers: Drivers, teller: Teller) -> None:
    drivers("kfd")
    assert teller.lines(replace(job(), launcher="srun", mpi="pmix")) == ["/usr/bin/rocminfo", "0 0"]


@pytest.mark.parametrize("free", [(), (("request_gpus", "1"),)])
def test_a_worker_of_htcondors_gives_them_too(
    free: Directives, drivers: Drivers, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    drivers("kfd")
    asked = replace(job(UNSAID if free else GPU), htcondor=free)
    program, visible = Teller(cluster, delivery, connections, store).lines(asked, "htcondor")
    assert program == "/usr/bin/rocminfo"
    assert visible.startswith("GPU-")
