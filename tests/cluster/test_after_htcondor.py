"""A run that starts after another one has ended, on HTCondor: DAGMan waits, and the run's folder tells it for what."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import SchedulerError
from hpcdeploy.job import After, Array, Job
from hpcdeploy.parameters import Parameters
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import State
from hpcdeploy.scheduler.htcondor.reasons import explain
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.chains import Chains


@pytest.fixture
def chains(
    lab: Lab, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store, tmp_path: Path
) -> Iterator[Chains]:
    made = Chains(lab, cluster, delivery, connections, store, tmp_path)
    yield made
    made.close()


def test_a_chain_runs_link_by_link_and_says_what_it_waits_for(chains: Chains) -> None:
    first = chains.submit("first", "sh", "-c", "sleep 8; date +%s%N")
    second = chains.submit("second", "sh", "-c", "sleep 1; date +%s%N", after=[After(what=first.id)])
    third = chains.submit("third", "sh", "-c", "date +%s%N", after=[After(what=second.id), After(what=first.id)])
    [waiting] = chains.until(third, lambda status: status.state is State.PENDING).tasks
    assert waiting.reason == f"waits for {second.id}, {first.id}"
    assert "no action needed" in explain(waiting)
    assert waiting.restarts == 0
    times = []
    for run in (third, second, first):
        status = chains.end_of(run)
        assert (status.state, status.exit_code) == (State.COMPLETED, 0)
        times.append(int(chains.output(status)))
    assert times == sorted(times, reverse=True)


def test_what_was_to_follow_a_good_end_is_removed_after_a_bad_one_and_what_follows_any_end_runs(chains: Chains) -> None:
    bad = chains.submit("bad", "sh", "-c", "sleep 5; exit $HPCDEPLOY_TASK", array=Array(size=2))
    ok = chains.submit("ok", "true", after=[After(what=bad.id)])
    beyond = chains.submit("beyond", "true", after=[After(what=ok.id)])
    anyway = chains.submit("anyway", "true", after=[After(what=bad.id, kind="afterany")])
    mend = chains.submit("mend", "sh", "-c", "exit 3", after=[After(what=bad.id, kind="afternotok")])
    ends = {run.job: chains.end_of(run) for run in (ok, beyond, anyway, mend)}
    assert {job: status.state for job, status in ends.items()} == {
        "ok": State.CANCELLED,
        "beyond": State.CANCELLED,
        "anyway": State.COMPLETED,
        "mend": State.FAILED,
    }
    assert ends["mend"].exit_code == 3
    [task] = ends["ok"].tasks
    assert task.reason == f"it was to start once run {bad.id} had ended well, but task 1 ended with 1"
    assert "or use afterany" in explain(task)
    assert f"once run {ok.id} had ended well, but task 0 never began" in ends["beyond"].tasks[0].reason
    said = inside(chains.lab, ["cat", f"{ok.folder}/logs/0.err"], user=chains.lab.user).stdout.decode()
    assert said.startswith("this run was to start once ")
    assert chains.leaves_the_queue(ok, beyond)


def test_what_can_never_start_is_refused_at_once_and_what_may_start_does(chains: Chains) -> None:
    good, bad = chains.submit("good", "true"), chains.submit("bad", "sh", "-c", "exit 3")
    assert [chains.end_of(run).state for run in (good, bad)] == [State.COMPLETED, State.FAILED]
    with pytest.raises(SchedulerError, match="but task 0 ended with 3; submit it again, or use afterany"):
        chains.submit("next", "true", after=[After(what=good.id), After(what=bad.id)])
    with pytest.raises(SchedulerError, match=r"only if run good-.* failed, but that has ended well"):
        chains.submit("next", "true", after=[After(what=good.id, kind="afternotok")])
    assert {known.run.job for known in chains.store.latest()} == {"good", "bad"}
    both = [After(what=good.id), After(what=bad.id, kind="afternotok")]
    assert chains.end_of(chains.submit("next", "true", after=both)).state is State.COMPLETED
    chains.ask(f"rm {good.folder}/events.log")
    with pytest.raises(SchedulerError, match="but it is gone from the queue and its event log shows no end"):
        chains.submit("next", "true", after=[After(what=good.id)])


def test_a_run_without_a_job_there_is_refused(chains: Chains) -> None:
    run = chains.submit("gone", "true")
    assert chains.end_of(run).state is State.COMPLETED
    chains.ask(f"rm {run.folder}/id")
    with pytest.raises(SchedulerError, match=f"run {run.id}, which this one waits for, has no job on this cluster"):
        chains.submit("next", "true", after=[After(what=run.id)])


def test_a_run_that_waits_can_be_cancelled_and_what_waits_for_it_goes_too(chains: Chains) -> None:
    first = chains.submit("first", "sleep", "300")
    second = chains.submit("second", "true", after=[After(what=first.id)])
    third = chains.submit("third", "true", after=[After(what=second.id, kind="afterany")])
    chains.until(second, lambda status: status.state is State.PENDING)
    chains.cancel(second)
    assert chains.end_of(second).state is State.CANCELLED
    assert chains.end_of(third).state is State.COMPLETED
    running = chains.submit("running", "sleep", "300", after=[After(what=third.id)])
    chains.until(running, lambda status: status.state is State.RUNNING)
    chains.cancel(first, running)
    assert [chains.end_of(one).state for one in (first, running)] == [State.CANCELLED] * 2
    assert chains.leaves_the_queue(second, running)
    assert chains.jobs(second, "JobUniverse != 7") == set()


def test_a_throttled_sweep_waits_and_is_one_dag_however_often_it_is_submitted(chains: Chains) -> None:
    first = chains.submit("first", "sleep", "8")
    letters = Parameters(names=("letter",), rows=tuple((letter,) for letter in ("a b", "c'", '"d', "e", "f")))
    sweep = Job(
        name="sweep",
        image="test",
        command=("sh", "-c", 'echo "$0"; [ "$HPCDEPLOY_TASK" != 0 ] || exit 1; sleep 4', "{letter}"),
        after=(After(what=first.id),),
        array=Array(size=5, throttle=2, parameters=letters),
    )
    run, script = chains.planned(sweep)
    made = chains.deliver(run, script)
    # As if the first call had been cut off before it could note the number, and then as if all of its folder were lost.
    chains.ask(f"rm {made.run.folder}/id")
    again = chains.deliver(run, script, again=True)
    assert (again.already, again.run.job_id) == (True, made.run.job_id)
    by_hand = inside(chains.lab, ["bash", "-s"], user=chains.lab.user, stdin=script.encode()).stdout.decode()
    assert '"already": true' in by_hand
    status = chains.end_of(made.run)
    assert [task.exit_code for task in status.tasks] == [1, 0, 0, 0, 0]
    assert [chains.output(status, task) for task in range(5)] == [
        "a b\n",
        "c'\n",
        '"d\n',
        "e\n",
        "f\n",
    ]
    assert chains.jobs(run) == {made.run.job_id}
    assert len(chains.jobs(run, "JobUniverse != 7")) == 1


def test_a_task_that_fails_takes_no_other_with_it(chains: Chains) -> None:
    first = chains.submit("first", "true")
    fails = '[ "$HPCDEPLOY_TASK" != 1 ] || exit 3; sleep 15'
    run = chains.submit("array", "sh", "-c", fails, after=[After(what=first.id)], array=Array(size=3))
    assert [task.exit_code for task in chains.end_of(run).tasks] == [0, 3, 0]


def test_what_htcondor_would_refuse_once_the_run_starts_is_refused_at_once(chains: Chains) -> None:
    first = chains.submit("first", "sleep", "300")
    wrong = Job(name="wrong", image="test", after=(After(what=first.id),), htcondor=(("request_memory", "7 +"),))
    with pytest.raises(SchedulerError, match="RequestMemory = 7"):
        chains.deliver(*chains.planned(wrong))
    chains.cancel(first)


def test_a_second_dagman_of_a_run_starts_nothing(chains: Chains) -> None:
    first = chains.submit("first", "sleep", "8")
    run = chains.submit("second", "true", after=[After(what=first.id)])
    another = "sed 's/job.dag.lock/other.lock/' job.dag.condor.sub >other.sub && condor_submit -terse other.sub"
    twice = chains.ask(f"cd {run.folder} && {another}")
    assert chains.end_of(run).state is State.COMPLETED
    assert chains.jobs(run) == {run.job_id, twice[0].partition(".")[0]}
    assert len(chains.jobs(run, "JobUniverse != 7")) == 1


def test_dagman_that_calls_twice_submits_once(chains: Chains) -> None:
    first = chains.submit("first", "true")
    run = chains.submit("second", "true", after=[After(what=first.id)])
    assert chains.end_of(run).state is State.COMPLETED
    [job] = chains.jobs(run, "JobUniverse != 7")
    said = inside(chains.lab, ["bash", "-c", f"cd {run.folder} && ./node.sh job.sub"], user=chains.lab.user)
    assert said.stdout.decode() == f"1 job(s) submitted to cluster {job}.\n"
