"""What a program writes last is in its log, however busy the machine is."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.job import Array, Job
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from tests.cluster.driving import output_of, submit_job, wait_for

TASKS = 8


@pytest.fixture
def busy() -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
@pytest.mark.usefixtures("busy")
def test_nothing_of_a_long_output_is_lost_at_the_programs_end(
    scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    job = Job(name="words", image="test", command=("seq", "500000"), array=Array(size=TASKS))
    run = submit_job(job, scheduler, cluster, delivery, connections, store).run
    status = wait_for(run, cluster, connections, store)
    assert status.state is State.COMPLETED
    lengths = [len(output_of(status, cluster, connections, task)) for task in range(TASKS)]
    assert lengths == [len("".join(f"{number}\n" for number in range(1, 500_001)))] * TASKS
