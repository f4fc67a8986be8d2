"""``cancel`` as it is typed, of a run whose submission was cut off too, and what a job finds that comes too late."""

import time
from dataclasses import replace

import pytest

from hpcdeploy.cluster import Cluster, HtcondorContainer, SchedulerName
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.flows.submit import plan_run
from hpcdeploy.job import Job
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.run import State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.conftest import ROOT
from tests.cluster.driving import submit_job, wait_for
from tests.cluster.test_once import jobs_of
from tests.cluster.test_watching import SLEEPER, Home, home

__all__ = ["home"]

BOTH = pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])


@BOTH
def test_one_call_cancels_a_run_that_goes_on_and_one_that_nobody_is_sure_of(
    lab: Lab, scheduler: SchedulerName, home: Home, cluster: Cluster, delivery: Delivery, connections: Connections
) -> None:
    sure = submit_job(SLEEPER, scheduler, cluster, delivery, connections, home.store).run
    unsure = plan_run(SLEEPER, cluster, scheduler, delivery, now=time.time())
    home.store.add(unsure, submission(unsure, SLEEPER, cluster, delivery))
    assert home.command("wait", unsure.id).returncode == 71
    done = home.command("cancel", "--yes", unsure.id, sure.id)
    assert done.stdout.splitlines() == [
        f"cancelled {unsure.id} (it has no job, and can no longer be submitted)",
        f"cancelled {sure.id} (job {sure.job_id})",
    ], done.stderr
    assert wait_for(sure, cluster, connections, home.store).state is State.CANCELLED
    for verb in ("status", "wait", "watch"):
        said = home.command(verb, unsure.id)
        assert (said.returncode, "CANCELLED" in said.stdout) == (1 if verb == "wait" else 0, True), said.stderr
    resumed = home.command("submit", "--resume", unsure.id)
    assert (resumed.returncode, resumed.stderr.count("\n")) == (2, 1)
    assert jobs_of(lab, scheduler, unsure.id) == set()


IN_QUEUE = {
    "slurm": "squeue --noheader --name={run}",
    "htcondor": """condor_q -constraint 'HpcdeployRun == "{run}"' -af ClusterId""",
}


@BOTH
def test_a_run_that_has_ended_is_not_reported_as_cancelled(
    lab: Lab, scheduler: SchedulerName, home: Home, cluster: Cluster, delivery: Delivery, connections: Connections
) -> None:
    quick = Job(name="quick", image="test", command=("true",))
    ended = submit_job(quick, scheduler, cluster, delivery, connections, home.store).run
    going = submit_job(SLEEPER, scheduler, cluster, delivery, connections, home.store).run
    query = IN_QUEUE[scheduler].format(run=ended.id)
    until_ended = f'for _ in $(seq 300); do left=$({query}) && [ -z "$left" ] && exit 0; sleep 0.3; done; exit 1'
    assert inside(lab, ["bash", "-c", until_ended], user=lab.user, timeout=120).returncode == 0
    done = home.command("cancel", "--yes", ended.id, going.id)
    assert done.stdout.splitlines() == [f"cancelled {going.id} (job {going.job_id})"], done.stderr
    assert f"not cancelled, because the run had already ended: {ended.id}" in done.stderr
    again = home.command("cancel", "--yes", ended.id)
    assert (again.returncode, again.stdout) == (0, "")
    assert "nothing to cancel" in again.stderr
    assert wait_for(ended, cluster, connections, home.store).state is State.COMPLETED
    assert wait_for(going, cluster, connections, home.store).state is State.CANCELLED


@pytest.mark.parametrize("container", ["universe", "singularity-image", "apptainer"])
def test_an_htcondor_job_that_comes_after_its_run_was_cancelled_runs_nothing_of_it(
    lab: Lab,
    container: HtcondorContainer,
    site: Cluster,
    delivery: Delivery,
    connections: Connections,
    store: Store,
) -> None:
    # condor_submit said that it had not reached the schedd; so its request may still arrive.
    commands = f"{lab.scratch}/{ROOT}/late-{container}"
    line = f"mkdir -p {commands} && cat >{commands}/condor_submit && chmod 0755 {commands}/condor_submit"
    denying = b'#!/bin/sh\necho "ERROR: Failed to connect to the schedd" >&2; exit 1\n'
    assert inside(lab, ["bash", "-c", line], user=lab.user, stdin=denying).returncode == 0
    cluster = replace(site, htcondor_container=container)
    lost = replace(cluster, setup=(*cluster.setup, f"export PATH={commands}:$PATH"))
    job = Job(name="late", image="test", command=("echo", "it ran"))
    run = plan_run(job, cluster, "htcondor", delivery, now=time.time())
    script = submission(run, job, lost, delivery)
    store.add(run, script)
    assert inside(lab, ["bash", "-s"], user=lab.user, stdin=script.encode(), timeout=120).returncode == 13
    folder = f"{lab.scratch}/{ROOT}/runs/{run.id}"
    assert inside(lab, ["rm", f"{folder}/unanswered"], user=lab.user).returncode in {0, 1}
    [cancelled] = cancel(store.find([run.id]), lambda _: connections.to(cluster), store)
    assert (cancelled.job_id, store.find([run.id])[0].state) == ("", State.CANCELLED)

    gone = f"""[ -z "$(condor_q -constraint 'HpcdeployRun == "{run.id}"' -af ClusterId)" ]"""
    until_gone = f"for _ in $(seq 300); do {gone} && exit 0; sleep 0.3; done; exit 1"
    late = f"{cluster.setup[0]}; cd {folder} && condor_submit job.sub && {until_gone}"
    done = inside(lab, ["bash", "-c", late], user=lab.user, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    wrote = inside(lab, ["bash", "-c", f"cd {folder}/logs && cat 0.out && cat 0.err >&2"], user=lab.user)
    assert wrote.stdout == b""
    assert f"run {run.id} was cancelled; nothing to do" in wrote.stderr.decode()
