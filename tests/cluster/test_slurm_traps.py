"""What Slurm and its sites do to those who submit and follow jobs: each trap that others fell into, on a real Slurm."""

from dataclasses import replace

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import SchedulerError
from hpcdeploy.flows import follow
from hpcdeploy.job import Array, Job, Resources
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import Run, RunStatus, State, TaskStatus
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import output_of, submit_job, wait_for
from tests.shared import OWN

HELLO = Job(name="hello", image="test", command=("sh", "-c", "echo $HPCDEPLOY_TASK"), array=Array(size=2))


def seen(run: Run, cluster: Cluster, connections: Connections, store: Store) -> tuple[TaskStatus, ...]:
    return follow.status([RunStatus(run=run, tasks=(), asked=0)], lambda _: connections.to(cluster), store).statuses[0].tasks


def images(cluster: Cluster) -> str:
    """Return the folder of a cluster's images, which another root would move."""
    return cluster.image_cache or f"{cluster.root}/images"


@pytest.mark.parametrize("array", [Array(size=2), None])
def test_logs_are_found_whatever_stands_in_the_roots_name(
    array: Array | None, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    odd = replace(cluster, root=cluster.root + "/50%j %a%%x 'it' \"so\",b=c;#&", image_cache=images(cluster))
    run = submit_job(replace(HELLO, array=array), "slurm", odd, delivery, connections, store).run
    status = wait_for(run, odd, connections, store)
    assert [output_of(status, odd, connections, task) for task in range(run.tasks)] == ["0\n", "1\n"][: run.tasks]


def test_a_root_with_a_backslash_is_refused_since_slurm_would_lose_the_logs(
    cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    odd = replace(cluster, root=cluster.root + "/a\\b", image_cache=images(cluster))
    with pytest.raises(SchedulerError, match="contains a backslash, and Slurm would lose the logs"):
        submit_job(HELLO, "slurm", odd, delivery, connections, store)
    assert store.latest() == []


@pytest.mark.parametrize(
    "site",
    [
        'sbatch() { echo "Welcome, 2 jobs of yours wait"; command sbatch "$@"; echo 4711 is your lucky number; }',
        'sbatch() { local id; id=$(command sbatch "$@") || return; echo "$id;nautilus"; }',
    ],
    ids=["words of the site", "the name of the cluster"],
)
def test_the_number_of_the_job_is_found_among_what_else_is_printed(
    site: str, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    talkative = replace(cluster, setup=(site,))
    run = submit_job(HELLO, "slurm", talkative, delivery, connections, store).run
    assert run.job_id.isdigit()
    assert wait_for(run, talkative, connections, store).state is State.COMPLETED


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_site_that_hands_no_environment_to_jobs_starts_every_process_with_the_programs_own(
    nodes: int, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    bare = replace(cluster, setup=('[ -n "${SLURM_JOB_ID-}" ] || export SBATCH_EXPORT=NONE LEAKED=yes',))
    job = Job(
        name="bare",
        image="test",
        command=("sh", "-c", 'echo "$MINE ${LEAKED-none} $SLURM_JOB_NUM_NODES"'),
        environment=(("MINE", "a, b"),),
        resources=Resources(nodes=nodes),
    )
    run = submit_job(job, "slurm", bare, delivery, connections, store).run
    status = wait_for(run, bare, connections, store)
    assert status.state is State.COMPLETED, status
    assert output_of(status, bare, connections) == f"a, b none {nodes}\n" * nodes


def is_not_taken(task: TaskStatus, name: str) -> bool:
    """Tell whether a task is not taken for that of a job called `name`; a name of several lines cuts its row in two."""
    return task.lost or ("\n" in name and task.reason.startswith("its row cannot be read"))


@pytest.mark.parametrize("name", ["a|b|COMPLETED|x", "two\nlines|3", "a b", "x" * 200])
def test_another_job_that_has_a_runs_number_is_not_taken_for_it_whatever_its_name(
    name: str, lab: Lab, cluster: Cluster, connections: Connections, store: Store
) -> None:
    line = ["sbatch", "--parsable", "--hold", f"--job-name={name}", "--wrap", "true"]
    made = inside(lab, ["bash", "-lc", 'cd "$SCRATCH" && exec "$@"', "bash", *line], user=lab.user)
    assert made.returncode == 0, made.stderr
    job_id = made.stdout.decode().strip()
    run = Run(
        id=f"{OWN}-other",
        job="other",
        cluster="lab",
        scheduler="slurm",
        image="",
        sha256="",
        tasks=1,
        command=(),
        submitted=0,
        job_id=job_id,
    )
    [task] = seen(run, cluster, connections, store)
    assert is_not_taken(task, name)
    assert inside(lab, ["scancel", job_id], user=lab.user).returncode == 0
    [task] = seen(run, cluster, connections, store)
    assert is_not_taken(task, name)


@pytest.mark.parametrize(
    ("sacct", "lost"),
    [
        ("sacct() { echo 'Slurm accounting storage is disabled' >&2; return 1; }", True),
        ("sacct() { echo 'sacct: error: Sending PersistInit msg: Connection refused' >&2; return 1; }", False),
    ],
    ids=["no accounting", "accounting is down"],
)
def test_accounting_that_does_not_answer_now_is_no_reason_to_give_a_task_up(
    sacct: str, lost: bool, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    run = replace(submit_job(HELLO, "slurm", cluster, delivery, connections, store).run, job_id="99999999", folder="")
    gone = replace(run, id=f"{run.id}-gone")
    silent = replace(cluster, setup=(sacct,))
    tasks = seen(gone, silent, connections, store)
    assert [task.state for task in tasks] == [State.UNKNOWN] * 2
    assert [task.lost for task in tasks] == [lost] * 2
    assert lost or tasks[0].reason == "no longer in the queue, and sacct could not be queried"
