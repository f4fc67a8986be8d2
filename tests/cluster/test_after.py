"""A run that starts after another one has ended: Slurm waits while it knows the job, the runs' own notes tell afterwards."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.project import Project
from hpcdeploy.errors import SchedulerError
from hpcdeploy.flows.plan import predecessors
from hpcdeploy.flows.submit import plan_run, submit
from hpcdeploy.job import After, Array, Job
from hpcdeploy.progress import Feedback
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.run import Run, State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import output_of, wait_for


class Driver:
    """Submits jobs that wait for others, as the command does."""

    def __init__(self, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store, folder: Path) -> None:
        self.cluster, self.delivery, self.connections, self.store = cluster, delivery, connections, store
        self.project = Project(root=folder)
        self.said: list[bytes] = []

    def submit(self, name: str, *command: str, after: Sequence[After] = (), array: Array | None = None) -> Run:
        job = Job(name=name, image="test", command=command, after=tuple(after), array=array)
        run = plan_run(job, self.cluster, "slurm", self.delivery, now=0)
        others = predecessors(job, self.project, self.cluster, "slurm", self.store)
        script = submission(run, job, self.cluster, self.delivery, after=others)
        return submit(
            run, script, self.connections.to(self.cluster), self.store, feedback=Feedback(report=self.said.append)
        ).run

    def end_of(self, run: Run) -> State:
        return wait_for(run, self.cluster, self.connections, self.store).state


@pytest.fixture
def driver(cluster: Cluster, delivery: Delivery, connections: Connections, store: Store, tmp_path: Path) -> Driver:
    return Driver(cluster, delivery, connections, store, tmp_path)


def test_a_chain_runs_link_by_link(driver: Driver) -> None:
    first = driver.submit("first", "sh", "-c", "sleep 2; date +%s%N")
    second = driver.submit("second", "sh", "-c", "sleep 1; date +%s%N", after=[After(what=first.id)])
    third = driver.submit("third", "sh", "-c", "date +%s%N", after=[After(what=second.id), After(what=first.id)])
    times = []
    for run in (third, second, first):
        status = wait_for(run, driver.cluster, driver.connections, driver.store)
        assert status.state is State.COMPLETED
        times.append(int(output_of(status, driver.cluster, driver.connections)))
    assert times == sorted(times, reverse=True)


def test_what_was_to_follow_a_good_end_is_cancelled_after_a_bad_one_and_what_follows_any_end_runs(driver: Driver) -> None:
    bad = driver.submit("bad", "sh", "-c", "sleep 3; exit $HPCDEPLOY_TASK", array=Array(size=2))
    ok = driver.submit("ok", "true", after=[After(what=bad.id)])
    anyway = driver.submit("anyway", "true", after=[After(what=bad.id, kind="afterany")])
    mend = driver.submit("mend", "true", after=[After(what=bad.id, kind="afternotok")])
    assert [driver.end_of(run) for run in (ok, anyway, mend)] == [State.CANCELLED, State.COMPLETED, State.COMPLETED]


def test_a_run_that_ended_is_judged_by_its_own_notes_once_slurm_forgot_it(lab: Lab, driver: Driver) -> None:
    good, bad = driver.submit("good", "true"), driver.submit("bad", "sh", "-c", "exit 3")
    assert [driver.end_of(run) for run in (good, bad)] == [State.COMPLETED, State.FAILED]
    for run in (good, bad):
        # A name that no job bears: to Slurm these runs were never there.
        forgotten = replace(run, id=f"{run.id}-forgotten")
        renamed = inside(lab, ["cp", "-a", run.folder, f"{run.folder}-forgotten"], user=lab.user)
        assert renamed.returncode == 0
        driver.store.add(forgotten, "")
    good_id, bad_id = f"{good.id}-forgotten", f"{bad.id}-forgotten"
    for after in (After(what=good_id), After(what=good_id, kind="afterany"), After(what=bad_id, kind="afternotok")):
        assert driver.end_of(driver.submit("next", "true", after=[after])) is State.COMPLETED
    with pytest.raises(SchedulerError, match="failed: task 0 recorded exit code 3; submit that run again, or use afterany"):
        driver.submit("next", "true", after=[After(what=bad_id)])
    with pytest.raises(SchedulerError, match=r"only if run good-.* fails, but that run succeeded"):
        driver.submit("next", "true", after=[After(what=good_id, kind="afternotok")])
    assert inside(lab, ["rm", f"{good.folder}-forgotten/tasks/0.end"], user=lab.user).returncode == 0
    with pytest.raises(SchedulerError, match="task 0 recorded no exit code"):
        driver.submit("next", "true", after=[After(what=good_id)])


def test_a_run_without_a_job_there_is_refused(lab: Lab, driver: Driver) -> None:
    run = driver.submit("gone", "true")
    assert driver.end_of(run) is State.COMPLETED
    assert inside(lab, ["rm", f"{run.folder}/id"], user=lab.user).returncode == 0
    with pytest.raises(SchedulerError, match=f"run {run.id}, which this one waits for, has no job on this cluster"):
        driver.submit("next", "true", after=[After(what=run.id)])
    assert [known.run.job for known in driver.store.latest()] == ["gone"]
