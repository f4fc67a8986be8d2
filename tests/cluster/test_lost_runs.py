"""Runs whose end is unknown: waiting for them ends with a message."""

import time
from dataclasses import replace

import pytest

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import SchedulerError, UncertainSubmissionError
from hpcdeploy.flows import follow, logs
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.flows.submit import plan_run
from hpcdeploy.job import Array, Job
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.logs import Piece
from hpcdeploy.run import Run, RunStatus, State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from tests.cluster.driving import output_of, submit_job, wait_for

JOB = Job(name="lost", image="test", command=("echo", "here"), array=Array(size=3))


@pytest.fixture
def unsure(cluster: Cluster, delivery: Delivery) -> Run:
    return plan_run(JOB, cluster, "slurm", delivery, now=time.time())


def test_the_log_of_a_run_that_may_have_no_job_is_not_waited_for(
    unsure: Run, cluster: Cluster, connections: Connections, store: Store
) -> None:
    known = RunStatus(run=unsure, tasks=(), asked=0)
    with pytest.raises(UncertainSubmissionError, match=f"submit --resume {unsure.id}"):
        logs.read(known, 0, connections.to(cluster))
    with pytest.raises(UncertainSubmissionError, match=f"submit --resume {unsure.id}"):
        next(logs.follow(known, [0], connections.to(cluster), store))


@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
def test_the_log_of_a_task_that_is_gone_without_a_trace_is_not_waited_for(
    scheduler: SchedulerName, unsure: Run, cluster: Cluster, connections: Connections, store: Store
) -> None:
    quick = replace(cluster, poll_interval=1)
    gone = replace(unsure, scheduler=scheduler, job_id="99999999")
    with pytest.raises(SchedulerError, match=f"{gone.id}, task 1-2: lost: no longer in the queue"):
        list(logs.follow(RunStatus(run=gone, tasks=(), asked=0), [1, 2], connections.to(quick), store, interval=0.2))


def test_what_was_written_is_read_before_a_log_is_given_up(
    cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    run = submit_job(JOB, "slurm", cluster, delivery, connections, store).run
    status = wait_for(run, cluster, connections, store)
    assert output_of(status, cluster, connections) == "here\n"
    # Its folder is there, and Slurm knows nothing of the job, as long afterwards; the notes of one task are lost.
    known = RunStatus(run=replace(run, job_id="99999999"), tasks=(), asked=0)
    quick = replace(cluster, poll_interval=1)
    assert connections.to(cluster).link.open().run(["sh", "-c", f"rm {run.folder}/tasks/1.*"]).exit_code == 0
    told: list[Piece] = []
    with pytest.raises(SchedulerError, match=f"{run.id}, task 1: lost: no longer in the queue"):
        told.extend(logs.follow(known, range(3), connections.to(quick), store, interval=0.2))
    assert sorted(piece.task for piece in told if piece.out == b"here\n") == [0, 1, 2]


def test_hope_is_given_up_only_where_the_scheduler_answered(
    unsure: Run, cluster: Cluster, connections: Connections, store: Store
) -> None:
    silent = replace(cluster, setup=("squeue() { return 1; }",))
    asked = follow.status(
        [RunStatus(run=replace(unsure, job_id="99999999"), tasks=(), asked=0)], lambda _: connections.to(silent), store
    )
    assert [(task.lost, task.reason) for task in asked.statuses[0].tasks] == [(False, "squeue could not be queried")] * 3


def test_patience_may_be_longer_than_any_clock_of_the_machine_counts(
    cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    run = submit_job(replace(JOB, slurm=(("hold", True),)), "slurm", cluster, delivery, connections, store).run
    known = [RunStatus(run=run, tasks=(), asked=0)]
    rounds = follow.wait(known, lambda _: connections.to(cluster), store, first=0.2, patience=1e12)
    assert [next(rounds).statuses[0].state for _ in range(3)] == [State.HELD] * 3
    rounds.close()
    cancel(known, lambda _: connections.to(cluster), store)
