"""Runs of several processes, runs that are warned, started again and tried again, on the lab's Slurm."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.flows import follow, logs
from hpcdeploy.job import Array, Bind, Job, Resources, Retries, Signal
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import NEVER_BEGAN, Run, RunStatus, State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import BEFORE, PATIENCE, output_of, requeued_before, submit_job, wait_for
from tests.shared import OWN

# Every process tells the first one its rank and is told who else is there; then it says what it knows of itself.
MEETING = """
import json, os, socket
rank, size = (int(os.environ[name]) for name in os.environ["NAMES"].split())
place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if rank == 0:
    with socket.create_server(("", place[1])) as server:
        others = [server.accept()[0] for _ in range(size - 1)]
        ranks = sorted([0] + [int(other.recv(9)) for other in others])
        for other in others:
            other.sendall(json.dumps(ranks).encode())
else:
    while True:
        try:
            with socket.create_connection(place) as first:
                first.sendall(str(rank).encode())
                ranks = json.loads(first.recv(999))
            break
        except ConnectionRefusedError:
            pass
seen = {name: os.environ.get(name) for name in ("SLURM_NODEID", "SLURMD_NODENAME", "LOCAL_RANK", "SLURM_CPUS_PER_TASK")}
os.write(1, (json.dumps({"rank": rank, "peers": ranks, **seen}) + chr(10)).encode())
"""

# What the standard torchrun does with the options that it is given, for machines without PyTorch.
TORCHRUN = """#!/usr/bin/env python3
import argparse, os, subprocess, sys
parser = argparse.ArgumentParser()
for name in ("nnodes", "node_rank", "nproc_per_node", "master_port"):
    parser.add_argument("--" + name, type=int, required=True)
parser.add_argument("--master_addr", required=True)
parser.add_argument("--no_python", action="store_true", required=True)
parser.add_argument("program")
parser.add_argument("arguments", nargs=argparse.REMAINDER)
given = parser.parse_args()
many = given.nproc_per_node
children = [
    subprocess.Popen([given.program, *given.arguments], env={
        **os.environ, "LOCAL_RANK": str(local), "RANK": str(given.node_rank * many + local),
        "WORLD_SIZE": str(given.nnodes * many), "MASTER_ADDR": given.master_addr, "MASTER_PORT": str(given.master_port)})
    for local in range(many)
]
sys.exit(max(child.wait() for child in children))
"""

# Counts its warnings; what it imports after the first is read from the image then.
WARNED = """
import os, signal, time
count = 0
def warn(number, frame):
    global count
    count += 1
signal.signal(signal.SIGUSR1, warn)
until = time.monotonic() + 100
while not count and time.monotonic() < until:
    time.sleep(0.1)
time.sleep(2)
import xml.dom.minidom, tomllib, sqlite3
os.write(1, f"{os.environ.get('SLURM_PROCID')} warned {count}{chr(10)}".encode())
"""

PMIX = """
import ctypes, os
class Process(ctypes.Structure):
    _fields_ = [("space", ctypes.c_char * 256), ("rank", ctypes.c_uint32)]
library, me = ctypes.CDLL("/pmix/libpmix.so.2"), Process()
begun = library.PMIx_Init(ctypes.byref(me), None, 0)
met = library.PMIx_Fence(None, 0, None, 0)
ended = library.PMIx_Finalize(None, 0)
os.write(1, f"rank {me.rank} {begun} {met} {ended}{chr(10)}".encode())
"""


class Driver:
    """Submits jobs to the lab's Slurm and tells how they ended."""

    def __init__(self, lab: Lab, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store) -> None:
        self.lab, self.cluster, self.delivery, self.connections, self.store = lab, cluster, delivery, connections, store

    def with_setup(self, *setup: str) -> "Driver":
        return Driver(self.lab, replace(self.cluster, setup=setup), self.delivery, self.connections, self.store)

    def submit(self, job: Job) -> Run:
        return submit_job(job, "slurm", self.cluster, self.delivery, self.connections, self.store).run

    def end_of(self, run: Run) -> RunStatus:
        return wait_for(run, self.cluster, self.connections, self.store)

    def lines_of(self, run: Run, task: int = 0) -> list[str]:
        status = self.end_of(run)
        errors = logs.read(status, task, self.connections.to(self.cluster)).err.decode()
        assert status.state is State.COMPLETED, errors
        return sorted(output_of(status, self.cluster, self.connections, task).splitlines())

    def scontrol(self, *words: str) -> bool:
        return inside(self.lab, ["scontrol", *words]).returncode == 0

    def statuses(self, run: Run) -> Iterator[RunStatus]:
        """Query the status until patience ends; a requeued job waits seconds, not Slurm's two minutes."""
        until = time.monotonic() + PATIENCE
        status = RunStatus(run=run, tasks=(), asked=0)
        while time.monotonic() < until:
            before = status
            status = follow.status([before], lambda _: self.connections.to(self.cluster), self.store).statuses[0]
            for task in requeued_before(before, status):
                self.scontrol("update", f"JobId={run.job_id}" + (f"_{task}" if run.tasks > 1 else ""), "StartTime=now")
            yield status
            time.sleep(2)
        raise AssertionError("this went on for too long")

    def end_after_requeues(self, run: Run) -> RunStatus:
        return next(status for status in self.statuses(run) if status.ended)

    def file(self, run: Run, name: str) -> str:
        return inside(self.lab, ["cat", f"{run.folder}/{name}"], user=self.lab.user).stdout.decode()

    def file_names(self, run: Run, folder: str) -> list[str]:
        listed = inside(self.lab, ["ls", "-A", f"{run.folder}/{folder}"], user=self.lab.user)
        return listed.stdout.decode().splitlines()


@pytest.fixture
def driver(lab: Lab, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store) -> Driver:
    return Driver(lab, cluster, delivery, connections, store)


def test_the_processes_of_two_nodes_find_each_other(driver: Driver) -> None:
    job = Job(
        name="ranks",
        image="test",
        command=("python3", "-c", MEETING),
        environment=(("NAMES", "SLURM_PROCID SLURM_NTASKS"),),
        resources=Resources(nodes=2, cpus=2, time=300),
        tasks_per_node=2,
    )
    seen = [json.loads(line) for line in driver.lines_of(driver.submit(job))]
    assert sorted(one["rank"] for one in seen) == [0, 1, 2, 3]
    assert all(one["peers"] == [0, 1, 2, 3] for one in seen)
    places = {(one["SLURM_NODEID"], one["SLURMD_NODENAME"]) for one in seen}
    assert places == {("0", "node1"), ("1", "node2")}
    assert {one["SLURM_CPUS_PER_TASK"] for one in seen} == {"1"}


@pytest.mark.container
def test_torchrun_is_started_once_on_each_node_and_starts_the_rest(driver: Driver, lab: Lab) -> None:
    folder = f"{lab.scratch}/{OWN}/shim"
    made = f"mkdir -p {folder} && cat >{folder}/torchrun && chmod 755 {folder}/torchrun"
    assert inside(lab, ["bash", "-c", made], user=lab.user, stdin=TORCHRUN.encode()).returncode == 0
    job = Job(
        name="torch",
        image="test",
        command=("python3", "-c", MEETING),
        environment=(("NAMES", "RANK WORLD_SIZE"), ("PATH", "/shim:/usr/local/bin:/usr/bin:/bin")),
        binds=(Bind(source=folder, destination="/shim"),),
        resources=Resources(nodes=2, gpus=2, time=300),
        launcher="torchrun",
    )
    seen = [json.loads(line) for line in driver.lines_of(driver.submit(job))]
    assert sorted(one["rank"] for one in seen) == [0, 1, 2, 3]
    assert all(one["peers"] == [0, 1, 2, 3] for one in seen)
    assert sorted((one["rank"] // 2, one["SLURM_NODEID"], one["LOCAL_RANK"]) for one in seen) == [
        (0, "0", "0"),
        (0, "0", "1"),
        (1, "1", "0"),
        (1, "1", "1"),
    ]


@pytest.mark.parametrize("tasks", [1, 2])
def test_the_processes_meet_at_the_first_one_wherever_that_is(driver: Driver, lab: Lab, tasks: int) -> None:
    hosts = f"{lab.scratch}/{OWN}/hosts.{tasks}"
    made = f"mkdir -p {lab.scratch}/{OWN} && cat >{hosts}"
    backwards = "node2\n" * tasks + "node1\n" * tasks
    assert inside(lab, ["bash", "-c", made], user=lab.user, stdin=backwards.encode()).returncode == 0
    # srun(1); in the job only, since sbatch takes it too.
    told = driver.with_setup(f'[ -z "${{SLURM_JOB_ID-}}" ] || export SLURM_HOSTFILE={hosts} SLURM_DISTRIBUTION=arbitrary')
    job = Job(
        name="backwards",
        image="test",
        command=("sh", "-c", "echo $SLURM_PROCID $SLURMD_NODENAME $MASTER_ADDR"),
        resources=Resources(nodes=2, time=300),
        tasks_per_node=tasks,
    )
    nodes = ["node2"] * tasks + ["node1"] * tasks
    assert told.lines_of(told.submit(job)) == [f"{rank} {node} node2" for rank, node in enumerate(nodes)]


LISTENER = "import os, socket, time; s = socket.create_server(('127.0.0.1', int(os.environ['TAKEN']))); time.sleep(60)"


@pytest.mark.parametrize("nodes", [1, 2])
def test_the_processes_meet_at_another_port_where_something_listens_at_the_jobs_own(driver: Driver, nodes: int) -> None:
    listens = "(exec 3<>/dev/tcp/localhost/$TAKEN) 2>/dev/null"
    taken = driver.with_setup(
        'if [ -n "${SLURM_JOB_ID-}" ]; then',
        "export TAKEN=$((10000 + SLURM_JOB_ID % 20000))",
        f'{listens} || python3 -c "{LISTENER}" & until {listens}; do sleep 0.1; done',
        "fi",
    )
    job = Job(
        name="taken",
        image="test",
        command=("sh", "-c", "echo $((MASTER_PORT - 10000 - SLURM_JOB_ID % 20000))"),
        resources=Resources(nodes=nodes, time=300),
        tasks_per_node=2,
    )
    [next_port] = set(taken.lines_of(taken.submit(job)))
    assert int(next_port) > 0


STEPS = "for name in SLURM_STEP_ID SLURM_STEPID; do printenv $name || echo none; done"


def test_a_program_that_no_srun_started_knows_of_no_step(driver: Driver) -> None:
    # As batch scripts have it in Slurm 26.05.
    told = driver.with_setup("export SLURM_STEP_ID=-5 SLURM_STEPID=-5")
    alone = Job(name="alone", image="test", command=("sh", "-c", STEPS), resources=Resources(time=300))
    assert told.lines_of(told.submit(alone)) == ["none", "none"]
    assert told.lines_of(told.submit(replace(alone, tasks_per_node=2))) == ["0", "0", "0", "0"]


def test_processes_share_the_cores_of_a_whole_node(driver: Driver, lab: Lab) -> None:
    program = 'printf "%s %s\\n" "$SLURM_CPUS_ON_NODE" "${SLURM_CPUS_PER_TASK-none}"'
    job = Job(
        name="whole",
        image="test",
        command=("sh", "-c", program),
        resources=Resources(time=300),
        launcher="srun",
        slurm=(("exclusive", True),),
    )
    known = inside(lab, ["scontrol", "show", "node", "node1"]).stdout.decode()
    whole = known.partition("CPUTot=")[2].split()[0]
    assert int(whole) > 1
    assert driver.lines_of(driver.submit(job)) == [f"{whole} none"]


def test_as_many_processes_as_slurms_own_options_ask_for_are_started(driver: Driver) -> None:
    job = Job(
        name="free",
        image="test",
        command=("sh", "-c", 'echo "$SLURM_PROCID $CUDA_VISIBLE_DEVICES"'),
        resources=Resources(time=300),
        slurm=(("gpus-per-task", "1"), ("ntasks", "2")),
    )
    assert [line.split()[0] for line in driver.lines_of(driver.submit(job))] == ["0", "1"]


@pytest.mark.container
@pytest.mark.parametrize(("option", "value"), [("gres", "gpu:2"), ("gpus-per-node", "2"), ("gpus", "4")])
def test_torchrun_starts_what_slurms_own_options_bring(driver: Driver, lab: Lab, option: str, value: str) -> None:
    folder = f"{lab.scratch}/{OWN}/shim-{option}"
    made = f"mkdir -p {folder} && cat >{folder}/torchrun && chmod 755 {folder}/torchrun"
    assert inside(lab, ["bash", "-c", made], user=lab.user, stdin=TORCHRUN.encode()).returncode == 0
    job = Job(
        name="torch",
        image="test",
        command=("sh", "-c", "echo $RANK of $WORLD_SIZE"),
        environment=(("PATH", "/shim:/usr/local/bin:/usr/bin:/bin"),),
        binds=(Bind(source=folder, destination="/shim"),),
        resources=Resources(nodes=2, time=300),
        launcher="torchrun",
        slurm=((option, value),),
    )
    assert driver.lines_of(driver.submit(job)) == [f"{rank} of 4" for rank in range(4)]


@pytest.mark.container
@pytest.mark.parametrize("tasks", [1, 2])
def test_a_program_that_never_began_has_failed_although_the_container_ended_well(
    driver: Driver, lab: Lab, tasks: int
) -> None:
    ends = f"{lab.scratch}/{OWN}/ends.sh"
    made = f"mkdir -p {lab.scratch}/{OWN} && echo 'exit 0' >{ends}"
    assert inside(lab, ["bash", "-c", made], user=lab.user).returncode == 0
    job = Job(
        name="unbegun",
        image="test",
        command=("echo", "begun"),
        binds=(Bind(source=ends, destination="/.singularity.d/env/90-environment.sh"),),
        resources=Resources(time=300),
        tasks_per_node=tasks,
    )
    run = driver.submit(job)
    status = driver.end_of(run)
    assert (status.state, status.exit_code) == (State.FAILED, 125)
    assert status.tasks[0].reason == NEVER_BEGAN
    assert "the program never began" in driver.file(run, "logs/0.err")
    assert driver.file(run, "logs/0.out") == ""
    assert [name for name in driver.file_names(run, "tasks") if "unbegun" in name] == []
    assert driver.lines_of(driver.submit(replace(job, binds=()))) == ["begun"] * tasks


def test_a_failed_process_ends_the_others_and_its_exit_code_is_the_runs(driver: Driver) -> None:
    command = ("sh", "-c", "[ $SLURM_PROCID = 1 ] && exit 7; exec sleep 600")
    job = Job(name="one-fails", image="test", command=command, resources=Resources(nodes=2, time=900))
    status = driver.end_of(driver.submit(job))
    assert (status.state, status.exit_code) == (State.FAILED, 7)


@pytest.mark.container
@pytest.mark.usefixtures("pmix")
def test_a_program_meets_slurms_own_pmix_server_through_the_container(driver: Driver) -> None:
    libraries = "/usr/lib/x86_64-linux-gnu"
    job = Job(
        name="pmix",
        image="test",
        command=("python3", "-c", PMIX),
        environment=(("LD_LIBRARY_PATH", "/pmix"),),
        binds=(Bind(source=libraries, destination="/pmix", read_only=True),),
        # On one node; two of them, with a whole MPI, are in test_mpi.py.
        resources=Resources(cpus=2, time=300),
        tasks_per_node=2,
        mpi="pmix",
    )
    assert driver.lines_of(driver.submit(job)) == ["rank 0 0 0 0", "rank 1 0 0 0"]


@pytest.mark.parametrize("nodes", [1, 2])
def test_the_program_itself_is_warned_once_before_its_limit_and_its_image_stays(driver: Driver, nodes: int) -> None:
    job = Job(
        name="warned",
        image="test",
        command=("python3", "-c", WARNED),
        resources=Resources(nodes=nodes, time=120),
        signal=Signal(name="USR1", before=BEFORE),
    )
    run = driver.submit(job)
    assert driver.lines_of(run) == [f"{rank} warned 1" for rank in range(nodes)]


def test_a_requeued_run_goes_on_in_its_folder_and_knows_that_it_does(driver: Driver) -> None:
    program = """
echo "restart $HPCDEPLOY_RESTART"
if [ -e checkpoint ]; then cat checkpoint; exit 0; fi
echo "from the first attempt" >checkpoint
exec sleep 600
"""
    job = Job(name="requeue", image="test", command=("sh", "-c", program), resources=Resources(time=900), requeue=True)
    run = driver.submit(job)
    for _ in driver.statuses(run):
        if driver.file(run, "output/checkpoint"):
            break
    assert driver.scontrol("requeue", run.job_id)
    status = driver.end_after_requeues(run)
    assert (status.state, status.exit_code) == (State.COMPLETED, 0)
    assert driver.file(run, "logs/0.out") == "restart 0\nrestart 1\nfrom the first attempt\n"
    assert driver.file(run, "tasks/0.end").split()[1] == "0"


def test_processes_that_are_warned_save_their_work_each_in_its_time_and_go_on_afterwards(driver: Driver) -> None:
    program = """
echo "process $SLURM_PROCID, start $HPCDEPLOY_RESTART"
[ ! -e saved.$SLURM_PROCID ] || exit 0
trap 'sleep $((SLURM_PROCID * 4)); touch saved.$SLURM_PROCID; exit 75' USR1
for i in $(seq 200); do sleep 0.5; done
"""
    job = Job(
        name="resume",
        image="test",
        command=("sh", "-c", program),
        resources=Resources(nodes=2, time=120),
        signal=Signal(name="USR1", before=BEFORE),
        retries=Retries(max=1, exit_codes=(75,)),
    )
    run = driver.submit(job)
    status = driver.end_after_requeues(run)
    assert (status.state, status.exit_code) == (State.COMPLETED, 0), driver.file(run, "logs/0.err")
    lines = driver.file(run, "logs/0.out").splitlines()
    assert sorted(lines) == [f"process {rank}, start {start}" for rank in range(2) for start in range(2)]


def test_a_task_is_tried_again_on_the_chosen_exit_codes_only_and_never_more_often(driver: Driver) -> None:
    # Task 0 succeeds at its third attempt, task 1 never does, task 2 fails with a code that was not chosen.
    program = """
echo "attempt $HPCDEPLOY_RESTART"
case $HPCDEPLOY_TASK$HPCDEPLOY_RESTART in 02) ;; 2*) exit 3 ;; *) exit 75 ;; esac
"""
    job = Job(
        name="retries",
        image="test",
        command=("sh", "-c", program),
        resources=Resources(time=300),
        array=Array(size=3),
        retries=Retries(max=2, exit_codes=(75, 76)),
    )
    run = driver.submit(job)
    status = driver.end_after_requeues(run)
    assert [task.exit_code for task in status.tasks] == [0, 75, 3]
    attempts = [driver.file(run, f"logs/{task}.out").count("attempt") for task in range(3)]
    assert attempts == [3, 3, 1]
    assert "exit code 75, and all 2 retries are used" in driver.file(run, "logs/1.err")


def test_free_directives_may_say_how_many_processes_there_are(driver: Driver) -> None:
    job = Job(
        name="free",
        image="test",
        command=("sh", "-c", "echo $SLURM_PROCID of $SLURM_NTASKS"),
        resources=Resources(nodes=2, time=300),
        slurm=(("ntasks", "3"),),
    )
    assert driver.lines_of(driver.submit(job)) == ["0 of 3", "1 of 3", "2 of 3"]
