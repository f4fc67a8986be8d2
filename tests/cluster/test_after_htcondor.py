"""A run that starts after another one has ended, on HTCondor: DAGMan waits, and the run's folder tells it for what."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.project import Project
from hpcdeploy.errors import SchedulerError
from hpcdeploy.flows import follow
from hpcdeploy.flows.after import predecessors
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.flows.connections import Connections
from hpcdeploy.flows.submit import Submitted, plan_run, submit
from hpcdeploy.job import After, Array, Job
from hpcdeploy.lab.inside import inside
from hpcdeploy.lab.state import Lab
from hpcdeploy.parameters import Parameters
from hpcdeploy.run import Run, RunStatus, State
from hpcdeploy.scheduler.htcondor.reasons import explain
from hpcdeploy.scheduler.login_node import Delivery, submission
from hpcdeploy.store import Store
from tests.cluster.driving import output_of, wait_for


@dataclass
class Driver:
    """Submits jobs that wait for others, as the command does."""

    lab: Lab
    cluster: Cluster
    delivery: Delivery
    connections: Connections
    store: Store
    folder: Path

    def planned(self, job: Job) -> tuple[Run, str]:
        run = plan_run(job, self.cluster, "htcondor", self.delivery, now=time.time())
        others = predecessors(job, Project(root=self.folder), self.cluster, "htcondor", self.store)
        return run, submission(run, job, self.cluster, self.delivery, after=others)

    def submit(self, name: str, *command: str, after: Sequence[After] = (), array: Array | None = None) -> Run:
        run, script = self.planned(Job(name=name, image="test", command=command, after=tuple(after), array=array))
        return self.deliver(run, script).run

    def deliver(self, run: Run, script: str, *, again: bool = False) -> Submitted:
        return submit(run, script, self.cluster, self.connections, self.store, again=again)

    def end_of(self, run: Run) -> RunStatus:
        return wait_for(run, self.cluster, self.connections, self.store)

    def now(self, run: Run) -> RunStatus:
        known = [RunStatus(run=run, tasks=(), asked=0)]
        return follow.status(known, lambda _: self.cluster, self.connections, self.store).statuses[0]

    def until(self, run: Run, there: Callable[[RunStatus], bool]) -> RunStatus:
        status = self.now(run)
        for _ in range(60):
            if there(status):
                break
            time.sleep(0.5)
            status = self.now(run)
        assert there(status), status
        return status

    def ask(self, command: str) -> list[str]:
        return inside(self.lab, ["bash", "-c", command], user=self.lab.user).stdout.decode().split()

    def leaves_the_queue(self, *runs: Run) -> bool:
        for _ in range(60):
            if not {run.id for run in runs} & set(self.ask("condor_q -af HpcdeployRun")):
                return True
            time.sleep(0.5)
        return False

    def jobs(self, run: Run, universe: str = "JobUniverse == 7") -> set[str]:
        """Ask which jobs of a run there are or were: those of DAGMan, or others."""
        ours = f"""-constraint 'HpcdeployRun == "{run.id}" && {universe}' -af ClusterId"""
        return set(self.ask(f"condor_q {ours}; condor_history {ours}"))


@pytest.fixture
def driver(lab: Lab, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store, tmp_path: Path) -> Driver:
    return Driver(lab, cluster, delivery, connections, store, tmp_path)


def test_a_chain_runs_link_by_link_and_says_what_it_waits_for(driver: Driver) -> None:
    first = driver.submit("first", "sh", "-c", "sleep 8; date +%s%N")
    second = driver.submit("second", "sh", "-c", "sleep 1; date +%s%N", after=[After(what=first.id)])
    third = driver.submit("third", "sh", "-c", "date +%s%N", after=[After(what=second.id), After(what=first.id)])
    [waiting] = driver.until(third, lambda status: status.state is State.PENDING).tasks
    assert waiting.reason == f"waits for {second.id}, {first.id}"
    assert "nothing need be done" in explain(waiting)
    assert waiting.restarts == 0
    times = []
    for run in (third, second, first):
        status = driver.end_of(run)
        assert (status.state, status.exit_code) == (State.COMPLETED, 0)
        times.append(int(output_of(status, driver.cluster, driver.connections)))
    assert times == sorted(times, reverse=True)


def test_what_was_to_follow_a_good_end_is_removed_after_a_bad_one_and_what_follows_any_end_runs(driver: Driver) -> None:
    bad = driver.submit("bad", "sh", "-c", "sleep 5; exit $HPCDEPLOY_TASK", array=Array(size=2))
    ok = driver.submit("ok", "true", after=[After(what=bad.id)])
    beyond = driver.submit("beyond", "true", after=[After(what=ok.id)])
    anyway = driver.submit("anyway", "true", after=[After(what=bad.id, kind="afterany")])
    mend = driver.submit("mend", "sh", "-c", "exit 3", after=[After(what=bad.id, kind="afternotok")])
    ends = {run.job: driver.end_of(run) for run in (ok, beyond, anyway, mend)}
    assert {job: status.state for job, status in ends.items()} == {
        "ok": State.CANCELLED,
        "beyond": State.CANCELLED,
        "anyway": State.COMPLETED,
        "mend": State.FAILED,
    }
    assert ends["mend"].exit_code == 3
    [task] = ends["ok"].tasks
    assert task.reason.startswith(f"it was to start once run {bad.id} had ended well, but task 1 ended with 1")
    assert "or say afterany" in explain(task)
    assert f"once run {ok.id} had ended well, but task 0 never began" in ends["beyond"].tasks[0].reason
    said = inside(driver.lab, ["cat", f"{ok.folder}/logs/0.err"], user=driver.lab.user).stdout.decode()
    assert said.startswith("this run was to start once ")
    assert driver.leaves_the_queue(ok, beyond)


def test_what_can_never_start_is_refused_at_once_and_what_may_start_does(driver: Driver) -> None:
    good, bad = driver.submit("good", "true"), driver.submit("bad", "sh", "-c", "exit 3")
    assert [driver.end_of(run).state for run in (good, bad)] == [State.COMPLETED, State.FAILED]
    with pytest.raises(SchedulerError, match="but task 0 ended with 3; submit it again, or say afterany"):
        driver.submit("next", "true", after=[After(what=good.id), After(what=bad.id)])
    with pytest.raises(SchedulerError, match=r"only if run good-.* failed, but that has ended well"):
        driver.submit("next", "true", after=[After(what=good.id, kind="afternotok")])
    assert {known.run.job for known in driver.store.latest()} == {"good", "bad"}
    both = [After(what=good.id), After(what=bad.id, kind="afternotok")]
    assert driver.end_of(driver.submit("next", "true", after=both)).state is State.COMPLETED


def test_a_run_without_a_job_there_is_refused(driver: Driver) -> None:
    run = driver.submit("gone", "true")
    assert driver.end_of(run).state is State.COMPLETED
    driver.ask(f"rm {run.folder}/id")
    with pytest.raises(SchedulerError, match=f"run {run.id}, which this one waits for, has no job on this cluster"):
        driver.submit("next", "true", after=[After(what=run.id)])


def test_a_run_that_waits_can_be_cancelled_and_what_waits_for_it_goes_too(driver: Driver) -> None:
    first = driver.submit("first", "sleep", "300")
    second = driver.submit("second", "true", after=[After(what=first.id)])
    third = driver.submit("third", "true", after=[After(what=second.id, kind="afterany")])
    driver.until(second, lambda status: status.state is State.PENDING)
    cancel([driver.now(second)], lambda _: driver.cluster, driver.connections)
    assert driver.end_of(second).state is State.CANCELLED
    assert driver.end_of(third).state is State.COMPLETED
    running = driver.submit("running", "sleep", "300", after=[After(what=third.id)])
    driver.until(running, lambda status: status.state is State.RUNNING)
    cancel([driver.now(one) for one in (first, running)], lambda _: driver.cluster, driver.connections)
    assert [driver.end_of(one).state for one in (first, running)] == [State.CANCELLED] * 2
    assert driver.leaves_the_queue(second, running)
    assert driver.jobs(second, "JobUniverse != 7") == set()


def test_a_throttled_sweep_waits_and_is_one_dag_however_often_it_is_submitted(driver: Driver) -> None:
    first = driver.submit("first", "sleep", "8")
    letters = Parameters(names=("letter",), rows=tuple((letter,) for letter in ("a b", "c'", '"d', "e", "f")))
    sweep = Job(
        name="sweep",
        image="test",
        command=("sh", "-c", 'echo "$0"; exit $(( HPCDEPLOY_TASK == 3 ))', "{letter}"),
        after=(After(what=first.id),),
        array=Array(size=5, throttle=2, parameters=letters),
    )
    run, script = driver.planned(sweep)
    made = driver.deliver(run, script)
    # As if the first call had been cut off before it could note the number, and then as if all of its folder were lost.
    driver.ask(f"rm {made.run.folder}/id")
    again = driver.deliver(run, script, again=True)
    assert (again.already, again.run.job_id) == (True, made.run.job_id)
    by_hand = inside(driver.lab, ["bash", "-s"], user=driver.lab.user, stdin=script.encode()).stdout.decode()
    assert '"already": true' in by_hand
    status = driver.end_of(made.run)
    assert [task.exit_code for task in status.tasks] == [0, 0, 0, 1, 0]
    assert [output_of(status, driver.cluster, driver.connections, task) for task in range(5)] == [
        "a b\n",
        "c'\n",
        '"d\n',
        "e\n",
        "f\n",
    ]
    assert driver.jobs(run) == {made.run.job_id}
    assert len(driver.jobs(run, "JobUniverse != 7")) == 1


def test_a_second_dagman_of_a_run_starts_nothing(driver: Driver) -> None:
    first = driver.submit("first", "sleep", "8")
    run = driver.submit("second", "true", after=[After(what=first.id)])
    another = "sed 's/job.dag.lock/other.lock/' job.dag.condor.sub >other.sub && condor_submit -terse other.sub"
    twice = driver.ask(f"cd {run.folder} && {another}")
    assert driver.end_of(run).state is State.COMPLETED
    assert driver.jobs(run) == {run.job_id, twice[0].partition(".")[0]}
    assert len(driver.jobs(run, "JobUniverse != 7")) == 1


def test_dagman_that_calls_twice_submits_once(driver: Driver) -> None:
    first = driver.submit("first", "true")
    run = driver.submit("second", "true", after=[After(what=first.id)])
    assert driver.end_of(run).state is State.COMPLETED
    [job] = driver.jobs(run, "JobUniverse != 7")
    said = inside(driver.lab, ["bash", "-c", f"cd {run.folder} && ./node.sh job.sub"], user=driver.lab.user)
    assert said.stdout.decode() == f"1 job(s) submitted to cluster {job}.\n"
