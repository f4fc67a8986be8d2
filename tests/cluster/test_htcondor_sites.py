"""HTCondor as sites run it: who starts the container, where the image comes from, what a GPU must be able to do."""

import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from hpcdeploy.cluster import Cluster, HtcondorContainer, SchedulerName
from hpcdeploy.errors import SchedulerError
from hpcdeploy.flows import logs
from hpcdeploy.flows.images import worker_delivery
from hpcdeploy.job import Array, Bind, Job, Resources, Retries, Signal
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import NEVER_BEGAN, Run, RunStatus, State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside, inside_argv
from hpcdeploy_lab.state import Lab
from tests.cluster.conftest import image_file
from tests.cluster.driving import output_of, submit_job, wait_for
from tests.shared import OWN

ENVIRONMENT = ("python3", "-c", "import json, os; print(json.dumps(dict(os.environ, PWD=os.getcwd())))")


def ended(job: Job, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store) -> RunStatus:
    run = submit_job(job, "htcondor", cluster, delivery, connections, store).run
    return wait_for(run, cluster, connections, store)


def attributes(lab: Lab, cluster: Cluster, run: Run) -> dict[str, object]:
    """Ask the schedd what it knows of a job that has ended."""
    line = "; ".join((*cluster.setup, f"condor_history -json -limit 1 {run.job_id}"))
    answer = inside(lab, ["bash", "-c", line], user=lab.user)
    [found] = json.loads(answer.stdout)
    return dict(found)


@pytest.mark.parametrize("container", ["universe", "singularity-image", "apptainer"])
def test_whoever_starts_the_container_the_program_runs_in_it_with_its_gpu(
    container: str,
    lab: Lab,
    site: Cluster,
    delivery: Delivery,
    connections: Connections,
    store: Store,
) -> None:
    cluster = replace(site, htcondor_container=container)  # type: ignore[arg-type]
    wanted = Resources(gpus=1, memory=200, disk=1000, gpu_memory=40_000, gpu_capability=("7.5", "9.0"), gpu_runtime="12.4")
    job = Job(name="sees", image="test", command=ENVIRONMENT, resources=wanted)
    status = ended(job, cluster, delivery, connections, store)
    assert (status.state, status.exit_code) == (State.COMPLETED, 0)
    seen = json.loads(output_of(status, cluster, connections))
    assert delivery.sha256 in seen["APPTAINER_CONTAINER"]
    assert seen["CUDA_VISIBLE_DEVICES"].startswith("GPU-")
    known = attributes(lab, cluster, status.run)
    assert known["JobUniverse"] == 5
    assert "GPUsMinMemory" in str(known["RequireGPUs"])
    assert "APPTAINER" not in str(known.get("Environment", "")) + str(known.get("Env", ""))


@pytest.mark.parametrize(
    "wanted",
    [
        {"gpu_memory": 80_000},
        {"gpu_capability": ("9.0", "")},
        {"gpu_capability": ("7.0", "7.5")},
        {"gpu_runtime": "12.5"},
    ],
    ids=str,
)
def test_a_gpu_that_cannot_do_what_is_asked_is_not_given(
    wanted: dict[str, object], lab: Lab, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    resources = Resources(gpus=1, **wanted)  # type: ignore[arg-type]
    job = Job(name="choosy", image="test", command=("true",), resources=resources)
    run = submit_job(job, "htcondor", site, delivery, connections, store).run
    line = "; ".join((*site.setup, f"condor_q -better-analyze {run.job_id}; condor_rm {run.job_id}"))
    said = inside(lab, ["bash", "-c", line], user=lab.user).stdout.decode()
    assert "No machines matched" in said or "0 are able to run your job" in said, said


def test_binds_and_the_working_folder_work_where_the_job_starts_apptainer(
    lab: Lab, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    made = inside(
        lab, ["bash", "-c", f"mkdir -p '{lab.scratch}/{OWN}/a b' && echo 42 >'{lab.scratch}/{OWN}/a b/x'"], user=lab.user
    )
    assert made.returncode == 0
    cluster = replace(site, htcondor_container="apptainer", root=f"$SCRATCH/{OWN}/with a blank")
    job = Job(
        name="binds",
        image="test",
        command=("sh", "-c", "pwd; cat /mnt/x; mkdir -p deep; cp /mnt/x deep/y; echo no >/mnt/z"),
        binds=(Bind(source=f"$SCRATCH/{OWN}/a b", destination="/mnt", read_only=True),),
        workdir=f"$SCRATCH/{OWN}/a b",
    )
    status = ended(job, cluster, delivery, connections, store)
    assert status.exit_code
    assert output_of(status, cluster, connections).splitlines() == [f"{lab.scratch}/{OWN}/a b", "42"]
    assert inside(lab, ["cat", f"{lab.scratch}/{OWN}/a b/deep/y"], user=lab.user).stdout == b"42\n"


def test_a_persons_own_requirements_and_input_files_stand_beside_the_images(
    lab: Lab, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    made = inside(lab, ["bash", "-c", f"echo 42 >{lab.scratch}/{OWN}/input"], user=lab.user)
    assert made.returncode == 0
    cluster = replace(site, htcondor_container="singularity-image")
    job = Job(
        name="beside",
        image="test",
        command=("sh", "-c", "cat input; echo made >made.txt"),
        array=Array(size=2),
        htcondor=(("transfer_input_files", f"{lab.scratch}/{OWN}/input"), ("Requirements", "TARGET.Cpus >= 1")),
    )
    status = ended(job, cluster, delivery, connections, store)
    assert [task.exit_code for task in status.tasks] == [0, 0]
    assert output_of(status, cluster, connections, 1) == "42\n"
    files = inside(lab, ["ls", f"{status.run.folder}/output/1"], user=lab.user)
    assert files.stdout == b"made.txt\n"


def test_a_pool_that_does_not_know_the_attribute_runs_nothing_outside_of_the_container(
    cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    job = Job(name="naked", image="test", command=("sh", "-c", "echo ran"))
    status = ended(job, replace(cluster, htcondor_container="singularity-image"), delivery, connections, store)
    assert (status.state, status.exit_code) == (State.FAILED, 1)
    assert output_of(status, cluster, connections) == ""


def test_a_job_that_reaches_its_time_limit_has_timed_out_and_leaves_the_queue(
    lab: Lab, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    job = Job(name="slow", image="test", command=("sleep", "600"), resources=Resources(time=3))
    status = ended(job, site, delivery, connections, store)
    assert status.state is State.TIMEOUT
    gone = "; ".join((*site.setup, f'while [ -n "$(condor_q {status.run.job_id} -af ClusterId)" ]; do sleep 0.5; done'))
    assert inside(lab, ["timeout", "60", "bash", "-c", gone], user=lab.user).returncode == 0
    assert wait_for(status.run, site, connections, store).state is State.TIMEOUT
    assert attributes(lab, site, status.run)["LastHoldReasonCode"] == 47


def test_input_that_cannot_be_had_at_once_is_tried_again(
    lab: Lab, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    """The file is made once the job is held for it (13, TransferInputError)."""
    file = f"{lab.scratch}/{OWN}/late.txt"
    job = Job(name="late", image="test", command=("cat", "late.txt"), htcondor=(("transfer_input_files", file),))
    run = submit_job(job, "htcondor", site, delivery, connections, store).run
    held = f'until [ "$(condor_q {run.job_id} -af HoldReasonCode)" = 13 ]; do sleep 0.5; done; echo here >{file}'
    assert inside(lab, ["timeout", "60", "bash", "-c", "; ".join((*site.setup, held))], user=lab.user).returncode == 0
    status = wait_for(run, site, connections, store)
    assert status.state is State.COMPLETED
    assert output_of(status, site, connections) == "here\n"


@pytest.mark.parametrize("container", ["universe", "singularity-image", "apptainer"])
def test_a_worker_fetches_an_image_of_a_registry_by_its_digest(
    container: str, lab: Lab, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    cluster = replace(site, htcondor_container=container, root=f"$SCRATCH/{OWN}/fetched")  # type: ignore[arg-type]
    job = Job(name="fetches", image="test", command=ENVIRONMENT)
    status = ended(job, cluster, replace(delivery, in_job=True), connections, store)
    assert status.state is State.COMPLETED
    seen = json.loads(output_of(status, cluster, connections))
    assert delivery.sha256 in seen["APPTAINER_CONTAINER"]
    assert inside(lab, ["ls", f"{lab.scratch}/{OWN}/fetched/images"], user=lab.user).stdout == b""


@pytest.fixture
def served(lab: Lab, delivery: Delivery) -> Iterator[str]:
    """Serve the image over HTTP: under its own sha256, and a part of it under a name that is wrong."""
    folder = f"{lab.scratch}/{OWN}/served"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    make = f"mkdir -p {folder} && ln -f {image_file(lab)} {folder}/x-{delivery.sha256}.sif"
    wrong = f"cp {image_file(lab)} {folder}/{'0' * 64}.sif"
    serve = f"exec python3 -m http.server -b 127.0.0.1 -d {folder} {port}"
    argv = inside_argv(lab, ["bash", "-c", f"{make} && {wrong} && {serve}"], user=lab.user)
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        yield f"http://127.0.0.1:{port}"
        server.terminate()


@pytest.mark.parametrize("container", ["universe", "singularity-image"])
def test_an_image_that_htcondor_transfers_from_an_address_is_held_against_its_name(
    container: str, served: str, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    cluster = replace(site, htcondor_container=container)  # type: ignore[arg-type]
    job = Job(name="address", image="test", command=("sh", "-c", "echo ran"))
    right, wrong = (worker_delivery(f"{served}/{name}.sif") for name in (f"x-{delivery.sha256}", "0" * 64))
    assert right is not None
    assert wrong is not None
    status = ended(job, cluster, right, connections, store)
    assert (status.state, output_of(status, cluster, connections)) == (State.COMPLETED, "ran\n")
    status = ended(job, cluster, wrong, connections, store)
    assert (status.state, output_of(status, cluster, connections)) == (State.FAILED, "")
    assert b"does not match the checksum in its name" in logs.read(status, 0, connections.to(cluster)).err


@pytest.fixture
def on_cvmfs(lab: Lab, delivery: Delivery) -> Iterator[str]:
    """Put the image where CVMFS would show it."""
    folder = f"/cvmfs/{OWN}"
    made = inside(
        lab,
        ["sh", "-c", f"mkdir -p {folder} && cp {image_file(lab)} {folder}/{delivery.sha256}.sif && chmod -R a+rX /cvmfs"],
    )
    assert made.returncode == 0, made.stderr.decode()
    yield f"{folder}/{delivery.sha256}.sif"
    inside(lab, ["sh", "-c", f"rm -r {folder} && rmdir --ignore-fail-on-non-empty /cvmfs"])


@pytest.mark.parametrize("container", ["universe", "singularity-image", "apptainer"])
def test_an_image_on_cvmfs_is_used_where_it_lies(
    container: str, on_cvmfs: str, lab: Lab, site: Cluster, connections: Connections, store: Store
) -> None:
    cluster = replace(site, htcondor_container=container)  # type: ignore[arg-type]
    delivery = worker_delivery(on_cvmfs)
    assert delivery is not None
    status = ended(Job(name="cvmfs", image="test", command=ENVIRONMENT), cluster, delivery, connections, store)
    assert status.state is State.COMPLETED
    assert json.loads(output_of(status, cluster, connections))["APPTAINER_CONTAINER"] == on_cvmfs
    assert str(attributes(lab, cluster, status.run).get("TransferInput", "")).count(".sif") == 0


@pytest.mark.parametrize(("code", "tries"), [(75, 3), (76, 1), (137, 3)])
def test_a_task_is_started_again_on_the_very_exit_codes_and_knows_how_often_it_was(
    code: int, tries: int, lab: Lab, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    told = f"{lab.scratch}/{OWN}/tries-{code}"
    program = f'echo "$HPCDEPLOY_RESTART" >>{told}; [ {code} != 137 ] || kill -KILL $$; exit {code}'
    job = Job(
        name="tries",
        image="test",
        command=("sh", "-c", program),
        binds=(Bind(source=f"$SCRATCH/{OWN}"),),
        retries=Retries(max=2, exit_codes=(75, 137)),
    )
    status = ended(job, replace(site, htcondor_container="apptainer"), delivery, connections, store)
    assert (status.state, status.exit_code) == (State.FAILED, code)
    seen = inside(lab, ["cat", told], user=lab.user).stdout.decode().split()
    assert seen == [str(number) for number in range(tries)]


@pytest.mark.parametrize("outputs", [(), ("*",)])
def test_a_program_is_warned_before_its_time_limit_and_what_it_saves_comes_home(
    outputs: tuple[str, ...], lab: Lab, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    program = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGUSR1, lambda *_: (pathlib.Path('saved').write_text('state'), sys.exit(0)))\n"
        "time.sleep(60)"
    )
    job = Job(
        name="warned",
        image="test",
        command=("python3", "-c", program),
        resources=Resources(time=30),
        signal=Signal(name="USR1", before=25),
        outputs=outputs,
    )
    status = ended(job, site, delivery, connections, store)
    assert status.state is State.COMPLETED
    assert inside(lab, ["cat", f"{status.run.folder}/output/saved"], user=lab.user).stdout == b"state"


def test_a_program_that_ends_before_its_warning_is_not_waited_for(
    site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    job = Job(name="early", image="test", command=("true",), resources=Resources(time=3600), signal=Signal())
    assert ended(job, site, delivery, connections, store).state is State.COMPLETED


def test_a_program_goes_on_from_its_own_checkpoint(
    lab: Lab, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    count = "n=$(($(cat state/n 2>/dev/null || echo 0) + 1)); mkdir -p state; echo $n >state/n"
    program = f"{count}; [ $n = 3 ] || exit 85; echo $n >end"
    free = (("checkpoint_exit_code", "85"), ("transfer_checkpoint_files", "state"))
    status = ended(
        Job(name="state", image="test", command=("sh", "-c", program), htcondor=free), site, delivery, connections, store
    )
    assert (status.state, status.exit_code) == (State.COMPLETED, 0)
    assert inside(lab, ["cat", f"{status.run.folder}/output/end"], user=lab.user).stdout == b"3\n"


def test_a_job_that_lost_its_worker_and_is_not_to_be_requeued_is_not_started_again(
    lab: Lab, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    job = Job(name="lost", image="test", command=("sleep", "600"), requeue=False)
    run = submit_job(job, "htcondor", site, delivery, connections, store).run
    # Running (JobStatus 2) is a job to the schedd before its program is started, which alone counts: the log's event 001.
    runs = f"until grep -q ^001 {run.folder}/events.log; do sleep 0.5; done; condor_vacate_job -fast {run.job_id}"
    assert inside(lab, ["timeout", "60", "bash", "-c", "; ".join((*site.setup, runs))], user=lab.user).returncode == 0
    assert wait_for(run, site, connections, store).state is State.CANCELLED
    assert attributes(lab, site, run)["NumJobStarts"] == 1


def test_a_credential_that_cannot_be_had_is_told_in_the_access_points_own_words(
    site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    job = Job(name="token", image="test", command=("true",), htcondor=(("use_oauth_services", "scitokens"),))
    with pytest.raises(SchedulerError, match=r"credential(.|\n)*rejected the job"):
        submit_job(job, "htcondor", site, delivery, connections, store)
    assert store.latest() == []


def test_a_program_that_never_began_has_failed_where_the_job_starts_apptainer(
    lab: Lab, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    ends = f"{lab.scratch}/{OWN}/ends.sh"
    made = f"mkdir -p {lab.scratch}/{OWN} && echo 'exit 0' >{ends}"
    assert inside(lab, ["bash", "-c", made], user=lab.user).returncode == 0
    job = Job(
        name="unbegun",
        image="test",
        command=("echo", "begun"),
        binds=(Bind(source=ends, destination="/.singularity.d/env/90-environment.sh"),),
    )
    cluster = replace(site, htcondor_container="apptainer")
    status = ended(job, cluster, delivery, connections, store)
    assert (status.state, status.exit_code) == (State.FAILED, 125)
    assert b"the program never began" in logs.read(status, 0, connections.to(cluster)).err
    well = ended(replace(job, binds=()), cluster, delivery, connections, store)
    assert (well.state, output_of(well, cluster, connections)) == (State.COMPLETED, "begun\n")


@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
def test_a_nodes_folder_for_temporary_files_is_there_in_the_container(
    scheduler: SchedulerName, lab: Lab, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    folder = f"{lab.scratch}/{OWN}/temporary files"
    assert inside(lab, ["mkdir", "-p", folder], user=lab.user).returncode == 0
    setup = (*site.setup, f"export TMPDIR='{folder}' TMP=/not/on/this/node TEMP=/tmp")
    cluster = replace(site, htcondor_container="apptainer", setup=setup)
    program = 'mktemp >/dev/null && ls "$TMPDIR" | wc -l; printenv TMPDIR TEMP; printenv TMP || echo none'
    job = Job(name="temporary", image="test", command=("sh", "-c", program))
    run = submit_job(job, scheduler, cluster, delivery, connections, store).run
    status = wait_for(run, cluster, connections, store)
    assert status.state is State.COMPLETED, logs.read(status, 0, connections.to(cluster)).err
    assert output_of(status, cluster, connections).splitlines()[1:] == [folder, "/tmp", "none"]
    left = inside(lab, ["bash", "-c", f"ls -d '{folder}'/tmp.*"], user=lab.user).stdout.decode().split("tmp.")
    assert len(left) > 1


@pytest.mark.parametrize("container", ["universe", "singularity-image"])
def test_a_program_that_never_began_has_failed_where_htcondor_starts_the_container(
    container: HtcondorContainer, lab: Lab, site: Cluster, published: object, connections: Connections, store: Store
) -> None:
    place = f"{lab.scratch}/{OWN}/ends"
    definition = f"Bootstrap: localimage\nFrom: {image_file(lab)}\n\n%environment\n[ -e keep ] || exit 0\n"
    made = f"mkdir -p {place} && cd {place} && cat >x.def && apptainer build --force x.sif x.def && sha256sum x.sif"
    done = inside(lab, ["bash", "-c", made], user=lab.user, stdin=definition.encode())
    assert done.returncode == 0, done.stderr.decode()
    sha256 = done.stdout.decode().split()[0]
    cluster = replace(site, htcondor_container=container)
    cached = f"d={lab.scratch}/{OWN}/cluster/images && mkdir -p $d && cp {place}/x.sif $d/{sha256}.sif && touch {place}/keep"
    assert inside(lab, ["bash", "-c", cached], user=lab.user).returncode == 0
    job = Job(name="unbegun", image="test", command=("echo", "begun"))
    status = ended(job, cluster, Delivery(sha256=sha256), connections, store)
    assert (status.state, status.exit_code, status.tasks[0].reason) == (State.FAILED, 125, NEVER_BEGAN)
    with_file = replace(job, htcondor=(("transfer_input_files", f"{place}/keep"),))
    well = ended(with_file, cluster, Delivery(sha256=sha256), connections, store)
    assert (well.state, output_of(well, cluster, connections)) == (State.COMPLETED, "begun\n")
    left = inside(lab, ["ls", "-A", f"{well.run.folder}/output", f"{well.run.folder}/tasks"], user=lab.user)
    assert ".hpcdeploy-begun" not in left.stdout.decode()
    assert "0.begun" in left.stdout.decode().split()


def test_a_program_that_began_again_after_an_eviction_has_ended_well(
    lab: Lab, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    command = ("sh", "-c", '[ "$HPCDEPLOY_RESTART" != 0 ] || { echo first; exec sleep 600; }; echo again')
    run = submit_job(Job(name="evicted", image="test", command=command), "htcondor", site, delivery, connections, store).run
    vacate = "; ".join((*site.setup, f"condor_vacate_job -fast {run.job_id}"))
    wait = f"until grep -q first {run.folder}/logs/0.out; do sleep 0.2; done; {vacate}"
    assert inside(lab, ["timeout", "120", "bash", "-c", wait], user=lab.user).returncode == 0
    status = wait_for(run, site, connections, store)
    assert (status.state, status.exit_code, status.tasks[0].reason) == (State.COMPLETED, 0, "")
