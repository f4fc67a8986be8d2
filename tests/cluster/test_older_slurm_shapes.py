"""Several processes, their warning and their second start on Debian 12's Slurm, 22.05, which takes `srun` in other ways."""

import time

from hpcdeploy.cluster import Cluster
from hpcdeploy.flows import follow
from hpcdeploy.job import Job, Resources, Retries, Signal
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import RunStatus, State
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster import test_older_slurm as life
from tests.cluster.driving import BEFORE, PATIENCE, requeued_before, submit_job
from tests.cluster.no_container import DELIVERY

PROGRAM = """
echo "process $SLURM_PROCID of $SLURM_NTASKS, start $HPCDEPLOY_RESTART, cores $SLURM_CPUS_PER_TASK"
[ ! -e saved.$SLURM_PROCID ] || exit 0
trap 'touch saved.$SLURM_PROCID; exit 75' USR1
for i in $(seq 200); do sleep 0.5; done
"""


older = life.older
another = life.another
cluster = life.cluster


def test_warned_processes_of_two_nodes_go_on_after_their_limit(
    another: Lab, cluster: Cluster, connections: Connections, store: Store
) -> None:
    job = Job(
        name="resume",
        image="test",
        command=("sh", "-c", PROGRAM),
        resources=Resources(nodes=2, cpus=2, time=120),
        tasks_per_node=2,
        signal=Signal(name="USR1", before=BEFORE),
        retries=Retries(max=1, exit_codes=(75,)),
    )
    run = submit_job(job, "slurm", cluster, DELIVERY, connections, store).run
    until = time.monotonic() + PATIENCE
    status = RunStatus(run=run, tasks=(), asked=0)
    while not status.ended and time.monotonic() < until:
        before = status
        status = follow.status([before], lambda _: connections.to(cluster), store).statuses[0]
        if requeued_before(before, status):
            inside(another, ["scontrol", "update", f"JobId={run.job_id}", "StartTime=now"])
        time.sleep(2)
    said = inside(
        another, ["cat", f"{run.folder}/logs/0.out", f"{run.folder}/logs/0.err"], user=another.user
    ).stdout.decode()
    assert (status.state, status.exit_code) == (State.COMPLETED, 0), said
    expected = [f"process {rank} of 4, start {start}, cores 1" for rank in range(4) for start in range(2)]
    assert sorted(line for line in said.splitlines() if line.startswith("process")) == expected
