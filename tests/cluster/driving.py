"""From a job to its end, in one call."""

import time

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.flows import follow, logs
from hpcdeploy.flows.submit import Submitted, plan_run, submit
from hpcdeploy.job import Job
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.run import Run, RunStatus, State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store

PATIENCE = 300.0

BEFORE = 80
"""Seconds before a limit of two minutes at which a test asks for a signal.

Slurm looks every 30 seconds, and sends a signal up to 30 seconds early (``send_job_warn_signal`` and PERIODIC_TIMEOUT in
src/slurmctld/job_mgr.c of 26.05): here not in a job's first 10 seconds, in which its program may not have begun.
"""


def submit_job(
    job: Job, scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> Submitted:
    run = plan_run(job, cluster, scheduler, delivery, now=time.time())
    return submit(run, submission(run, job, cluster, delivery), connections.to(cluster), store)


def wait_for(run: Run, cluster: Cluster, connections: Connections, store: Store) -> RunStatus:
    known = [RunStatus(run=run, tasks=(), asked=0)]
    *_, last = follow.wait(known, lambda _: connections.to(cluster), store, first=0.3, slowest=2, patience=PATIENCE)
    return last.statuses[0]


def output_of(status: RunStatus, cluster: Cluster, connections: Connections, task: int = 0) -> str:
    return logs.read(status, task, connections.to(cluster)).out.decode()


def requeued_before(before: RunStatus, now: RunStatus) -> list[int]:
    """Return the tasks that wait after a requeue and did so in the status `before`: these may be started at once.

    A task that starts again in the second in which its last attempt ended is killed, as FAILED with exit code 1 and
    JobLaunchFailure: its node takes the credential for a revoked one (slurmd compares seconds: ``cred_revoked`` in
    src/slurmd/slurmd/cred_context.c of 26.05). So a task that may have started and ended meanwhile has to wait.
    """
    restarts = {task.task: task.restarts for task in before.tasks if task.state is State.PENDING}
    return [
        task.task
        for task in now.tasks
        if task.state is State.PENDING and task.restarts and restarts.get(task.task) == task.restarts
    ]
