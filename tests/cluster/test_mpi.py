"""A program of several processes on two nodes: Open MPI in the image, Slurm's PMIx outside, nothing else between them."""

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.flows import logs
from hpcdeploy.job import Job, Resources
from hpcdeploy.registry.lookup import registry_of
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import RunStatus, State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy.whole_file import sha256_of
from hpcdeploy_lab import rootfs
from hpcdeploy_lab.base_image import debian_command
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.mirror import Mirror
from hpcdeploy_lab.state import Lab, locked
from tests.cluster.driving import output_of, submit_job, wait_for
from tests.shared import OWN

# Every process adds its number to a sum, learns where all others are, and passes megabytes on to the next one.
PROGRAM = """
import json, os
from mpi4py import MPI
world = MPI.COMM_WORLD
rank, size = world.Get_rank(), world.Get_size()
total = world.allreduce(rank + 1)
nodes = world.allgather(os.environ["SLURMD_NODENAME"])
passed = bytearray(1 << 22)
world.Sendrecv(bytes([rank]) * len(passed), dest=(rank + 1) % size, recvbuf=passed, source=(rank - 1) % size)
seen = {"rank": rank, "sum": total, "nodes": nodes, "passed": [passed[0], passed[-1]], "by": MPI.Get_library_version()}
os.write(1, (json.dumps(seen) + chr(10)).encode())
"""
# One fails while the others wait for it.
FAILS = """
from mpi4py import MPI
world = MPI.COMM_WORLD
world.Barrier()
if world.Get_rank() == 3:
    world.Abort(9)
world.Barrier()
"""


def debian_with_open_mpi(source: Mirror) -> list[str]:
    """Plan the command that writes Debian with Open MPI, and with Python to speak to it, as a tar."""
    return ["--include=python3-mpi4py" if word.startswith("--include=") else word for word in debian_command(source)]


@pytest.fixture(scope="module")
def image(lab: Lab) -> Path:
    """Make an image with Open MPI in it, once for all labs of this machine; its path here."""
    plan = hashlib.sha256(json.dumps(debian_with_open_mpi(Mirror(""))).encode()).hexdigest()[:12]
    kept = lab.cache / f"tests-mpi-{plan}.sif"
    with locked(kept.with_suffix(".lock"), "", lambda _: None):
        if not kept.is_file():
            make_image(lab, kept)
    return kept


def make_image(lab: Lab, kept: Path) -> None:
    """Make an image with Open MPI from Debian's packages, the file `kept`."""
    name = f"{OWN}/mpi"
    seen = lab.seen(f"{lab.scratch}/{name}")
    seen.mkdir()
    with (seen / "debian.tar").open("wb") as tar:
        subprocess.run(debian_with_open_mpi(rootfs.find_mirror()), stdout=tar, stderr=subprocess.DEVNULL, check=True)
    build = """
        mkdir root cache && tar --exclude='./dev/*' -xf debian.tar -C root
        APPTAINER_CACHEDIR=$PWD/cache apptainer build mpi.sif root
        chmod -R u+rwX root && rm -rf root cache debian.tar
    """
    inside(lab, ["chown", "-R", lab.user, f"{lab.scratch}/{name}"])
    made = inside(lab, ["env", "-C", f"{lab.scratch}/{name}", "sh", "-ec", build], user=lab.user)
    assert made.returncode == 0, made.stderr.decode()
    draft = kept.with_suffix(f".{OWN}")
    shutil.move(seen / "mpi.sif", draft)
    draft.replace(kept)


@pytest.fixture(scope="module")
def with_mpi(lab: Lab, image: Path) -> Delivery:
    sha256 = sha256_of(image)
    pushed = registry_of(f"{lab.registry}/tests/mpi").push(
        image, sha256=sha256, created="2026-01-01T00:00:00Z", tags=("latest",)
    )
    return Delivery(sha256=sha256, reference=pushed.reference, size=pushed.size, plain_http=True)


JOB = Job(
    name="mpi",
    image="mpi",
    command=("python3", "-c", PROGRAM),
    # The lab's nodes are one machine to Open MPI, which would mix up the shared memory of both: they have the network only.
    # And they are all 127.0.0.1, which Open MPI 5's TCP leaves out unless told otherwise: its default is every other
    # interface of the machine, whatever that is (ompi_info --param btl tcp --level 9: btl_tcp_if_exclude).
    environment=(("OMPI_MCA_btl", "tcp,self"), ("OMPI_MCA_pml", "ob1"), ("OMPI_MCA_btl_tcp_if_include", "lo")),
    resources=Resources(nodes=2, cpus=2, memory=1000, time=300),
    tasks_per_node=2,
    mpi="pmix",
)


class Slurm:
    """Runs jobs on the lab's Slurm, each to its end."""

    def __init__(self, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store) -> None:
        self.cluster, self.delivery, self.connections, self.store = cluster, delivery, connections, store

    def end_of(self, job: Job) -> RunStatus:
        run = submit_job(job, "slurm", self.cluster, self.delivery, self.connections, self.store).run
        return wait_for(run, self.cluster, self.connections, self.store)

    def lines_of(self, job: Job) -> list[str]:
        status = self.end_of(job)
        assert status.state is State.COMPLETED, logs.read(status, 0, self.connections.to(self.cluster)).err.decode()
        return output_of(status, self.cluster, self.connections).splitlines()


@pytest.fixture
def slurm(cluster: Cluster, with_mpi: Delivery, connections: Connections, store: Store) -> Slurm:
    return Slurm(cluster, with_mpi, connections, store)


@pytest.mark.usefixtures("pmix")
def test_the_processes_of_two_nodes_speak_mpi_to_each_other(slurm: Slurm) -> None:
    seen = [json.loads(line) for line in sorted(slurm.lines_of(JOB))]
    assert [one["rank"] for one in seen] == [0, 1, 2, 3]
    assert all(one["sum"] == 1 + 2 + 3 + 4 for one in seen)
    assert all(one["nodes"] == ["node1", "node1", "node2", "node2"] for one in seen)
    assert [one["passed"] for one in seen] == [[3, 3], [0, 0], [1, 1], [2, 2]]
    assert all(one["by"].startswith("Open MPI") for one in seen)


@pytest.mark.usefixtures("pmix")
def test_the_processes_of_one_node_share_memory_though_each_has_a_container_of_its_own(slurm: Slurm) -> None:
    job = replace(JOB, resources=replace(JOB.resources, nodes=1), environment=(("OMPI_MCA_btl", "sm,self"),))
    seen = [json.loads(line) for line in sorted(slurm.lines_of(job))]
    assert [one["passed"] for one in seen] == [[1, 1], [0, 0]]


@pytest.mark.usefixtures("pmix")
def test_a_process_that_gives_up_ends_those_of_the_other_node(slurm: Slurm) -> None:
    status = slurm.end_of(replace(JOB, command=("python3", "-c", FAILS)))
    assert status.state is State.FAILED
    # Its own, or, since Slurm kills all processes at once, that of the first that was killed.
    assert status.exit_code in (9, 137, 143)
