"""The cache of a cluster on the real schedulers: the image of a held job stays until the job is gone."""

import hashlib
import time
from dataclasses import replace

import pytest

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.flows import cache as flow
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.job import Job
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import RunStatus
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import submit_job
from tests.shared import OWN

HELD = Job(name="held", image="test", command=("true",), slurm=(("hold", True),), htcondor=(("hold", "true"),))


def bash(lab: Lab, text: str) -> str:
    done = inside(lab, ["bash", "-c", text], user=lab.user)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.container
@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
def test_the_image_of_a_held_job_stays_until_the_job_is_gone(
    lab: Lab,
    scheduler: SchedulerName,
    cluster: Cluster,
    delivery: Delivery,
    connections: Connections,
    store: Store,
) -> None:
    name = f"kept-{scheduler}"
    own = replace(cluster, root=f"$SCRATCH/{OWN}/{name}", schedulers=(scheduler,))
    run = submit_job(HELD, scheduler, own, delivery, connections, store).run
    other = hashlib.sha256(b"other\n").hexdigest()
    bash(lab, f"echo other >{lab.scratch}/{OWN}/{name}/images/{other}.sif")
    session = connections.to(own)
    held, free = f"{delivery.sha256}.sif", f"{other}.sif"
    items = flow.items(session)
    found = {one.name: one.verdict for one in items}
    # Jobs of other tests, whose runs are in other roots, may be in the queue: then no image may go.
    assert (found[held], found[free]) in (("used", "free"), ("unknown", "unknown"))
    assert {one.name: one.verdict for one in flow.verify(session)} == {held: "intact", free: "intact"}
    wanted = tuple(replace(one, verdict="free") for one in items)
    done = {one.name: one.verdict for one in flow.prune(session, wanted, 0)}
    assert done[held] in ("used", "unknown")
    assert done[free] in ("removed", "unknown")
    there = bash(lab, f"ls {lab.scratch}/{OWN}/{name}/images").split()
    cancel([RunStatus(run=run, tasks=(), asked=0)], lambda _: connections.to(own), store)
    assert there == sorted([held, *([free] if done[free] == "unknown" else [])])
    verdict = "used"
    for _ in range(60):
        verdict = {one.name: one.verdict for one in flow.items(session)}[held]
        if verdict != "used":
            break
        time.sleep(2)
    assert verdict in ("free", "unknown")
