"""Jobs that Slurm rejects, and jobs that it or a site renames: the first are no submissions, the second stay the run's."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import SchedulerError
from hpcdeploy.flows import follow
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.job import Array, Job, Resources
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import Run, RunStatus, State
from hpcdeploy.scheduler import slurm
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import submit_job, wait_for

JOB = Job(name="odd", image="test", command=("sleep", "600"))
IMPOSSIBLE = {
    "cpus": replace(JOB, resources=Resources(cpus=100)),
    "nodes": replace(JOB, resources=Resources(nodes=99)),
    "gpus": replace(JOB, resources=Resources(gpus=9)),
    "gpu type": replace(JOB, resources=Resources(gpus=1, gpu_type="h100")),
    "disk": replace(JOB, resources=Resources(disk=10**9)),
    "array": replace(JOB, resources=Resources(cpus=100), array=Array(size=3)),
}


def on_login_node(lab: Lab, *command: str) -> str:
    done = inside(lab, list(command), user=lab.user, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def alive(lab: Lab, job_id: str) -> bool:
    return bool(on_login_node(lab, "bash", "-c", f"squeue --noheader --format=%F | grep -x {job_id} || true"))


def state_of(run: Run, cluster: Cluster, connections: Connections, store: Store) -> State:
    return follow.status([RunStatus(run=run, tasks=(), asked=0)], lambda _: connections.to(cluster), store).statuses[0].state


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_a_job_that_slurm_rejects_is_no_run(
    what: str, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    with pytest.raises(SchedulerError, match="Requested node configuration is not available"):
        submit_job(IMPOSSIBLE[what], "slurm", cluster, delivery, connections, store)
    assert store.latest() == []


def test_what_a_newer_slurm_would_leave_in_the_queue_for_ever_is_asked_about_before(
    lab: Lab, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    # As 26.05: it says so, and takes the job; --test-only answers as before.
    newer = """sbatch() {
        case " $* " in
          *" --version "*) echo "slurm-wlm 26.05.5" ;;
          *" --test-only "*) command sbatch "$@" ;;
          *) echo "taken: $*" >&2; command sbatch --hold --nodes=1 --cpus-per-task=1 "$@" ;;
        esac
    }"""
    site = replace(cluster, setup=(newer,))
    for what in ("cpus", "nodes", "array"):
        with pytest.raises(SchedulerError, match=r"Slurm rejects the job: .*node configuration is not available"):
            submit_job(IMPOSSIBLE[what], "slurm", site, delivery, connections, store)
    assert store.latest() == []
    taken = submit_job(replace(JOB, array=Array(size=2)), "slurm", site, delivery, connections, store).run
    assert on_login_node(lab, "scancel", taken.job_id) == ""


def test_an_mpi_plugin_that_slurm_lacks_is_refused_with_the_list(
    cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    with pytest.raises(SchedulerError, match=r"no MPI plugin pmix_v1; set the key mpi.* none .*pmi2"):
        submit_job(replace(JOB, mpi="pmix_v1"), "slurm", cluster, delivery, connections, store)
    assert store.latest() == []


ENDS = "case $HPCDEPLOY_TASK in 0) exit 9 ;; 1) exit 137 ;; 2) exit 128 ;; esac"


def test_exit_codes_that_only_accounting_knows_are_right_and_why_a_task_failed_is_told(
    lab: Lab, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    job = replace(JOB, command=("sh", "-c", ENDS), array=Array(size=4))
    run = submit_job(job, "slurm", cluster, delivery, connections, store).run
    ended = wait_for(run, cluster, connections, store)
    assert [task.reason for task in ended.tasks] == ["NonZeroExitCode"] * 3 + [""]
    assert "see its log" in slurm.explain(ended.tasks[0])
    on_login_node(lab, "bash", "-c", f"rm {run.folder}/tasks/*.end")
    # Slurm 22.05 tells no code that could be another one and 128 (`hpcdeploy.scheduler.slurm.queries`).
    wanted: list[int | None] = [None, None, None, 0] if lab.slurm == "22.05" else [9, 137, 128, 0]
    assert codes_of(run, wanted, cluster, connections, store) == wanted


def codes_of(
    run: Run, wanted: list[int | None], cluster: Cluster, connections: Connections, store: Store
) -> list[int | None]:
    """Return the exit codes of a run's tasks once they are those `wanted`: accounting learns of them a little later."""
    until = time.monotonic() + 60
    while True:
        known = [RunStatus(run=run, tasks=(), asked=0)]
        codes = [task.exit_code for task in follow.status(known, lambda _: connections.to(cluster), store).statuses[0].tasks]
        if codes == wanted or time.monotonic() > until:
            return codes
        time.sleep(0.5)


RENAMED = ["better", "a|b", "two words"]


@pytest.mark.parametrize("array", [None, Array(size=2)], ids=["job", "array"])
@pytest.mark.parametrize("name", RENAMED)
def test_a_job_that_was_renamed_is_followed_and_cancelled(
    name: str,
    array: Array | None,
    lab: Lab,
    cluster: Cluster,
    delivery: Delivery,
    connections: Connections,
    store: Store,
) -> None:
    held = replace(JOB, array=array, slurm=(("hold", True),))
    run = submit_job(held, "slurm", cluster, delivery, connections, store).run
    on_login_node(lab, "scontrol", "update", f"JobId={run.job_id}", f"JobName={name}")
    assert state_of(run, cluster, connections, store) is State.HELD
    assert [one.id for one in cancel(store.find([run.id]), lambda _: connections.to(cluster), store)] == [run.id]
    assert not alive(lab, run.job_id)
    assert wait_for(run, cluster, connections, store).state is State.CANCELLED


def test_a_job_that_has_a_runs_number_but_not_its_id_is_never_called_cancelled(
    lab: Lab, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    run = submit_job(replace(JOB, slurm=(("hold", True),)), "slurm", cluster, delivery, connections, store).run
    other = submit_job(replace(JOB, slurm=(("hold", True),)), "slurm", cluster, delivery, connections, store).run
    on_login_node(lab, "scontrol", "update", f"JobId={run.job_id}", "JobName=better", "Comment=theirs")
    with pytest.raises(SchedulerError, match=f"all of .*job {run.job_id}.* is in the queue.*theirs.*scancel {run.job_id}"):
        cancel(store.find([run.id, other.id]), lambda _: connections.to(cluster), store)
    assert (alive(lab, run.job_id), alive(lab, other.job_id)) == (True, False)
    assert on_login_node(lab, "bash", "-c", f"ls {run.folder}/cancelled {other.folder}/cancelled || true").split() == [
        f"{other.folder}/cancelled"
    ]
    on_login_node(lab, "scancel", run.job_id)


def test_an_htcondor_job_that_lost_its_runs_id_is_never_called_cancelled(
    lab: Lab, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    run = submit_job(replace(JOB, htcondor=(("hold", "true"),)), "htcondor", cluster, delivery, connections, store).run
    on_login_node(lab, "condor_qedit", run.job_id, "HpcdeployRun", '"another"')
    with pytest.raises(SchedulerError, match=f"job {run.job_id}.* is in the queue.*another.*condor_rm {run.job_id}"):
        cancel(store.find([run.id]), lambda _: connections.to(cluster), store)
    assert on_login_node(lab, "condor_q", run.job_id, "-autoformat", "JobStatus") == "5"
    on_login_node(lab, "condor_rm", run.job_id)


SCHEDULERS: tuple[SchedulerName, ...] = ("slurm", "htcondor")


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_job_that_is_held_while_it_runs_was_not_restarted(
    scheduler: SchedulerName, lab: Lab, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    run = submit_job(replace(JOB, requeue=True), scheduler, cluster, delivery, connections, store).run
    *_, running = (one for one in until_state(run, State.RUNNING, cluster, connections, store))
    hold = ["scontrol", "requeuehold", run.job_id] if scheduler == "slurm" else ["condor_hold", run.job_id]
    on_login_node(lab, *hold)
    *_, held = (one for one in until_state(run, State.HELD, cluster, connections, store))
    [task] = held.tasks
    assert (task.expected, running.tasks[0].restarts) == (0, 0)
    if scheduler == "slurm":
        assert "requeued in held state" in task.reason.replace("_", " ") or task.reason == "JobHeldUser"
    else:
        assert task.restarts == 0
    cancel([held], lambda _: connections.to(cluster), store)


def until_state(run: Run, wanted: State, cluster: Cluster, connections: Connections, store: Store) -> Iterator[RunStatus]:
    """Yield what is known of a run until it is in the state that is wanted."""
    known = [RunStatus(run=run, tasks=(), asked=0)]
    for asked in follow.wait(known, lambda _: connections.to(cluster), store, first=0.3, slowest=1, patience=120):
        yield asked.statuses[0]
        if asked.statuses[0].state is wanted:
            return
    raise AssertionError(f"the run ended and was never {wanted}")
