"""Following many runs: few queries, short answers, and no cluster waits for another."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import ConfigError, ConnectionLostError
from hpcdeploy.flows import follow, logs
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.job import Array, Job
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import Run, RunStatus, State
from hpcdeploy.scheduler import htcondor, slurm
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import PATIENCE, submit_job, wait_for
from tests.shared import OWN

SLEEPER = Job(name="sleeper", image="test", command=("sleep", "600"))


@pytest.fixture
def held(lab: Lab) -> Iterator[Callable[..., list[Run]]]:
    """Give a way to hand Slurm jobs that wait for ever, of which hpcdeploy knows no more than their numbers."""
    made: list[Run] = []

    def submit(count: int, *, tasks: int = 1, array: str = "") -> list[Run]:
        option = f"--array={array}" if array else ""
        name = f"{OWN}-{len(made)}"
        line = f"for i in $(seq {count}); do sbatch --parsable --hold {option} --job-name={name}-$i --wrap true; done"
        done = inside(lab, ["bash", "-lc", f"cd $SCRATCH; {line}"], user=lab.user, timeout=300)
        assert done.returncode == 0, done.stderr
        runs = [
            Run(
                id=f"{name}-{number}",
                job="held",
                cluster="lab",
                scheduler="slurm",
                image="",
                sha256="",
                tasks=tasks,
                command=(),
                submitted=int(time.time()),
                job_id=job_id,
            )
            for number, job_id in enumerate(done.stdout.decode().split(), start=1)
        ]
        assert len(runs) == count
        made.extend(runs)
        return runs

    yield submit
    inside(lab, ["scancel", *(run.job_id for run in made)], user=lab.user)


def nothing_known(runs: list[Run]) -> list[RunStatus]:
    return [RunStatus(run=run, tasks=(), asked=0) for run in runs]


def overheard(connections: Connections, cluster: Cluster) -> list[bytes]:
    """Give what each command answers from now on, as it answers."""
    answers: list[bytes] = []
    transport = connections.to(cluster).link.open()
    ask = transport.run

    def listened(argv: object, **options: object) -> object:
        done = ask(argv, **options)  # type: ignore[arg-type]
        answers.append(done.stdout)
        return done

    transport.run = listened  # type: ignore[method-assign, assignment]
    return answers


def eventually(
    run: Run, wanted: Callable[[RunStatus], bool], cluster: Cluster, connections: Connections, store: Store
) -> RunStatus:
    until = time.monotonic() + PATIENCE
    current = nothing_known([run])[0]
    while time.monotonic() < until:
        current = follow.status([current], lambda _: connections.to(cluster), store).statuses[0]
        if wanted(current):
            return current
        time.sleep(0.5)
    raise AssertionError(f"never came to be as it should; at last {current.tasks}")


def test_hundreds_of_runs_are_one_question(
    cluster: Cluster, connections: Connections, store: Store, held: Callable[..., list[Run]]
) -> None:
    runs = held(300)
    answers = overheard(connections, cluster)
    asked = follow.status(nothing_known(runs), lambda _: connections.to(cluster), store)
    assert [one.state for one in asked.statuses] == [State.HELD] * 300
    assert len(answers) == 1


def test_ten_thousand_tasks_that_wait_are_one_line(
    cluster: Cluster, connections: Connections, store: Store, held: Callable[..., list[Run]]
) -> None:
    [run] = held(1, tasks=10_000, array="0-9999")
    answers = overheard(connections, cluster)
    [status] = follow.status(nothing_known([run]), lambda _: connections.to(cluster), store).statuses
    assert {task.state for task in status.tasks} == {State.HELD}
    assert len(status.tasks) == 10_000
    assert len(answers[0]) < 1000


def test_tasks_whose_numbers_make_a_long_list_are_all_there(
    cluster: Cluster, connections: Connections, store: Store, held: Callable[..., list[Run]]
) -> None:
    squares = [number * number for number in range(1, 40)]
    [run] = held(1, tasks=squares[-1] + 1, array=",".join(map(str, squares)))
    [status] = follow.status(nothing_known([run]), lambda _: connections.to(cluster), store).statuses
    assert [task.task for task in status.tasks if task.state is State.HELD] == squares


@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
def test_of_a_task_that_ended_nothing_is_said_again(
    scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    command = ("sh", "-c", 'test "$HPCDEPLOY_TASK" = 1 && exit 3; exec sleep 600')
    job = Job(name="first", image="test", command=command, array=Array(size=3))
    run = submit_job(job, scheduler, cluster, delivery, connections, store).run
    ended = eventually(run, lambda one: one.over == {1}, cluster, connections, store)
    answers = overheard(connections, cluster)
    [again] = follow.status([ended], lambda _: connections.to(cluster), store).statuses
    assert again.tasks[1] == ended.tasks[1]
    assert again.tasks[1].exit_code == 3
    said = answers[0].decode()
    assert f"{run.job_id}|1|" not in said
    assert f"{run.id} 1 end" not in said
    assert f"({int(run.job_id):03}.001." not in said
    cancel([again], lambda _: connections.to(cluster), store)
    assert wait_for(run, cluster, connections, store).tasks[1].exit_code == 3


def test_a_cluster_that_hangs_holds_up_no_other(
    cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    run = submit_job(Job(name="there", image="test", command=("true",)), "slurm", cluster, delivery, connections, store).run
    hanging = replace(cluster, name="hanging", setup=("sleep 60",))
    stuck = replace(run, id="stuck-1", cluster="hanging")
    known = nothing_known([stuck, run])
    clusters = {"hanging": hanging, "lab": cluster}
    for asked in follow.wait(known, lambda name: connections.to(clusters[name]), store, patience=PATIENCE):
        if asked.statuses[1].ended:
            break
    assert asked.statuses[1].state is State.COMPLETED
    asked = follow.status(known, lambda name: connections.to(clusters[name]), store, patience=8)
    assert [one.state for one in asked.statuses] == [State.UNKNOWN, State.COMPLETED]
    assert [failure.partition(":")[0] for failure in asked.failures] == ["hanging"]
    assert "no answer within 8 s" in asked.failures[0]


def test_a_cluster_that_does_not_let_us_in_holds_up_no_other(
    lab: Lab, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    run = submit_job(Job(name="there", image="test", command=("true",)), "slurm", cluster, delivery, connections, store).run
    text = lab.ssh_config.read_text().replace(f"User {lab.user}", "User nobody")
    strange = store._path.with_name("ssh_config")
    strange.write_text(text)
    refusing = replace(cluster, name="refusing", ssh_config=str(strange))
    known = nothing_known([replace(run, id="kept-out-1", cluster="refusing"), run])
    clusters = {"refusing": refusing, "lab": cluster}
    wait_for(run, cluster, connections, store)
    asked = follow.status(known, lambda name: connections.to(clusters[name]), store)
    assert [one.state for one in asked.statuses] == [State.UNKNOWN, State.COMPLETED]
    assert "login as nobody on hpcdeploy-lab failed" in asked.failures[0]
    assert asked.statuses[0].tasks[0].reason == "refusing could not be queried"


def test_a_cluster_that_no_settings_describe_any_more_holds_up_no_other(
    cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    run = submit_job(Job(name="there", image="test", command=("true",)), "slurm", cluster, delivery, connections, store).run
    wait_for(run, cluster, connections, store)

    def found(name: str) -> Cluster:
        if name == "forgotten":
            raise ConfigError("no cluster has that name")
        return cluster

    known = nothing_known([replace(run, id="old-1", cluster="forgotten"), run])
    asked = follow.status(known, lambda name: connections.to(found(name)), store)
    assert [one.state for one in asked.statuses] == [State.UNKNOWN, State.COMPLETED]
    assert asked.failures == ("forgotten: no cluster has that name",)
    with pytest.raises(ConfigError, match="no cluster has that name"):
        list(follow.wait(known, lambda name: connections.to(found(name)), store))
    with pytest.raises(ConfigError, match="no cluster has that name"):
        follow.status(known[:1], lambda name: connections.to(found(name)), store)


def test_logs_are_followed_on_where_the_connection_died(
    lab: Lab, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    session = f"{lab.scratch}/{OWN}/logs-session"
    # The setup is the job's too, and there its parent is Slurm.
    noting = replace(cluster, setup=(f'[ -n "${{SLURM_JOB_ID-}}" ] || echo "$PPID" > {session}',))
    # It goes on when the test has seen what it wrote, however slow the machine is.
    program = "for i in 1 2 3; do echo tick $i; until [ -e go.$i ]; do sleep 0.1; done; done"
    job = Job(name="ticks", image="test", command=("sh", "-c", program))
    run = submit_job(job, "slurm", noting, delivery, connections, store).run
    said: list[str] = []
    written = b""

    def die_in_the_next_look() -> None:
        transport = connections.to(noting).link.open()
        go_on = transport.run

        def run_or_die(argv: Sequence[str], *, stdin: Any = b"", **options: Any) -> object:
            if isinstance(stdin, bytes) and b"Print what tasks wrote" in stdin:
                raise ConnectionLostError("the connection died in the middle")
            return go_on(argv, stdin=stdin, **options)

        transport.run = run_or_die  # type: ignore[method-assign, assignment]

    known = nothing_known([run])[0]
    output = f"{lab.scratch}/{noting.root.removeprefix('$SCRATCH/')}/runs/{run.id}/output"
    for piece in logs.follow(known, [0], connections.to(noting), store, interval=0.5, report=said.append):
        written += piece.out
        if not piece.out:
            continue
        seen = written.decode().split()[-1]
        if seen == "1":  # between two commands: what sshd started for this connection, and for no other test run's
            assert inside(lab, ["bash", "-c", f'kill -KILL "$(cat {session})"']).returncode == 0
        if seen == "2":  # in the middle of one
            die_in_the_next_look()
        assert inside(lab, ["touch", f"{output}/go.{seen}"], user=lab.user).returncode == 0
    assert written.decode().splitlines() == [f"tick {number}" for number in range(1, 4)]
    assert "the connection died in the middle" in said


def test_a_job_that_is_requeued_waits_again_and_says_so(
    lab: Lab, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    job = replace(SLEEPER, slurm=(("requeue", True),))
    run = submit_job(job, "slurm", cluster, delivery, connections, store).run
    eventually(run, lambda one: one.state is State.RUNNING, cluster, connections, store)
    assert inside(lab, ["scontrol", "requeue", run.job_id], user=lab.user).returncode == 0
    # Slurm 22.05 has no reason until it looks at the job again.
    status = eventually(
        run, lambda one: one.state is State.PENDING and one.tasks[0].reason != "", cluster, connections, store
    )
    [task] = status.tasks
    assert task.restarts == 1
    assert task.expected > task.started == 0
    assert "a requeue sets it two minutes ahead" in slurm.explain(task)
    cancel([status], lambda _: connections.to(cluster), store)


def test_a_job_that_waits_for_another_says_so(
    cluster: Cluster, delivery: Delivery, connections: Connections, store: Store, held: Callable[..., list[Run]]
) -> None:
    [first] = held(1)
    job = replace(SLEEPER, slurm=(("dependency", f"afterok:{first.job_id}"),))
    run = submit_job(job, "slurm", cluster, delivery, connections, store).run
    [task] = eventually(run, lambda one: one.tasks[0].reason == "Dependency", cluster, connections, store).tasks
    assert "waits for another job" in slurm.explain(task)
    cancel(nothing_known([run]), lambda _: connections.to(cluster), store)


def test_a_hold_of_htcondor_tells_its_code(
    lab: Lab, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    job = replace(SLEEPER, htcondor=(("transfer_input_files", "/not/there"),))
    run = submit_job(job, "htcondor", cluster, delivery, connections, store).run
    status = eventually(run, lambda one: one.state is State.HELD, cluster, connections, store)
    [task] = status.tasks
    assert task.code == "13.2"
    assert "/not/there" in task.reason
    assert "No such file or directory" in htcondor.explain(task)
    cancel([status], lambda _: connections.to(cluster), store)


@pytest.mark.usefixtures("htcondor")
def test_a_job_that_no_machine_can_run_says_so(
    cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    job = replace(SLEEPER, htcondor=(("request_memory", "900TB"),))
    run = submit_job(job, "htcondor", cluster, delivery, connections, store).run
    status = eventually(run, lambda one: bool(one.tasks[0].reason), cluster, connections, store)
    assert status.state is State.PENDING
    assert "better-analyze" in htcondor.explain(status.tasks[0])
    cancel([status], lambda _: connections.to(cluster), store)
