"""A partition that squeue only shows with --all (slurm.conf(5), Hidden)."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.flows import follow
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.flows.submit import plan_run, resume, submit
from hpcdeploy.job import Job
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.run import RunStatus, State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.shared import OWN

PARTITION = OWN.replace("-", "_")


@pytest.fixture
def hidden(lab: Lab) -> Iterator[str]:
    made = inside(lab, ["scontrol", "create", f"PartitionName={PARTITION}", "Nodes=node1", "Hidden=YES", "State=UP"])
    assert made.returncode == 0, made.stderr
    yield PARTITION
    until = time.monotonic() + 30  # one with jobs stays (scontrol(1))
    while inside(lab, ["scontrol", "delete", f"PartitionName={PARTITION}"]).returncode and time.monotonic() < until:
        time.sleep(0.2)


def test_a_job_in_a_hidden_partition_is_followed_submitted_once_and_cancelled(
    lab: Lab, hidden: str, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    alone = replace(cluster, setup=("sacct() { echo 'accounting storage is disabled' >&2; return 1; }",))
    job = Job(name="hidden", image="test", command=("true",), slurm=(("partition", hidden), ("hold", True)))
    planned = plan_run(job, alone, "slurm", delivery, now=time.time())
    script = submission(planned, job, alone, delivery)
    first = submit(planned, script, connections.to(alone), store).run
    known = [RunStatus(run=first, tasks=(), asked=0)]
    try:
        assert follow.status(known, lambda _: connections.to(alone), store).statuses[0].state is State.HELD
        assert inside(lab, ["rm", f"{first.folder}/id"], user=lab.user).returncode == 0
        assert resume(planned, script, connections.to(alone), store).run.job_id == first.job_id
        cancel(known, lambda _: connections.to(alone), store)
        assert follow.status(known, lambda _: connections.to(alone), store).statuses[0].state is State.CANCELLED
    finally:
        inside(lab, ["scancel", f"--name={first.id}"], user=lab.user)
