"""From a job to its end, in one call."""

import time

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.flows import follow, logs
from hpcdeploy.flows.connections import Connections
from hpcdeploy.flows.submit import Submitted, plan_run, submit
from hpcdeploy.job import Job
from hpcdeploy.run import Run, RunStatus
from hpcdeploy.scheduler.login_node import Delivery, submission
from hpcdeploy.store import Store

PATIENCE = 300.0


def submit_job(
    job: Job, scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> Submitted:
    run = plan_run(job, cluster, scheduler, delivery, now=time.time())
    return submit(run, submission(run, job, cluster, delivery), cluster, connections, store)


def wait_for(run: Run, cluster: Cluster, connections: Connections, store: Store) -> RunStatus:
    known = [RunStatus(run=run, tasks=(), asked=0)]
    *_, last = follow.wait(known, lambda _: cluster, connections, store, first=0.3, slowest=2, patience=PATIENCE)
    return last.statuses[0]


def output_of(status: RunStatus, cluster: Cluster, connections: Connections, task: int = 0) -> str:
    return logs.read(status, task, cluster, connections).out.decode()
