"""A run has one job, with any number of calls by any client, and any process killed in between."""

import threading
import time
from dataclasses import replace

import pytest

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import SchedulerError
from hpcdeploy.flows.submit import Submitted, plan_run, resume, submit
from hpcdeploy.image import PublishedImage
from hpcdeploy.job import Job, Resources
from hpcdeploy.progress import Feedback
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.run import State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy.transport.connect import open_transport
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.conftest import ROOT
from tests.cluster.driving import submit_job, wait_for
from tests.shared import OWN

HELLO = Job(name="hello", image="test", command=("echo", "hello"))
BOTH = pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])


def jobs_of(lab: Lab, scheduler: SchedulerName, run_id: str) -> set[str]:
    """Ask the scheduler itself, and its accounting or history, which jobs bear a run's name."""
    question = (
        f"squeue --noheader --states=all --name={run_id} --format=%F;"
        f" sacct --noheader --allocations --parsable2 --format=JobID --name={run_id}"
        if scheduler == "slurm"
        else f"""condor_q -constraint 'HpcdeployRun == "{run_id}"' -af ClusterId;"""
        f""" condor_history -constraint 'HpcdeployRun == "{run_id}"' -af ClusterId"""
    )
    said = inside(lab, ["bash", "-c", question], user=lab.user)
    return {line.split("_")[0].strip() for line in said.stdout.decode().splitlines() if line.strip()}


def by_hand(lab: Lab, script: str) -> str:
    """Run a script on the login node as a person would who has never heard of hpcdeploy."""
    return inside(lab, ["bash", "-s"], user=lab.user, stdin=script.encode()).stdout.decode()


@BOTH
def test_the_script_run_by_hand_again_and_again_submits_once(
    lab: Lab, scheduler: SchedulerName, cluster: Cluster, delivery: Delivery
) -> None:
    run = plan_run(HELLO, cluster, scheduler, delivery, now=time.time())
    script = submission(run, HELLO, cluster, delivery)
    first = by_hand(lab, script)
    assert '"already": false' in first
    for _ in range(2):
        assert '"already": true' in by_hand(lab, script)
    assert len(jobs_of(lab, scheduler, run.id)) == 1


@BOTH
def test_a_call_that_died_after_submitting_is_answered_by_asking_the_scheduler(
    lab: Lab, scheduler: SchedulerName, cluster: Cluster, delivery: Delivery
) -> None:
    run = plan_run(HELLO, cluster, scheduler, delivery, now=time.time())
    script = submission(run, HELLO, cluster, delivery)
    by_hand(lab, script)
    folder = f"{lab.scratch}/{ROOT}/runs/{run.id}"
    assert inside(lab, ["rm", f"{folder}/id"], user=lab.user).returncode == 0
    assert '"already": true' in by_hand(lab, script)
    assert len(jobs_of(lab, scheduler, run.id)) == 1


@BOTH
def test_two_clients_that_submit_one_run_at_once_make_one_job(
    lab: Lab, scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, store: Store
) -> None:
    run = plan_run(HELLO, cluster, scheduler, delivery, now=time.time())
    script = submission(run, HELLO, cluster, delivery)
    store.add(run, script)
    done: list[Submitted] = []

    def client() -> None:
        with Connections(open_transport) as own:
            done.append(resume(run, script, own.to(cluster), store))

    clients = [threading.Thread(target=client) for _ in range(4)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    assert sorted(one.already for one in done) == [False, True, True, True]
    assert jobs_of(lab, scheduler, run.id) == {done[0].run.job_id}


@BOTH
def test_a_connection_that_dies_in_the_middle_is_answered_by_asking_again(
    lab: Lab, scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    session = f"{lab.scratch}/{OWN}/session-{scheduler}"
    slow = replace(cluster, setup=(f'echo "$PPID" > {session}', "sleep 3"))
    said: list[bytes] = []

    def cut() -> None:
        # What sshd started for this connection, and for no other test run's.
        found = f"for _ in $(seq 300); do [ -s {session} ] && break; sleep 0.1; done"
        inside(lab, ["bash", "-c", f'{found}; kill -KILL "$(cat {session})"'])

    run = plan_run(HELLO, slow, scheduler, delivery, now=time.time())
    script = submission(run, HELLO, slow, delivery)
    cutter = threading.Thread(target=cut)
    cutter.start()
    done = submit(run, script, connections.to(slow), store, feedback=Feedback(report=said.append))
    cutter.join()
    assert any(b"trying again" in piece for piece in said)
    assert jobs_of(lab, scheduler, run.id) == {done.run.job_id}


def test_what_the_scheduler_refuses_is_said_in_its_own_words_and_leaves_no_run(
    cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    job = Job(name="refused", image="test", command=("true",), resources=Resources(partition="no-such-partition"))
    with pytest.raises(SchedulerError, match="invalid partition"):
        submit_job(job, "slurm", cluster, delivery, connections, store)
    assert store.latest() == []


def test_many_runs_that_want_one_image_at_once_download_it_once(
    lab: Lab, cluster: Cluster, published: PublishedImage, delivery: Delivery, store: Store
) -> None:
    elsewhere = replace(cluster, root=f"$SCRATCH/{OWN}/once")
    said: list[bytes] = []
    done: list[Submitted] = []

    def client() -> None:
        run = plan_run(HELLO, elsewhere, "slurm", delivery, now=time.time())
        with Connections(open_transport) as own:
            script = submission(run, HELLO, elsewhere, delivery)
            done.append(submit(run, script, own.to(elsewhere), store, feedback=Feedback(report=said.append)))

    clients = [threading.Thread(target=client) for _ in range(6)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    words = b"".join(said)
    assert len(done) == 6
    assert words.count(b"pulling the image oras:") == 1
    assert words.count(b"another run is pulling the image") >= 1


@pytest.mark.container
def test_an_image_that_is_not_the_one_asked_for_is_never_used(
    lab: Lab, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    wrong = replace(delivery, sha256="0" * 64)
    with pytest.raises(SchedulerError, match="the registry sent another image"):
        submit_job(HELLO, "slurm", cluster, wrong, connections, store)
    found = inside(lab, ["bash", "-c", f"ls -A {lab.scratch}/{ROOT}/images {lab.scratch}/{ROOT}/tmp"], user=lab.user)
    assert b"000000.sif" not in found.stdout
    assert b".part" not in found.stdout
    assert b"pull-" not in found.stdout


def test_a_second_job_of_a_run_finds_the_claim_of_the_first_and_goes(
    lab: Lab, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    job = Job(name="claim", image="test", command=("echo", "ran"))
    run = submit_job(job, "slurm", cluster, delivery, connections, store).run
    assert wait_for(run, cluster, connections, store).state is State.COMPLETED
    twice = f"cd {run.folder} && sbatch --wait --parsable --chdir=$PWD --output=second.out --error=second.err job.sh"
    assert inside(lab, ["bash", "-lc", twice], user=lab.user).returncode == 0
    second = inside(
        lab, ["bash", "-c", f"cat {run.folder}/second.out {run.folder}/second.err"], user=lab.user
    ).stdout.decode()
    assert "ran" not in second
    assert f"belongs to job {run.job_id}" in second
