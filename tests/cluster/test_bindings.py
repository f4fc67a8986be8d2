"""Which CPUs and GPUs each process of a job gets, on a Slurm that binds processes to the CPUs of their step."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.files import load_project
from hpcdeploy.flows import logs
from hpcdeploy.job import Bind, Job, Resources
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import output_of, submit_job, wait_for
from tests.labs import StartLab
from tests.shared import OWN

pytestmark = pytest.mark.container

CPUS = min(len(os.sched_getaffinity(0)), 4)
"""CPUs of each node: not more than this machine has, or Slurm could not bind to them."""

TWO = min(CPUS, 2)

TELL = """\
import os
gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
os.write(1, f"{','.join(map(str, sorted(os.sched_getaffinity(0))))} {gpus}\\n".encode())
"""

WHOLE_NODE = (("exclusive", True),)


@pytest.fixture(scope="module")
def binding(start_lab: StartLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run a lab in which Slurm binds processes."""
    with start_lab(tmp_path_factory.mktemp("binding"), task_affinity=True, cpus=CPUS) as lab:
        yield lab


class Teller:
    """Runs jobs whose processes tell their CPUs and GPUs."""

    def __init__(self, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store) -> None:
        self.cluster, self.delivery, self.connections, self.store = cluster, delivery, connections, store

    def places(self, job: Job) -> list[tuple[set[str], str]]:
        """Return each process's CPUs and GPUs, in the order of their text."""
        run = submit_job(job, "slurm", self.cluster, self.delivery, self.connections, self.store).run
        status = wait_for(run, self.cluster, self.connections, self.store)
        assert status.state is State.COMPLETED, logs.read(status, 0, self.connections.to(self.cluster)).err.decode()
        lines = sorted(output_of(status, self.cluster, self.connections).splitlines())
        return [(set(cpus.split(",")), gpus) for cpus, gpus in (line.split() for line in lines)]


@pytest.fixture
def teller(binding: Lab, tmp_path: Path, delivery: Delivery, connections: Connections, store: Store) -> Teller:
    environ = {"XDG_STATE_HOME": str(binding.state.parent.parent), "HOME": str(tmp_path)}
    cluster = load_project(tmp_path, environ, optional=True).clusters["lab"]
    return Teller(cluster, delivery, connections, store)


def telling(**fields: object) -> Job:
    job = Job(name="tell", image="test", command=("python3", "-c", TELL), resources=Resources(memory=200, time=300))
    return replace(job, **fields)  # type: ignore[arg-type]


def test_each_process_has_a_cpu_of_its_own_where_the_job_asks_for_one(teller: Teller) -> None:
    resources = Resources(cpus=CPUS, memory=200, time=300)
    places = teller.places(telling(tasks_per_node=CPUS, resources=resources))
    assert [len(cpus) for cpus, _ in places] == [1] * CPUS
    assert len(set.union(*(cpus for cpus, _ in places))) == CPUS


def test_a_process_has_all_cpus_that_the_job_asks_for(teller: Teller) -> None:
    resources = Resources(nodes=2, cpus=CPUS, memory=200, time=300)
    assert [len(cpus) for cpus, _ in teller.places(telling(resources=resources))] == [CPUS, CPUS]


def test_a_process_has_a_whole_node_where_the_job_does_and_asks_for_no_cpus(teller: Teller) -> None:
    resources = Resources(nodes=2, memory=200, time=300)
    places = teller.places(telling(resources=resources, slurm=WHOLE_NODE))
    assert [len(cpus) for cpus, _ in places] == [CPUS, CPUS]


def test_what_torchrun_starts_has_a_whole_node_where_the_job_does(teller: Teller, binding: Lab) -> None:
    folder = f"{binding.scratch}/{OWN}/bin"
    made = f"mkdir -p {folder} && printf '#!/usr/bin/env python3\\n' >{folder}/torchrun && cat >>{folder}/torchrun"
    made += f" && chmod 755 {folder}/torchrun"
    assert inside(binding, ["bash", "-c", made], user=binding.user, stdin=TELL.encode()).returncode == 0
    job = telling(
        resources=Resources(gpus=2, memory=200, time=300),
        launcher="torchrun",
        slurm=WHOLE_NODE,
        environment=(("PATH", "/shim:/usr/local/bin:/usr/bin:/bin"),),
        binds=(Bind(source=folder, destination="/shim"),),
    )
    assert [(len(cpus), gpus) for cpus, gpus in teller.places(job)] == [(CPUS, "0,1")]


@pytest.mark.parametrize(
    "tasks",
    [{"slurm": (("ntasks", str(TWO)), ("gpus-per-task", "1"))}, {"tasks_per_node": TWO, "slurm": (("gpus-per-task", "1"),)}],
    ids=["ntasks", "tasks-per-node"],
)
def test_each_process_has_a_gpu_of_its_own_by_slurms_own_options(teller: Teller, tasks: dict[str, object]) -> None:
    places = teller.places(telling(**tasks))
    assert [len(gpus.split(",")) for _, gpus in places] == [1] * TWO
    assert len(set.union(*(cpus for cpus, _ in places))) == TWO


def test_sruns_own_table_decides_how_processes_are_bound(teller: Teller) -> None:
    resources = Resources(cpus=CPUS, memory=200, time=300)
    bound = telling(tasks_per_node=CPUS, resources=resources, srun=(("cpu-bind", "none"),))
    assert [len(cpus) for cpus, _ in teller.places(bound)] == [CPUS] * CPUS
