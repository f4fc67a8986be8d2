"""Where runs are, what they wrote, and how they ended: on both schedulers."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import SchedulerError, WaitTimeoutError
from hpcdeploy.flows import follow, logs
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.flows.fetch import fetch
from hpcdeploy.job import Array, Job, Resources
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import RunStatus, State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import PATIENCE, output_of, submit_job, wait_for
from tests.shared import OWN

BOTH = pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])


@pytest.mark.container
@BOTH
def test_a_job_with_a_gpu_sees_it_and_its_image(
    lab: Lab, scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    job = Job(
        name="gpu", image="test", command=("python3", "-c", program), resources=Resources(gpus=1, memory=200, time=300)
    )
    run = submit_job(job, scheduler, cluster, delivery, connections, store).run
    status = wait_for(run, cluster, connections, store)
    assert (status.state, status.exit_code) == (State.COMPLETED, 0)
    seen = json.loads(output_of(status, cluster, connections))
    assert seen["CUDA_VISIBLE_DEVICES"]
    assert seen["HPCDEPLOY_IMAGE_SHA256"] == delivery.sha256
    assert seen["HPCDEPLOY_RUN"] == run.id
    assert seen["APPTAINER_CONTAINER"]
    started = (
        inside(lab, ["cat", f"{run.folder}/job.sh"], user=lab.user)
        if scheduler == "slurm"
        else inside(lab, ["bash", "-c", f"grep -ah 'program.sh 0 {run.job_id}$' /lab/log/condor/StarterLog.*"])
    )
    assert (b"gpu=--nv\n" if scheduler == "slurm" else b" --nv ") in started.stdout


@BOTH
def test_an_exit_code_is_the_programs_own(
    scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    job = Job(name="three", image="test", command=("sh", "-c", "echo out; echo err >&2; exit 3"))
    run = submit_job(job, scheduler, cluster, delivery, connections, store).run
    status = wait_for(run, cluster, connections, store)
    assert (status.state, status.exit_code) == (State.FAILED, 3)
    piece = logs.read(status, 0, connections.to(cluster))
    assert piece.out == b"out\n"
    assert b"err\n" in piece.err
    assert store.find([run.id])[0].exit_code == 3


@BOTH
def test_every_task_of_an_array_has_its_number_its_log_and_its_folder(
    scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store, tmp_path: Path
) -> None:
    job = Job(
        name="array",
        image="test",
        command=("sh", "-c", 'echo "task $HPCDEPLOY_TASK" | tee made.txt; exit $((HPCDEPLOY_TASK == 2))'),
        array=Array(size=4, throttle=2),
    )
    run = submit_job(job, scheduler, cluster, delivery, connections, store).run
    status = wait_for(run, cluster, connections, store)
    assert [task.exit_code for task in status.tasks] == [0, 0, 1, 0]
    assert [output_of(status, cluster, connections, task) for task in range(4)] == [f"task {task}\n" for task in range(4)]
    done = fetch(run, tmp_path / "home", connections.to(cluster))
    assert (tmp_path / "home" / "output" / "3" / "made.txt").read_text() == "task 3\n"
    assert {tmp_path / "home" / "logs" / "0.out"} <= set(done.files) == set(done.brought)
    assert fetch(run, tmp_path / "home", connections.to(cluster)).brought == ()


@BOTH
def test_a_cancelled_run_is_cancelled_whether_it_ran_or_not(
    scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    sleeper = Job(name="sleeper", image="test", command=("sleep", "600"))
    waiting = replace(sleeper, slurm=(("hold", True),), htcondor=(("hold", "true"),))
    runs = [submit_job(job, scheduler, cluster, delivery, connections, store).run for job in (sleeper, waiting)]
    known = [RunStatus(run=run, tasks=(), asked=0) for run in runs]
    until = time.monotonic() + PATIENCE
    asked = follow.status(known, lambda _: connections.to(cluster), store)
    while asked.statuses[0].state is not State.RUNNING and time.monotonic() < until:
        time.sleep(0.3)
        asked = follow.status(known, lambda _: connections.to(cluster), store)
    assert [one.state for one in asked.statuses] == [State.RUNNING, State.HELD]
    assert {run.id for run in cancel(known, lambda _: connections.to(cluster), store)} == {run.id for run in runs}
    for run in runs:
        ended = wait_for(run, cluster, connections, store)
        assert ended.state is State.CANCELLED
        assert ended.exit_code


@BOTH
def test_a_job_of_another_name_that_has_a_run_s_number_is_not_cancelled(
    scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    # As after a crash of a scheduler that forgot its last jobs and gave their numbers to others.
    waiting = Job(name="other", image="test", command=("true",), slurm=(("hold", True),), htcondor=(("hold", "true"),))
    other = submit_job(waiting, scheduler, cluster, delivery, connections, store).run
    mistaken = replace(other, id="forgotten-0123456789")
    with pytest.raises(SchedulerError, match=f"job {other.job_id}.* is in the queue"):
        cancel([RunStatus(run=mistaken, tasks=(), asked=0)], lambda _: connections.to(cluster), store)
    known = [RunStatus(run=other, tasks=(), asked=0)]
    assert follow.status(known, lambda _: connections.to(cluster), store).statuses[0].state is State.HELD
    cancel(known, lambda _: connections.to(cluster), store)


@BOTH
def test_logs_follow_a_task_to_its_end(
    scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    # Long enough between the first two that a busy machine looks there once.
    job = Job(name="ticks", image="test", command=("sh", "-c", "echo tick 1; sleep 10; echo tick 2; sleep 1; echo tick 3"))
    run = submit_job(job, scheduler, cluster, delivery, connections, store).run
    pieces = list(logs.follow(RunStatus(run=run, tasks=(), asked=0), [0], connections.to(cluster), store, interval=0.5))
    assert b"".join(piece.out for piece in pieces) == b"tick 1\ntick 2\ntick 3\n"
    assert len([piece for piece in pieces if piece.out]) > 1


@BOTH
def test_logs_follow_the_tasks_of_an_array_together_as_they_start(
    scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    program = "for i in 1 2 3; do echo $HPCDEPLOY_TASK.$i; echo error $HPCDEPLOY_TASK >&2; sleep 0.5; done"
    job = Job(name="several", image="test", command=("sh", "-c", program), array=Array(size=3, throttle=2))
    run = submit_job(job, scheduler, cluster, delivery, connections, store).run
    known = RunStatus(run=run, tasks=(), asked=0)
    pieces = list(logs.follow(known, range(3), connections.to(cluster), store, interval=0.5))
    for task in range(3):
        written = b"".join(piece.out for piece in pieces if piece.task == task)
        assert written.decode().split() == [f"{task}.{number}" for number in (1, 2, 3)]
        errors = b"".join(piece.err for piece in pieces if piece.task == task)
        assert errors.count(b"error %d" % task) == 3
    assert store.find([run.id])[0].ended


@BOTH
def test_a_log_that_is_longer_than_what_is_read_at_once_is_read_to_its_end(
    scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    job = Job(name="much", image="test", command=("sh", "-c", "seq 500000"))
    run = submit_job(job, scheduler, cluster, delivery, connections, store).run
    status = wait_for(run, cluster, connections, store)
    assert output_of(status, cluster, connections).split() == [str(number) for number in range(1, 500001)]


@BOTH
def test_nothing_is_put_into_the_home_folder(
    lab: Lab, scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    elsewhere = replace(cluster, root=f"$SCRATCH/{OWN}/home-{scheduler}")
    assert inside(lab, ["touch", f"{lab.scratch}/{OWN}/before"], user=lab.user).returncode == 0
    run = submit_job(
        Job(name="tidy", image="test", command=("true",)), scheduler, elsewhere, delivery, connections, store
    ).run
    assert wait_for(run, elsewhere, connections, store).state is State.COMPLETED
    found = inside(lab, ["find", lab.home, "-newer", f"{lab.scratch}/{OWN}/before", "-type", "f"], user=lab.user)
    assert found.stdout == b""


def test_patience_has_an_end_and_the_run_goes_on(
    cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    run = submit_job(
        Job(name="long", image="test", command=("sleep", "600")), "slurm", cluster, delivery, connections, store
    ).run
    known = [RunStatus(run=run, tasks=(), asked=0)]
    with pytest.raises(WaitTimeoutError, match="timeout after"):
        list(follow.wait(known, lambda _: connections.to(cluster), store, first=0.2, slowest=0.5, patience=1))
    cancel(known, lambda _: connections.to(cluster), store)


def test_a_time_limit_is_told_from_a_failure(
    lab: Lab, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    job = Job(name="slow", image="test", command=("sleep", "600"), resources=Resources(time=60))
    run = submit_job(job, "slurm", cluster, delivery, connections, store).run
    until = time.monotonic() + 60
    while time.monotonic() < until:
        changed = inside(lab, ["scontrol", "update", f"JobId={run.job_id}", "TimeLimit=0-00:00:01"])
        if changed.returncode == 0:
            break
    assert wait_for(run, cluster, connections, store).state is State.TIMEOUT


def test_many_runs_of_all_schedulers_are_asked_for_in_one_round_trip_each(
    cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    job = Job(name="many", image="test", command=("true",))
    for scheduler in cluster.schedulers:
        for _ in range(3):
            submit_job(job, scheduler, cluster, delivery, connections, store)
    questions: list[str] = []
    transport = connections.to(cluster).link.open()
    ask = transport.run

    def counted(argv: object, **options: object) -> object:
        questions.append(str(argv))
        return ask(argv, **options)  # type: ignore[arg-type]

    transport.run = counted  # type: ignore[method-assign, assignment]
    asked = follow.status(store.latest(), lambda _: connections.to(cluster), store)
    assert len(questions) == len(cluster.schedulers)
    assert len(asked.statuses) == 3 * len(cluster.schedulers)
    assert all(one.state is not State.UNKNOWN for one in asked.statuses)


def test_a_cluster_that_cannot_be_reached_makes_its_runs_unknown_and_holds_up_no_other(
    cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    run = submit_job(Job(name="there", image="test", command=("true",)), "slurm", cluster, delivery, connections, store).run
    wait_for(run, cluster, connections, store)
    lost = replace(run, id="lost-1", cluster="gone")
    nowhere = Cluster(name="gone", host="no-such-host.invalid")
    known = [RunStatus(run=lost, tasks=(), asked=0), RunStatus(run=run, tasks=(), asked=0)]
    asked = follow.status(known, lambda name: connections.to({"gone": nowhere}.get(name, cluster)), store)
    assert [one.state for one in asked.statuses] == [State.UNKNOWN, State.COMPLETED]
    assert len(asked.failures) == 1


def test_a_task_that_is_not_there_is_refused(
    cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    run = submit_job(Job(name="one", image="test", command=("true",)), "slurm", cluster, delivery, connections, store).run
    with pytest.raises(SchedulerError, match="no task 7"):
        logs.read(RunStatus(run=run, tasks=(), asked=0), 7, connections.to(cluster))


def test_two_connections_may_ask_at_once(
    cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    run = submit_job(Job(name="shared", image="test", command=("true",)), "slurm", cluster, delivery, connections, store).run
    ended: list[State] = []

    def client() -> None:
        ended.append(wait_for(run, cluster, connections, store).state)

    threads = [threading.Thread(target=client) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [State.COMPLETED] * 3
