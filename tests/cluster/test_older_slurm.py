"""States are right on Debian 12's Slurm, 22.05, too.

That release has no Apptainer: a script that starts the program without a container takes its place. What is shown is how
jobs are followed, not how they run. `test_newer_slurm` runs the same tests on Slurm 26.05.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.files import load_project
from hpcdeploy.errors import SchedulerError
from hpcdeploy.flows import follow
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.job import Array, Job, Resources
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import Run, RunStatus, State
from hpcdeploy.scheduler import slurm
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import PATIENCE, output_of, submit_job, wait_for
from tests.cluster.no_container import DELIVERY, without_container
from tests.labs import StartLab
from tests.once import test_answers
from tests.once.conftest import place_in

FORGETS = 5
"""Seconds after which the lab's Slurm forgets a job that has ended."""

PROGRAM = "case $HPCDEPLOY_TASK in 0) exit 0 ;; 1) exit 3 ;; *) exec sleep 600 ;; esac"


@pytest.fixture(scope="session")
def older(start_lab: StartLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run a lab of Debian 12 whose Slurm forgets a job five seconds after its end."""
    with start_lab(tmp_path_factory.mktemp("older"), slurm="22.05", min_job_age=FORGETS) as lab:
        yield lab


@pytest.fixture(scope="session")
def another(older: Lab) -> Lab:
    """Give the lab with another release of Slurm than the shared lab's."""
    return older


@pytest.fixture
def cluster(another: Lab, tmp_path: Path) -> Cluster:
    environ = {"XDG_STATE_HOME": str(another.state.parent.parent), "HOME": str(tmp_path)}
    found = load_project(tmp_path, environ, optional=True).clusters["lab"]
    assert found.ssh_config == str(another.ssh_config)
    return without_container(found, another)


def status_when(
    run: Run, wanted: set[State], cluster: Cluster, connections: Connections, store: Store, *, task: int = 0
) -> RunStatus:
    until = time.monotonic() + PATIENCE
    current = RunStatus(run=run, tasks=(), asked=0)
    while time.monotonic() < until:
        current = follow.status([current], lambda _: connections.to(cluster), store).statuses[0]
        if current.tasks and current.tasks[task].state in wanted:
            return current
        time.sleep(0.5)
    raise AssertionError(f"never came to be {wanted}; at last {current.tasks}")


def test_it_is_slurm_22_05(older: Lab) -> None:
    assert b"22.05" in inside(older, ["squeue", "--version"], user=older.user).stdout
    assert older.schedulers == ("slurm",)


def test_a_jobs_life_is_followed_from_its_hold_to_its_end(
    another: Lab, cluster: Cluster, connections: Connections, store: Store
) -> None:
    job = Job(name="life", image="test", command=("sh", "-c", PROGRAM), array=Array(size=4), slurm=(("hold", True),))
    run = submit_job(job, "slurm", cluster, DELIVERY, connections, store).run
    held = status_when(run, {State.HELD}, cluster, connections, store)
    assert {task.state for task in held.tasks} == {State.HELD}
    assert "its owner holds it" in slurm.explain(held.tasks[0])
    assert inside(another, ["scontrol", "release", run.job_id], user=another.user).returncode == 0
    running = status_when(run, {State.RUNNING}, cluster, connections, store, task=3)
    assert running.tasks[3].node in {"node1", "node2"}
    assert running.tasks[3].started
    # By tasks: 2 reaches its time limit, 3 is cancelled; 0 and 1 ended by themselves.
    limited = ["scontrol", "update", f"JobId={run.job_id}_2", "TimeLimit=0-00:00:01"]
    assert inside(another, limited).returncode == 0
    assert inside(another, ["scancel", f"{run.job_id}_3"], user=another.user).returncode == 0
    ended = wait_for(run, cluster, connections, store)
    states = [State.COMPLETED, State.FAILED, State.TIMEOUT, State.CANCELLED]
    assert [task.state for task in ended.tasks] == states
    assert [task.exit_code for task in ended.tasks][:2] == [0, 3]
    until = time.monotonic() + PATIENCE
    while inside(another, ["scontrol", "show", "job", run.job_id], user=another.user).returncode == 0:
        assert time.monotonic() < until, "Slurm does not forget"
        time.sleep(1)
    forgotten = follow.status([RunStatus(run=run, tasks=(), asked=0)], lambda _: connections.to(cluster), store)
    assert [task.state for task in forgotten.statuses[0].tasks] == states


def test_logs_are_found_whatever_stands_in_the_roots_name(
    another: Lab, cluster: Cluster, connections: Connections, store: Store
) -> None:
    odd = replace(cluster, root=f"{another.scratch}/50%j %a%%x,")
    job = Job(name="odd", image="test", command=("sh", "-c", "echo $HPCDEPLOY_TASK"), array=Array(size=2))
    run = submit_job(job, "slurm", odd, DELIVERY, connections, store).run
    status = wait_for(run, odd, connections, store)
    assert [output_of(status, odd, connections, task) for task in range(2)] == ["0\n", "1\n"]


@pytest.mark.parametrize(
    "wanted", [Resources(cpus=100), Resources(nodes=99), Resources(gpus=9)], ids=["cpus", "nodes", "gpus"]
)
def test_a_job_that_slurm_rejects_is_no_run(
    wanted: Resources, older: Lab, cluster: Cluster, connections: Connections, store: Store
) -> None:
    job = Job(name="large", image="test", command=("true",), resources=wanted)
    with pytest.raises(SchedulerError, match="Requested node configuration is not available"):
        submit_job(job, "slurm", cluster, DELIVERY, connections, store)
    assert store.latest() == []


def test_a_job_that_was_renamed_is_followed_and_cancelled_and_one_that_is_held_after_a_requeue_is_held(
    older: Lab, cluster: Cluster, connections: Connections, store: Store
) -> None:
    job = Job(name="renamed", image="test", command=("sleep", "600"), slurm=(("requeue", True),))
    run = submit_job(job, "slurm", cluster, DELIVERY, connections, store).run
    status_when(run, {State.RUNNING}, cluster, connections, store)
    assert inside(older, ["scontrol", "update", f"JobId={run.job_id}", "JobName=better"]).returncode == 0
    assert inside(older, ["scontrol", "requeuehold", run.job_id]).returncode == 0
    [task] = status_when(run, {State.HELD}, cluster, connections, store).tasks
    assert task.expected == 0
    assert "scontrol release" in slurm.explain(task)
    cancel([RunStatus(run=run, tasks=(), asked=0)], lambda _: connections.to(cluster), store)
    assert inside(older, ["squeue", "--noheader", f"--jobs={run.job_id}"], user=older.user).stdout.strip() == b""


def test_an_exit_code_that_only_accounting_knows_is_unknown_where_it_may_be_either_of_two(
    older: Lab, cluster: Cluster, connections: Connections, store: Store
) -> None:
    ends = ("sh", "-c", "case $HPCDEPLOY_TASK in 0) exit 9 ;; 1) exit 137 ;; 2) exit 128 ;; esac")
    run = submit_job(
        Job(name="codes", image="test", command=ends, array=Array(size=4)), "slurm", cluster, DELIVERY, connections, store
    ).run
    wait_for(run, cluster, connections, store)
    assert inside(older, ["bash", "-c", f"rm {run.folder}/tasks/*.end"], user=older.user).returncode == 0
    until = time.monotonic() + PATIENCE
    told = RunStatus(run=run, tasks=(), asked=0)
    while not told.tasks or told.tasks[3].exit_code is None:
        assert time.monotonic() < until, "accounting does not learn of it"
        told = follow.status([replace(told, tasks=())], lambda _: connections.to(cluster), store).statuses[0]
    # sacct has 9, 9 and 0, and its JSON has 0 for all.
    assert [task.exit_code for task in told.tasks] == [None, None, None, 0]
    assert [task.state for task in told.tasks] == [State.FAILED] * 3 + [State.COMPLETED]


def required_secrets(lab: Lab) -> dict[str, int]:
    """Count the questions that the controller was asked, by their name (sdiag(1))."""
    lines = inside(lab, ["sdiag"], user=lab.user).stdout.decode().splitlines()
    found = [re.match(r"\s*(REQUEST_JOB\w*_INFO\w*)\s.*count:(\d+)", line) for line in lines]
    return {match[1]: int(match[2]) for match in found if match}


@pytest.mark.parametrize("count", [1, 30])
def test_the_controller_is_asked_once_and_for_this_persons_jobs_only(
    another: Lab, cluster: Cluster, connections: Connections, store: Store, count: int
) -> None:
    line = f"cd $SCRATCH; for i in $(seq {count}); do sbatch --parsable --hold --job-name=many-$i --wrap true; done"
    numbers = inside(another, ["bash", "-lc", line], user=another.user).stdout.decode().split()
    blank = Run(
        id="", job="many", cluster="lab", scheduler="slurm", image="", sha256="", tasks=1, command=(), submitted=0
    )  # fmt: skip
    runs = [replace(blank, id=f"many-{place}", job_id=number) for place, number in enumerate(numbers, start=1)]
    before = required_secrets(another)
    known = [RunStatus(run=run, tasks=(), asked=0) for run in runs]
    asked = follow.status(known, lambda _: connections.to(cluster), store)
    assert {one.state for one in asked.statuses} == {State.HELD}
    more = {name: number - before.get(name, 0) for name, number in required_secrets(another).items()}
    assert {name: number for name, number in more.items() if number} == {"REQUEST_JOB_USER_INFO": 1}
    inside(another, ["scancel", *numbers], user=another.user)


def test_a_node_that_fails_is_not_the_jobs_fault_and_one_that_may_be_requeued_begins_anew(
    another: Lab, cluster: Cluster, connections: Connections, store: Store
) -> None:
    sleeper = Job(name="node", image="test", command=("sleep", "600"), slurm=(("nodelist", "node2"),))
    last, again = (
        submit_job(
            replace(sleeper, slurm=(*sleeper.slurm, (option, True))), "slurm", cluster, DELIVERY, connections, store
        ).run
        for option in ("no-requeue", "requeue")
    )
    for run in (last, again):
        status_when(run, {State.RUNNING}, cluster, connections, store)
    down = ["scontrol", "update", "NodeName=node2", "State=DOWN", "Reason=test"]
    try:
        assert inside(another, down).returncode == 0
        [task] = status_when(last, {State.NODE_FAIL}, cluster, connections, store).tasks
        assert "not its own fault" in slurm.explain(task)
        [task] = status_when(again, {State.PENDING}, cluster, connections, store).tasks
        assert task.restarts == 1
    finally:
        inside(another, ["scontrol", "update", "NodeName=node2", "State=RESUME"])
    cancel([RunStatus(run=again, tasks=(), asked=0)], lambda _: connections.to(cluster), store)


def test_a_requeue_is_told_and_the_tasks_of_a_long_list_are_all_there(
    another: Lab, cluster: Cluster, connections: Connections, store: Store
) -> None:
    job = Job(name="again", image="test", command=("sleep", "600"), slurm=(("requeue", True),))
    run = submit_job(job, "slurm", cluster, DELIVERY, connections, store).run
    status_when(run, {State.RUNNING}, cluster, connections, store)
    assert inside(another, ["scontrol", "requeue", run.job_id], user=another.user).returncode == 0
    [task] = status_when(run, {State.PENDING}, cluster, connections, store).tasks
    assert task.restarts == 1
    assert task.expected > 0
    squares = [number * number for number in range(1, 40)]
    line = f"cd $SCRATCH && sbatch --parsable --hold --array={','.join(map(str, squares))} --job-name=squares --wrap true"
    made = inside(another, ["bash", "-lc", line], user=another.user).stdout.decode().strip()
    sparse = replace(run, id="squares", job_id=made, tasks=squares[-1] + 1)
    known = [RunStatus(run=sparse, tasks=(), asked=0)]
    [told] = follow.status(known, lambda _: connections.to(cluster), store).statuses
    assert [task.task for task in told.tasks if task.state is State.HELD] == squares
    cancel([*known, RunStatus(run=run, tasks=(), asked=0)], lambda _: connections.to(cluster), store)


@pytest.mark.parametrize("how", ["lost", "mute", "denied"])
def test_a_job_whose_answer_was_lost_is_found(another: Lab, cluster: Cluster, how: str) -> None:
    place = place_in(another, replace(cluster, image_cache=""), f"{another.scratch}/once")
    test_answers.test_a_job_whose_answer_was_lost_is_found(place, "slurm", how)
