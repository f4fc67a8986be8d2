"""Code and inputs of this machine reach a job on a cluster, each once, and lie where its program looks for them."""

import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.flows.fetch import fetch
from hpcdeploy.flows.job_files import collect_uploads
from hpcdeploy.flows.submit import Submitted, plan_run, submit
from hpcdeploy.job import Array, Code, Input, Job
from hpcdeploy.progress import Feedback
from hpcdeploy.remote.answers import read_answer
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.run import RunStatus, State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy.transport.connect import open_transport
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.condor_pool import pool
from tests.cluster.conftest import ROOT
from tests.cluster.driving import output_of, wait_for
from tests.flows.test_snapshot import ODD, git, write
from tests.shared import OWN

BOTH = pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
LOOK = """
import json, os, sys
found = {}
for top, folders, files in os.walk(os.environ["HPCDEPLOY_CODE"]):
    for name in [*files, *(one for one in folders if os.path.islink(os.path.join(top, one)))]:
        path = os.path.join(top, name)
        kind = os.readlink(path) if os.path.islink(path) else "x" if os.access(path, os.X_OK) else ""
        found[os.path.relpath(path, os.environ["HPCDEPLOY_CODE"])] = kind
here = {name: open(name, errors="replace").read() for name in sys.argv[1:]}
print(json.dumps([os.environ["HPCDEPLOY_CODE"], found, here, os.getcwd()]))
open("made.txt", "w").write("made")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "my project"
    folder.mkdir()
    git(folder, "init", "-q")
    write(folder, ".gitignore", content="data/\n*.log\n")
    write(folder, "look.py", content=LOOK)
    write(folder, *ODD, "skipped.log")
    write(folder, "data/a/b.csv", content="b")
    write(folder, "data/it's, $5", content="odd")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("look.py")
    (folder / "folder").symlink_to("ü/deep er")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "x")
    return folder


def send(
    job: Job,
    project: Path,
    scheduler: SchedulerName,
    cluster: Cluster,
    delivery: Delivery,
    connections: Connections,
    store: Store,
) -> tuple[Submitted, str]:
    brought = collect_uploads(job, project, scheduler, cluster, archives=project.parent / "archives", allow=lambda _: False)
    run = plan_run(job, cluster, scheduler, delivery, now=time.time())
    script = submission(run, job, cluster, delivery, placements=brought.placements)
    said = bytearray()
    uploads = (*delivery.uploads, *brought.uploads)
    return submit(
        run, script, connections.to(cluster), store, uploads=uploads, feedback=Feedback(report=said.extend)
    ), said.decode()


def ended(done: Submitted, cluster: Cluster, connections: Connections, store: Store) -> RunStatus:
    status = wait_for(done.run, cluster, connections, store)
    assert status.state is State.COMPLETED, output_of(status, cluster, connections)
    return status


@pytest.mark.container
@BOTH
@pytest.mark.parametrize("workdir", ["", f"$SCRATCH/{ROOT}/my work"], ids=["the run's folder", "another folder"])
def test_code_and_inputs_lie_where_the_program_looks_for_them(
    scheduler: SchedulerName,
    workdir: str,
    project: Path,
    lab: Lab,
    cluster: Cluster,
    delivery: Delivery,
    connections: Connections,
    store: Store,
) -> None:
    if workdir:
        inside(lab, ["mkdir", "-p", f"{lab.scratch}/{ROOT}/my work"], user=lab.user)
    inputs = (
        Input(source="data/it's, $5", destination="it's, $5"),
        Input(source="data/it's, $5", destination="deep/er/-same"),
        Input(source="data", destination="all data"),
    )
    names = ("it's, $5", "deep/er/-same", "all data/a/b.csv", "all data/it's, $5")
    job = Job(
        name="look",
        image="test",
        command=("sh", "-c", 'exec python3 "$HPCDEPLOY_CODE/look.py" "$@"', "sh", *names),
        code=Code(),
        inputs=inputs,
        workdir=workdir,
    )
    done, _ = send(job, project, scheduler, cluster, delivery, connections, store)
    status = ended(done, cluster, connections, store)
    code, found, here, where = json.loads(output_of(status, cluster, connections))
    assert code == ("/code" if scheduler == "slurm" else f"{where}/code")
    assert here == dict(zip(names, ["odd", "odd", "b", "odd"], strict=True))
    odd = {name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"): "" for name in ODD}
    assert found == {
        **odd, ".gitignore": "", "look.py": "", "run.sh": "x", "link": "look.py", "folder": "ü/deep er"
    }  # fmt: skip
    # What came in does not come back, and what was only there to be mounted on is gone.
    folder = f"{lab.scratch}/{ROOT}/my work" if workdir else f"{done.run.folder}/output"
    left = inside(lab, ["ls", "-A", folder], user=lab.user).stdout.decode().splitlines()
    assert "made.txt" in left
    assert workdir or left == ["made.txt"]


@pytest.mark.container
@BOTH
def test_a_relative_place_is_the_same_on_both_and_code_cannot_be_written_to_on_slurm(
    scheduler: SchedulerName,
    project: Path,
    cluster: Cluster,
    delivery: Delivery,
    connections: Connections,
    store: Store,
) -> None:
    job = Job(
        name="relative",
        image="test",
        command=("sh", "-c", "cat src/sub/run.sh && touch src/sub/new; echo $?"),
        code=Code(destination="src/sub"),
        array=Array(size=2),
    )
    cluster = replace(cluster, root=f"$SCRATCH/{ROOT}/it's a root")
    done, _ = send(job, project, scheduler, cluster, delivery, connections, store)
    status = ended(done, cluster, connections, store)
    for task in range(2):
        said = output_of(status, cluster, connections, task)
        assert said == ("#!/bin/sh\n1\n" if scheduler == "slurm" else "#!/bin/sh\n0\n")


MAKE = """
import os
for name in ("model.pt", "plots/a b.png", "plots/deep/c.png", "plots/d.txt", "$x/-dash", ".hidden", "other", "it's\\n"):
    os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
    open(name, "w").write(name)
os.symlink("model.pt", "latest")
os.symlink("plots", "link to a folder")
raise SystemExit(3)
"""


EVERY = {"model.pt", "plots/a b.png", "plots/deep/c.png", "plots/d.txt", "$x/-dash", "other", "it's\n", "latest"}


@BOTH
@pytest.mark.parametrize(
    ("tasks", "workdir", "outputs", "expected"),
    [
        (0, "", ("model.pt", "plots/*.png", "missing*"), {"model.pt", "plots/a b.png"}),
        (0, f"$SCRATCH/{ROOT}/work", ("m*", "plots", "$x", "it's*", "l*t"), EVERY - {"other"}),
        (2, "", ("*",), EVERY),
    ],
    ids=["patterns", "another folder", "two tasks"],
)
def test_the_outputs_that_a_job_names_come_home_though_it_failed(
    scheduler: SchedulerName,
    tasks: int,
    workdir: str,
    outputs: tuple[str, ...],
    expected: set[str],
    project: Path,
    lab: Lab,
    cluster: Cluster,
    delivery: Delivery,
    connections: Connections,
    store: Store,
    tmp_path: Path,
) -> None:
    inside(lab, ["sh", "-c", f"rm -rf {lab.scratch}/{ROOT}/work; mkdir -p {lab.scratch}/{ROOT}/work"], user=lab.user)
    job = Job(
        name="outputs",
        image="test",
        command=("python3", "-c", MAKE),
        code=Code(destination="brought"),
        outputs=outputs,
        workdir=workdir,
        array=Array(size=tasks) if tasks else None,
    )
    done, _ = send(job, project, scheduler, cluster, delivery, connections, store)
    status = wait_for(done.run, cluster, connections, store)
    assert {task.exit_code for task in status.tasks} == {3}, output_of(status, cluster, connections)
    fetched = fetch(status.run, tmp_path / "home", connections.to(cluster))
    home = tmp_path / "home" / "output"
    for folder in [home / str(task) for task in range(tasks)] if tasks else [home]:
        there = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
        assert there - {"link to a folder"} == expected
        assert all((folder / name).read_text() in {name, "model.pt"} for name in expected)
    assert (tmp_path / "home" / "logs" / "0.out") in fetched.files


@pytest.mark.container
@BOTH
def test_the_same_code_travels_once_and_is_unpacked_once_however_many_ask(
    scheduler: SchedulerName, project: Path, lab: Lab, cluster: Cluster, delivery: Delivery, store: Store
) -> None:
    write(project, "unique", content=os.urandom(8).hex())
    job = Job(name="once", image="test", command=("sh", "-c", 'cat "$HPCDEPLOY_CODE/unique"'), code=Code())
    done: list[Submitted] = []
    said: list[str] = []

    def one() -> None:
        with Connections(open_transport) as connections:
            submitted, words = send(job, project, scheduler, cluster, delivery, connections, store)
        done.append(submitted)
        said.append(words)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 4
    with Connections(open_transport) as connections:
        one()
        assert "is missing: copy it to" not in said[-1]
        for submitted in done:
            status = ended(submitted, cluster, connections, store)
            assert output_of(status, cluster, connections) == (project / "unique").read_text()
    left = inside(lab, ["sh", "-c", f"ls -A {lab.scratch}/{ROOT}/code"], user=lab.user).stdout.decode().split()
    ours = [name for name in left if not name.endswith((".lock", ".count"))]
    assert not [name for name in ours if name.startswith(".") or name.endswith(".tar")]


def test_where_the_job_starts_the_container_itself_htcondor_mounts_too(
    project: Path, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    shared = replace(cluster, htcondor_container="apptainer")
    job = Job(
        name="shared",
        image="test",
        command=("sh", "-c", "cat /code/run.sh '/data/a b' deep/x"),
        code=Code(),
        inputs=(
            Input(source="data/a/b.csv", destination="/data/a b"),
            Input(source="data/a/b.csv", destination="deep/x"),
        ),
    )
    done, _ = send(job, project, "htcondor", shared, delivery, connections, store)
    status = ended(done, shared, connections, store)
    assert output_of(status, shared, connections) == "#!/bin/sh\nbb"


@pytest.mark.usefixtures("htcondor")
def test_a_vanilla_job_in_singularity_image_is_sent_its_code_and_sends_its_outputs(
    lab: Lab, project: Path, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store, tmp_path: Path
) -> None:
    job = Job(
        name="vanilla",
        image="test",
        command=("sh", "-c", 'cat code/run.sh "in/a b" && mkdir made && echo made >made/it && echo left >other'),
        code=Code(),
        inputs=(Input(source="data/a/b.csv", destination="in/a b"),),
        outputs=("made",),
    )
    with pool(lab, f"{lab.scratch}/{OWN}/code-pool") as setup:
        site = replace(cluster, setup=(setup,), schedulers=("htcondor",), htcondor_container="singularity-image")
        done, _ = send(job, project, "htcondor", site, delivery, connections, store)
        status = ended(done, site, connections, store)
    assert output_of(status, cluster, connections) == "#!/bin/sh\nb"
    fetch(status.run, tmp_path / "home", connections.to(cluster))
    assert {path.name for path in (tmp_path / "home" / "output").rglob("*")} == {"made", "it"}


@pytest.mark.container
def test_on_the_login_node_itself_no_connection_is_needed(
    project: Path, lab: Lab, cluster: Cluster, delivery: Delivery, store: Store, tmp_path: Path
) -> None:
    """The script is run by hand: it lists the missing files with their paths, and continues when they exist."""
    write(project, "unique", "data/a/b.csv", content=os.urandom(8).hex())
    inputs = (Input(source="data/a/b.csv", destination="b.csv"),)
    job = Job(name="hand", image="test", command=("cat", "/code/run.sh", "b.csv"), code=Code(), inputs=inputs)
    brought = collect_uploads(job, project, "slurm", cluster, archives=tmp_path / "archives", allow=lambda _: False)
    run = plan_run(job, cluster, "slurm", delivery, now=time.time())
    script = submission(run, job, cluster, delivery, placements=brought.placements).encode("utf-8", "surrogateescape")
    asked = inside(lab, ["bash", "-l", "-s"], user=lab.user, stdin=script)
    assert asked.returncode == 14
    answer = read_answer(asked.stdout)
    assert answer
    for need, staged in zip(answer["needs"], brought.uploads, strict=True):  # type: ignore[call-overload]
        put = ["sh", "-c", 'mkdir -p "$(dirname "$1")" && cat >"$1"', "put", need["path"]]
        assert inside(lab, put, user=lab.user, stdin=Path(staged.source).read_bytes()).returncode == 0
    submitted = inside(lab, ["bash", "-l", "-s"], user=lab.user, stdin=script)
    assert submitted.returncode == 0, submitted.stderr.decode()
    answer = read_answer(submitted.stdout)
    assert answer
    with Connections(open_transport) as connections:
        done = replace(run, job_id=str(answer["job_id"]), folder=str(answer["folder"]))
        store.add(done, script.decode("utf-8", "surrogateescape"))
        status = wait_for(done, cluster, connections, store)
        assert output_of(status, cluster, connections) == "#!/bin/sh\n" + (project / "unique").read_text()
