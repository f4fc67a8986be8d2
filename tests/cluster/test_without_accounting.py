"""Slurm without accounting, and a scheduler that forgot: the runs' own folders tell the truth."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcdeploy.config.files import load_project
from hpcdeploy.flows import follow
from hpcdeploy.job import Array, Job
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import RunStatus, State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy.transport.connect import open_transport
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import submit_job, wait_for
from tests.cluster.no_container import runs_containers, without_container
from tests.labs import StartLab


@pytest.fixture
def forgetful(start_lab: StartLab, tmp_path: Path) -> Iterator[Lab]:
    """Run a lab of the test's own, without accounting, whose Slurm forgets a job two seconds after its end."""
    with start_lab(tmp_path, accounting=False, min_job_age=2) as lab:
        yield lab


def test_states_are_right_without_accounting_and_after_slurm_forgot(
    forgetful: Lab, lab: Lab, delivery: Delivery, tmp_path: Path
) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    cluster = load_project(tmp_path, environ, optional=True).clusters["lab"]
    assert cluster.ssh_config == str(forgetful.ssh_config)
    if not runs_containers(forgetful):
        cluster = without_container(cluster, forgetful)
    assert inside(forgetful, ["sacct"], user=forgetful.user).returncode != 0
    store = Store(tmp_path / "runs.db")
    job = Job(name="forgotten", image="test", command=("sh", "-c", "exit $((HPCDEPLOY_TASK * 4))"), array=Array(size=2))
    with Connections(open_transport) as connections:
        run = submit_job(job, "slurm", cluster, delivery, connections, store).run
        assert [task.exit_code for task in wait_for(run, cluster, connections, store).tasks] == [0, 4]
        until = time.monotonic() + 120
        while inside(forgetful, ["scontrol", "show", "job", run.job_id], user=forgetful.user).returncode == 0:
            assert time.monotonic() < until, "Slurm does not forget"
            time.sleep(1)
        asked = follow.status([RunStatus(run=run, tasks=(), asked=0)], lambda _: connections.to(cluster), store)
    assert [(task.state, task.exit_code) for task in asked.statuses[0].tasks] == [(State.COMPLETED, 0), (State.FAILED, 4)]
