"""Sweeps on a real cluster: every task has its own parameters, and they are exactly those that were written."""

import json
import time
from dataclasses import replace

import pytest

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.flows import follow
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.job import Array, Job, Resources
from hpcdeploy.parameters import Parameters
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import RunStatus, State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import PATIENCE, output_of, submit_job, wait_for

BOTH = pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
PROGRAM = """
import json, os, sys
names = [name for name in os.environ if name.startswith(("HPCDEPLOY_PARAM_", "HPCDEPLOY_TASK", "V"))]
print(json.dumps([sys.argv[1:], {name: os.environ[name] for name in names}]))
"""
ODD = (
    "",
    " ",
    " a  b ",
    "$HOME",
    "$(id) `id`",
    'it\'s "so"',
    "two\nlines\n\n",
    "\n",
    "tab\t",
    "back\\slash\\",
    "\\0101 %s %%",
    "# no comment",
    "$(Process) $$(X) $ENV(HOME)",
    "a,b;c:d=e",
    "{lr} {{lr}}",
    "naïve ☃ \U0001f600 \u0081\u2028",
    "-n",
    "*",
    "0.10",
)


@BOTH
def test_every_value_reaches_its_task_byte_for_byte(
    scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    rows = tuple((value, str(number)) for number, value in enumerate(ODD))
    job = Job(
        name="odd",
        image="test",
        command=("python3", "-c", PROGRAM.replace("{", "{{").replace("}", "}}"), "{odd}", "<{odd}>{number}{{}}", "$HOME"),
        environment=(("V", "[{odd}]"),),
        array=Array(size=len(rows), parameters=Parameters(names=("odd", "number"), rows=rows)),
    )
    run = submit_job(job, scheduler, cluster, delivery, connections, store).run
    status = wait_for(run, cluster, connections, store)
    assert status.state is State.COMPLETED
    for task, (odd, number) in enumerate(rows):
        words, seen = json.loads(output_of(status, cluster, connections, task))
        assert words == [odd, f"<{odd}>{number}{{}}", "$HOME"]
        assert seen == {
            "HPCDEPLOY_PARAM_odd": odd,
            "HPCDEPLOY_PARAM_number": number,
            "HPCDEPLOY_TASK": str(task),
            "V": f"[{odd}]",
        }


@BOTH
def test_a_value_of_the_greatest_size_reaches_its_program(
    scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    rows = ((" " * 26_000,), ("x" * 131_000,))
    job = Job(
        name="large",
        image="test",
        command=("sh", "-c", 'printf %s "$1" | wc -c; printf %s "$HPCDEPLOY_PARAM_v" | wc -c', "sh", "{v}"),
        array=Array(size=2, parameters=Parameters(names=("v",), rows=rows)),
    )
    run = submit_job(job, scheduler, cluster, delivery, connections, store).run
    status = wait_for(run, cluster, connections, store)
    assert [output_of(status, cluster, connections, task) for task in range(2)] == ["26000\n" * 2, "131000\n" * 2]


def test_values_reach_every_process_of_a_task_on_several_nodes(
    cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    rows = (('it\'s "so"',), ("",))
    job = Job(
        name="wide",
        image="test",
        command=("printf", "<%s>\\n", "{v}"),
        resources=Resources(nodes=2),
        array=Array(size=2, parameters=Parameters(names=("v",), rows=rows)),
    )
    run = submit_job(job, "slurm", cluster, delivery, connections, store).run
    status = wait_for(run, cluster, connections, store)
    assert [output_of(status, cluster, connections, task) for task in range(2)] == [f"<{v}>\n" * 2 for (v,) in rows]


def test_values_reach_a_container_that_the_job_starts_itself_under_htcondor(
    cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    job = Job(
        name="own",
        image="test",
        command=("printf", "%s", "{v}"),
        array=Array(size=len(ODD), parameters=Parameters(names=("v",), rows=tuple((value,) for value in ODD))),
    )
    itself = replace(cluster, htcondor_container="apptainer")
    run = submit_job(job, "htcondor", itself, delivery, connections, store).run
    status = wait_for(run, itself, connections, store)
    assert [output_of(status, itself, connections, task) for task in range(len(ODD))] == list(ODD)


@BOTH
def test_ten_thousand_tasks_are_one_submission_and_one_job(
    lab: Lab, scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    rows = tuple((str(number),) for number in range(10_000))
    held = Job(
        name="many",
        image="test",
        command=("test", "{seed}", "-ge", "0"),
        array=Array(size=len(rows), parameters=Parameters(names=("seed",), rows=rows)),
        slurm=(("hold", True),),
        htcondor=(("hold", "true"),),
    )
    calls: list[object] = []
    transport = connections.to(cluster).link.open()
    ask = transport.run

    def counted(argv: object, **options: object) -> object:
        calls.append(argv)
        return ask(argv, **options)  # type: ignore[arg-type]

    transport.run = counted  # type: ignore[method-assign, assignment]
    run = submit_job(held, scheduler, cluster, delivery, connections, store).run
    assert len(calls) == 1
    assert run.job_id.isdigit()
    question = (
        f"squeue --noheader --format='%K %i' --jobs={run.job_id}; scancel {run.job_id}"
        if scheduler == "slurm"
        else f"condor_q {run.job_id} -factory -autoformat TotalSubmitProcs; condor_rm {run.job_id} >&2"
    )
    said = inside(lab, ["bash", "-c", question], user=lab.user)
    assert ("0-9999" if scheduler == "slurm" else "10000") in said.stdout.decode(), said


@BOTH
def test_a_throttled_sweep_runs_every_task_with_its_own_value(
    scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    rows = tuple((f"value {number}",) for number in range(6))
    job = Job(
        name="few",
        image="test",
        command=("echo", "{v}"),
        array=Array(size=6, throttle=2, parameters=Parameters(names=("v",), rows=rows)),
    )
    run = submit_job(job, scheduler, cluster, delivery, connections, store).run
    status = wait_for(run, cluster, connections, store)
    assert [output_of(status, cluster, connections, task) for task in range(6)] == [f"value {task}\n" for task in range(6)]


@BOTH
def test_a_cancelled_sweep_ends_in_every_task_also_in_those_that_were_never_made(
    scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    rows = tuple((str(number),) for number in range(5))
    array = Array(size=5, throttle=2, parameters=Parameters(names=("v",), rows=rows))
    job = Job(name="stopped", image="test", command=("sleep", "600"), array=array)
    run = submit_job(job, scheduler, cluster, delivery, connections, store).run
    known = [RunStatus(run=run, tasks=(), asked=0)]
    until = time.monotonic() + PATIENCE
    asked = follow.status(known, lambda _: connections.to(cluster), store).statuses[0]
    while [task.state for task in asked.tasks] != [State.RUNNING] * 2 + [State.PENDING] * 3:
        assert time.monotonic() < until, asked
        time.sleep(0.3)
        asked = follow.status(known, lambda _: connections.to(cluster), store).statuses[0]
    cancel([asked], lambda _: connections.to(cluster), store)
    ended = wait_for(run, cluster, connections, store)
    assert [task.state for task in ended.tasks] == [State.CANCELLED] * 5
