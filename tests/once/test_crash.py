"""A controller that crashes or forgets, in a lab of this test's own: what is gone is said, and nothing is run again."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.config.files import load_project
from hpcdeploy.flows import follow
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import RunStatus, State
from hpcdeploy.store import Store
from hpcdeploy.transport.connect import open_transport
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.slurm import SPOOL
from tests.labs import StartLab
from tests.once.conftest import Place, place_in
from tests.once.test_answers import call, folder_of, jobs_of, on_login_node

STATE = f"{SPOOL}/ctld"


@pytest.fixture
def own(start_lab: StartLab, tmp_path: Path) -> Iterator[Place]:
    """Run a lab without accounting, whose Slurm forgets a job two seconds after its end."""
    with start_lab(tmp_path, accounting=False, min_job_age=2) as lab:
        environ = {"XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path)}
        yield place_in(lab, load_project(tmp_path, environ, optional=True).clusters["lab"], f"{lab.scratch}/once")


def restart_controller(place: Place, line: str) -> None:
    """Kill the controller, run `line`, and start the controller again."""
    start = "setsid runuser -u slurm -- /usr/sbin/slurmctld </dev/null >/dev/null 2>&1"
    gone = "pid=$(cat /run/slurm/slurmctld.pid) && kill -KILL $pid && while [ -e /proc/$pid ]; do sleep 0.1; done"
    again = f"{gone} && {line} && {start}"
    ready = "for _ in $(seq 100); do scontrol ping | grep -q UP && exit 0; sleep 0.2; done; exit 1"
    assert inside(place.lab, ["bash", "-c", f"{again}; {ready}"], timeout=60).returncode == 0


def test_a_job_that_a_crash_lost_is_said_and_one_that_ran_long_ago_is_not_run_again(own: Place, tmp_path: Path) -> None:
    ran = own.planned("slurm", held=False)
    job = call(own, ran).job
    gone = f"for _ in $(seq 300); do scontrol show job {job} >/dev/null 2>&1 || exit 0; sleep 0.2; done; exit 1"
    on_login_node(own, gone)
    assert on_login_node(own, f"ls {folder_of(own, ran)}/tasks") != ""
    again = call(own, ran, "again")
    assert again.already, again.words
    assert again.job == job

    # The controller writes its state every few seconds only. Restore that of before the submission, as a crash leaves it.
    lost = own.planned("slurm")
    restart_controller(own, f"rm -rf {STATE}.before && cp -a {STATE} {STATE}.before")
    job = call(own, lost).job
    restart_controller(own, f"rm -rf {STATE} && mv {STATE}.before {STATE}")
    assert not jobs_of(own, lost)
    said = call(own, lost, "again")
    assert said.code == 12
    assert f"does not know this run's job {job}" in said.words

    other = call(own, own.planned("slurm"))
    assert other.job == job, "Slurm gives the number to the next job"
    assert call(own, lost, "again").code == 12
    with Connections(open_transport) as connections:
        known = RunStatus(run=replace(lost.run, job_id=job), tasks=(), asked=0)
        asked = follow.status([known], lambda _: connections.to(own.cluster), Store(tmp_path / "runs.db"))
    assert [task.state for task in asked.statuses[0].tasks] == [State.UNKNOWN], "the other job is not this run's"
