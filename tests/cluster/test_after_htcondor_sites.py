"""Runs that wait for others in a pool that is set up as sites are, and what a crash of its schedd does to them."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.job import After, Job, Resources, Retries
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.state import Lab
from tests.cluster.chains import Chains


@pytest.fixture
def chains(
    lab: Lab, site: Cluster, delivery: Delivery, connections: Connections, store: Store, tmp_path: Path
) -> Iterator[Chains]:
    made = Chains(lab, site, delivery, connections, store, tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("container", ["universe", "singularity-image", "apptainer"])
def test_whoever_starts_the_container_the_run_waits_and_has_its_gpu_and_its_retries(container: str, chains: Chains) -> None:
    chains.cluster = replace(chains.cluster, htcondor_container=container)  # type: ignore[arg-type]
    # The worker fetches the image itself.
    chains.delivery = replace(chains.delivery, in_job=container == "universe")
    first = chains.submit("first", "sleep", "3")
    run, script = chains.planned(
        Job(
            name="second",
            image="test",
            command=("sh", "-c", 'echo "$HPCDEPLOY_RESTART" "${CUDA_VISIBLE_DEVICES%%-*}"; exit 75'),
            after=(After(what=first.id),),
            resources=Resources(gpus=1),
            retries=Retries(max=1, exit_codes=(75,)),
        )
    )
    status = chains.end_of(chains.deliver(run, script).run)
    assert (status.state, status.exit_code) == (State.FAILED, 75)
    assert chains.output(status).splitlines() == ["1 GPU"]
    assert len(chains.jobs(run, "JobUniverse != 7")) == 1


def crash_schedd(chains: Chains) -> None:
    """Kill the pool's schedd, and wait until its master has started another one."""

    def schedd() -> list[str]:
        return chains.ask("sed -n 's/.*condor_schedd.*pid and pgroup = //p' $(condor_config_val LOG)/MasterLog | tail -n 1")

    [before] = schedd()
    chains.ask(f"kill -KILL {before}")
    for _ in range(60):
        if schedd() != [before]:
            return
        time.sleep(0.5)
    raise AssertionError("the master starts no schedd")


def test_a_schedd_that_crashes_while_a_run_waits_and_while_it_runs_starts_it_once(chains: Chains) -> None:
    first = chains.submit("first", "sleep", "15")
    second = chains.submit("second", "sh", "-c", "sleep 20; echo ran", after=[After(what=first.id)])
    chains.until(second, lambda status: status.state is State.PENDING)
    crash_schedd(chains)
    chains.until(second, lambda status: status.state is State.RUNNING, 120)
    crash_schedd(chains)
    status = chains.end_of(second)
    assert (status.state, chains.output(status)) == (State.COMPLETED, "ran\n")
    assert chains.jobs(second) == {second.job_id}
    assert len(chains.jobs(second, "JobUniverse != 7")) == 1


def test_a_dagman_that_somebody_holds_is_told_as_held_and_goes_on_when_it_is_released(chains: Chains) -> None:
    first = chains.submit("first", "sleep", "3")
    second = chains.submit("second", "true", after=[After(what=first.id)])
    chains.until(second, lambda status: status.state is State.PENDING)
    chains.ask(f"condor_hold {second.job_id}")
    held = chains.until(second, lambda status: status.state is State.HELD)
    assert held.tasks[0].code == "1.0"
    assert chains.end_of(first).state is State.COMPLETED
    time.sleep(1)
    assert chains.now(second).state is State.HELD
    chains.ask(f"condor_release {second.job_id}")
    assert chains.end_of(second).state is State.COMPLETED
