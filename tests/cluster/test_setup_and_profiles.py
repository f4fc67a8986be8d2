"""A run from its submission to its files, whatever the login profile did and the cluster's setup lines are."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.config.files import load_project
from hpcdeploy.errors import BuildError, SchedulerError, UnknownRunError
from hpcdeploy.flows import logs
from hpcdeploy.flows.build import build_on
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.flows.fetch import fetch
from hpcdeploy.flows.submit import plan_run, resume, submit
from hpcdeploy.image import Definition
from hpcdeploy.job import Array, Job
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.run import RunStatus, State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy.transport.connect import open_transport
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import output_of, submit_job, wait_for
from tests.cluster.no_container import SCRIPT, put
from tests.labs import StartLab
from tests.shared import OWN

BOTH = pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
IMAGE = b"no image: nothing opens it\n"
DELIVERY = Delivery(sha256=hashlib.sha256(IMAGE).hexdigest())
PROGRAM = Job(
    name="said", image="i", command=("sh", "-c", 'echo "$SITE:$HPCDEPLOY_TASK"; echo made >"made $HPCDEPLOY_TASK"')
)
FROM_NOTHING = Definition(
    name="nothing", text="Bootstrap: scratch\n%labels\n    made here\n", files=(), build_args=(), inputs="cd" * 32
)
SITE_SCRIPT = b"""\
[ "$NOT_SET" = x ] && echo x
false
yes | head -n 1 >/dev/null
export SITE=$NOT_SET.site
[ -n "$NOT_SET" ]
"""
PROFILE = b"""\
printf 'Welcome to \\033]0;the lab\\007'
cd() { builtin cd "$@" && ls; }
rm() { echo "rm $*"; }
export -f cd rm
shopt -s expand_aliases nullglob failglob
alias mkdir='mkdir -v' cat='cat -n'
set -o noclobber
IFS=/:
module() { export SITE=$1; }
export -f module
"""


def check(job: Job, scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, said: str, folder: Path) -> None:
    """Submit `job`, follow it, read its logs, fetch its files; then submit one that goes on, and cancel that."""
    store = Store(folder / "runs.db")
    with Connections(open_transport) as connections:
        run = submit_job(job, scheduler, cluster, delivery, connections, store).run
        status = wait_for(run, cluster, connections, store)
        assert [(task.state, task.exit_code) for task in status.tasks] == [(State.COMPLETED, 0)] * run.tasks
        for task in range(run.tasks):
            assert output_of(status, cluster, connections, task).splitlines()[-1] == f"{said}:{task}"
        fetched = fetch(run, folder / "fetched", connections.to(cluster))
        names = [path.name for path in fetched.files]
        assert {f"made {task}" for task in range(run.tasks)} | {f"{task}.out" for task in range(run.tasks)} <= {*names}
        again = resume(run, submission(run, job, cluster, delivery), connections.to(cluster), store)
        assert again.already
        sleeping = replace(job, command=("sleep", "600"))
        other = submit_job(sleeping, scheduler, cluster, delivery, connections, store).run
        assert cancel([RunStatus(run=other, tasks=(), asked=0)], lambda _: connections.to(cluster), store) == [other]
        assert wait_for(other, cluster, connections, store).state is State.CANCELLED


@pytest.fixture
def site_script(lab: Lab) -> str:
    path = f"{lab.scratch}/{OWN}/setup/site.sh"
    put(lab, path, SITE_SCRIPT)
    return path


@BOTH
def test_setup_lines_that_no_strict_shell_would_run_are_run_everywhere(
    scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, site_script: str, tmp_path: Path
) -> None:
    setup = (
        "export LD_LIBRARY_PATH=/opt/x:$LD_LIBRARY_PATH",
        f". {site_script}",
        "[ -f /nowhere ] && . /nowhere",
        "set -eu",
    )
    cluster = replace(cluster, setup=setup, htcondor_container="apptainer")
    check(replace(PROGRAM, array=Array(size=2)), scheduler, cluster, delivery, ".site", tmp_path)


@BOTH
@pytest.mark.parametrize("line", ["module load nothing", "exit 0", "if then"])
def test_a_line_that_fails_is_named_and_nothing_is_submitted(
    line: str,
    scheduler: SchedulerName,
    cluster: Cluster,
    delivery: Delivery,
    connections: Connections,
    store: Store,
) -> None:
    cluster = replace(cluster, setup=(line,))
    run = plan_run(PROGRAM, cluster, scheduler, delivery, now=0)
    with pytest.raises(SchedulerError, match="the cluster's setup") as caught:
        submit(run, submission(run, PROGRAM, cluster, delivery), connections.to(cluster), store)
    assert caught.value.exit_code == 70
    with pytest.raises(UnknownRunError):
        store.find([run.id])


@BOTH
def test_a_line_that_only_the_job_cannot_run_is_in_its_log(
    scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    job_only = 'case ${SLURM_JOB_ID-}${_CONDOR_SCRATCH_DIR-} in "") ;; *) exit 0 ;; esac'
    cluster = replace(cluster, setup=(job_only,), htcondor_container="apptainer")
    run = submit_job(PROGRAM, scheduler, cluster, delivery, connections, store).run
    status = wait_for(run, cluster, connections, store)
    assert (status.state, status.tasks[0].exit_code) == (State.FAILED, 1)
    assert "the cluster's setup ended this script" in error_of(status, cluster, connections)


def error_of(status: RunStatus, cluster: Cluster, connections: Connections) -> str:
    return logs.read(status, 0, connections.to(cluster)).err.decode()


@pytest.fixture(scope="module")
def own(start_lab: StartLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run a lab whose user has another login profile; a script that starts the program itself takes Apptainer's place."""
    with start_lab(tmp_path_factory.mktemp("profiles")) as lab:
        root = f"{lab.scratch}/hpcdeploy"
        put(lab, f"{root}/images/{DELIVERY.sha256}.sif", IMAGE)
        put(lab, f"{root}/apptainer", SCRIPT)
        yield lab


@pytest.fixture
def own_cluster(own: Lab, tmp_path: Path) -> Cluster:
    environ = {"XDG_STATE_HOME": str(own.state.parent.parent), "HOME": str(tmp_path)}
    found = load_project(tmp_path, environ, optional=True).clusters["lab"]
    return replace(found, apptainer=f"{own.scratch}/hpcdeploy/apptainer", htcondor_container="apptainer")


@BOTH
def test_a_profile_that_changes_the_shell_changes_nothing_of_a_run(
    scheduler: SchedulerName, own: Lab, own_cluster: Cluster, tmp_path: Path
) -> None:
    put(own, f"/home/{own.user}/.bash_profile", PROFILE)
    # What a profile defines is there for setup: under Slurm it is exported to the job too.
    setup = ("module loaded",) if scheduler == "slurm" else ("SITE=loaded; export SITE",)
    check(replace(PROGRAM, array=Array(size=2)), scheduler, replace(own_cluster, setup=setup), DELIVERY, "loaded", tmp_path)


@pytest.mark.parametrize("line", ["exec sh", "exit 0", "exec true"])
def test_a_profile_that_ends_bash_is_named_over_ssh_too(
    line: str, own: Lab, own_cluster: Cluster, connections: Connections, store: Store
) -> None:
    put(own, f"/home/{own.user}/.bash_profile", f"{line}\n".encode())
    run = replace(plan_run(PROGRAM, own_cluster, "slurm", DELIVERY, now=0), job_id="1")
    for verb in (
        lambda: submit_job(PROGRAM, "slurm", own_cluster, DELIVERY, connections, store),
        lambda: logs.read(RunStatus(run=run, tasks=(), asked=0), 0, connections.to(own_cluster)),
        lambda: fetch(run, Path("nowhere"), connections.to(own_cluster)),
        lambda: cancel([RunStatus(run=run, tasks=(), asked=0)], lambda _: connections.to(own_cluster), store),
    ):
        with pytest.raises(SchedulerError, match="profile"):
            verb()


@pytest.mark.container
def test_an_image_is_built_whatever_the_profile_did_and_the_setup_lines_are(
    own: Lab, own_cluster: Cluster, connections: Connections
) -> None:
    put(own, f"/home/{own.user}/.bash_profile", PROFILE)
    put(own, f"{own.scratch}/site.sh", SITE_SCRIPT)
    setup = (f". {own.scratch}/site.sh", "export LD_LIBRARY_PATH=/opt/x:$LD_LIBRARY_PATH", "set -eu", "cd /")
    cluster = replace(own_cluster, apptainer="apptainer", setup=setup)
    built = build_on(FROM_NOTHING, connections.to(cluster))
    assert inside(own, ["sha256sum", built.path], user=own.user).stdout.decode().split()[0] == built.sha256
    for line, words in (("false", "a line of the cluster's setup failed"), ("exit 0", "the cluster's setup ended this")):
        with pytest.raises(BuildError, match=words):
            build_on(FROM_NOTHING, connections.to(replace(cluster, setup=(line,))))
    put(own, f"/home/{own.user}/.bash_profile", b"exec sh\n")
    with pytest.raises(BuildError, match="profile"):
        build_on(FROM_NOTHING, connections.to(cluster))
