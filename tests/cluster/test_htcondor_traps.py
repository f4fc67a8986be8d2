"""What goes wrong on pools: images that are not to be had, holds, lost workers, a schedd that takes no more."""

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from hpcdeploy.cli.status_text import explanation
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import HpcdeployError, SchedulerError, UncertainSubmissionError
from hpcdeploy.flows import follow, logs
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.flows.images import worker_delivery
from hpcdeploy.flows.submit import plan_run, resume, submit
from hpcdeploy.job import Array, Job
from hpcdeploy.remote.answers import SHELL
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.query import following
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.run import Run, RunStatus, State
from hpcdeploy.scheduler.contract import read_answers
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside, inside_argv
from hpcdeploy_lab.state import Lab
from tests.cluster.condor_pool import pool
from tests.cluster.driving import output_of, submit_job, wait_for
from tests.shared import OWN

DIGEST = "ab" * 32
SLEEPER = Job(name="sleeper", image="test", command=("sleep", "600"))
Condor = Callable[[str], str]


@pytest.fixture
def condor(lab: Lab, site: Cluster) -> Condor:
    """Give a way to say something to the second pool; what it answers."""

    def say(line: str) -> str:
        done = inside(lab, ["timeout", "120", "bash", "-c", "; ".join((*site.setup, "set -e", line))], user=lab.user)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    return say


def until(condor: Condor, condition: str) -> None:
    condor(f"until {condition}; do sleep 0.3; done")


def asked(run: Run, cluster: Cluster, connections: Connections, store: Store) -> RunStatus:
    return follow.status([RunStatus(run=run, tasks=(), asked=0)], lambda _: connections.to(cluster), store).statuses[0]


@pytest.mark.parametrize(
    ("image", "method", "named"),
    [
        (f"osdf:///ospool/me/x-{DIGEST}.sif", "osdf", f"x-{DIGEST}.sif"),
        (f"pelican://osg-htc.org/ospool/me/x-{DIGEST}.sif", "pelican", f"x-{DIGEST}.sif"),
        (f"stash:///ospool/me/x-{DIGEST}.sif", "stash", f"x-{DIGEST}.sif"),
        (f"https://example.org/x-{DIGEST}.sif", "https", f"x-{DIGEST}.sif"),
        (f"docker://example.org/me/x@sha256:{DIGEST}", "", f"docker://example.org/me/x@sha256:{DIGEST}"),
        (f"/cvmfs/example.org/x-{DIGEST}.sif", "", f"/cvmfs/example.org/x-{DIGEST}.sif"),
        (f"/cvmfs/example.org/x-{DIGEST}", "", f"/cvmfs/example.org/x-{DIGEST}"),
    ],
)
@pytest.mark.parametrize("container", ["universe", "singularity-image"])
def test_htcondor_itself_takes_each_address_for_what_it_is(
    container: str,
    image: str,
    method: str,
    named: str,
    condor: Condor,
    site: Cluster,
    connections: Connections,
    store: Store,
) -> None:
    """Held from the start, so nothing is fetched: only what condor_submit makes of the words is looked at."""
    delivery = worker_delivery(image)
    assert delivery is not None
    job = replace(SLEEPER, htcondor=(("hold", "true"),))
    cluster = replace(site, htcondor_container=container)  # type: ignore[arg-type]
    run = submit_job(job, "htcondor", cluster, delivery, connections, store).run
    [ad] = json.loads(condor(f"condor_q {run.job_id} -json"))
    condor(f"condor_rm {run.job_id}")
    transferred = [name for name in str(ad.get("TransferInput", "")).split(",") if DIGEST in name]
    assert transferred == ([image] if method else [])
    assert (f'stringListIMember("{method}",TARGET.HasFileTransferPluginMethods)' in str(ad["Requirements"])) == bool(method)
    if container == "universe":
        assert ad["ContainerImage"] == named
        assert ad["WantContainer"] is True
        assert ad.get("TransferContainer", True) is not image.startswith("/")
    else:
        assert ad["SingularityImage"].removeprefix("./") == named


@pytest.fixture
def guarded(lab: Lab) -> Iterator[str]:
    """Serve a registry that requires a name and a password, which are not available here."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = (
        "import http.server, sys\n"
        "class Guard(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(401)\n"
        "        self.send_header('WWW-Authenticate', 'Basic realm=\"guarded\"')\n"
        "        self.send_header('Content-Length', '0')\n"
        "        self.end_headers()\n"
        "    do_HEAD = do_GET\n"
        "http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Guard).serve_forever()\n"
    )
    argv = inside_argv(lab, ["python3", "-c", program, str(port)], user=lab.user)
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        yield f"localhost:{port}"
        server.terminate()


@pytest.mark.parametrize(("registry", "words"), [("localhost:1", b"connection refused"), ("", b"401|[Uu]nauthorized")])
def test_an_image_that_a_worker_cannot_fetch_is_told_as_that_and_not_as_the_programs_failure(
    registry: str, words: bytes, guarded: str, site: Cluster, connections: Connections, store: Store
) -> None:
    reference = f"oras://{registry or guarded}/me/x@sha256:{DIGEST}"
    delivery = Delivery(sha256=DIGEST, reference=reference, size=1, plain_http=True, in_job=True)
    run = submit_job(replace(SLEEPER, command=("true",)), "htcondor", site, delivery, connections, store).run
    status = wait_for(run, site, connections, store)
    assert (status.state, status.exit_code) == (State.FAILED, 255)
    assert "could not get the image" in explanation(status, status.tasks[0])
    assert re.search(words, logs.read(status, 0, connections.to(site)).err)


def test_a_job_that_loses_its_worker_begins_anew_elsewhere_and_says_so(
    condor: Condor, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    command = ("sh", "-c", 'echo "$HPCDEPLOY_RESTART"; [ "$HPCDEPLOY_RESTART" != 0 ] || exec sleep 600')
    run = submit_job(replace(SLEEPER, command=command), "htcondor", site, delivery, connections, store).run
    until(condor, f"grep -q ^001 {run.folder}/events.log")
    condor(f"condor_vacate_job -fast {run.job_id}; until grep -q ^004 {run.folder}/events.log; do sleep 0.2; done")
    status = wait_for(run, site, connections, store)
    assert status.state is State.COMPLETED
    assert output_of(status, site, connections) == "1\n"


def test_a_persons_hold_is_theirs_to_release_and_the_job_then_goes_on(
    condor: Condor, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    run = submit_job(replace(SLEEPER, command=("sleep", "3")), "htcondor", site, delivery, connections, store).run
    condor(f"condor_hold -reason 'let it be' {run.job_id}")
    status = asked(run, site, connections, store)
    assert (status.state, status.tasks[0].code) == (State.HELD, "1.0")
    assert "let it be" in status.tasks[0].reason
    assert "condor_release" in explanation(status, status.tasks[0])
    # The schedd of this pool looks at policies every other second.
    condor("sleep 6")
    assert asked(run, site, connections, store).state is State.HELD
    condor(f"condor_release {run.job_id}")
    assert wait_for(run, site, connections, store).state is State.COMPLETED


@pytest.mark.parametrize(
    ("free", "code", "words"),
    [
        (("transfer_input_files", "/nonexistent/a b"), "13.2", "input files could not be transferred"),
        (("transfer_output_files", "nope"), "12.2", "output files could not be transferred"),
        (("hold", "true"), "15.0", "submitted on hold"),
        (("periodic_hold", "NumJobStarts > 0"), "3.0", "its own policy held it"),
    ],
)
def test_a_hold_is_explained_and_can_be_cancelled(
    free: tuple[str, str],
    code: str,
    words: str,
    condor: Condor,
    site: Cluster,
    delivery: Delivery,
    connections: Connections,
    store: Store,
) -> None:
    command = ("sleep", "600" if code == "3.0" else "0")
    job = replace(SLEEPER, command=command, htcondor=(free,))
    run = submit_job(job, "htcondor", site, delivery, connections, store).run
    until(condor, f'[ "$(condor_q {run.job_id} -af JobStatus)" = 5 ]')
    held = asked(run, site, connections, store)
    assert (held.state, held.tasks[0].code) == (State.HELD, code)
    assert words in explanation(held, held.tasks[0])
    cancel([held], lambda _: connections.to(site), store)
    assert wait_for(run, site, connections, store).state is State.CANCELLED


def test_outputs_that_were_not_made_hold_nothing(
    site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    job = replace(SLEEPER, command=("true",), outputs=("nope", "no/*.pt"))
    run = submit_job(job, "htcondor", site, delivery, connections, store).run
    assert wait_for(run, site, connections, store).state is State.COMPLETED


@pytest.mark.parametrize("outputs", [(), ("*",)], ids=["all new files", "outputs"])
def test_outputs_that_may_not_be_read_hold_nothing_and_are_named(
    outputs: tuple[str, ...], site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    closed = "echo 1 >open; echo 2 >closed; chmod 0 closed; mkfifo pipe"
    job = replace(SLEEPER, command=("sh", "-c", closed), outputs=outputs)
    run = submit_job(job, "htcondor", site, delivery, connections, store).run
    status = wait_for(run, site, connections, store)
    assert (status.state, status.tasks[0].exit_code) == (State.COMPLETED, 0)
    errors = logs.read(status, 0, connections.to(site)).err.decode()
    assert "./closed may not be read: it is left out of the outputs" in errors
    script = f"ls {site.root}/runs/{run.id}/output"
    assert connections.to(site).link.open().run(SHELL, stdin=script.encode()).stdout.decode().split() == ["open"]


def test_what_is_made_later_under_a_throttle_has_image_and_input_too(
    lab: Lab, condor: Condor, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    """HTCondor 24.0 once sent them with the first task only (max_idle, HTCONDOR-3092)."""
    given = f"{lab.scratch}/{OWN}/given"
    condor(f"echo 42 >{given}")
    free = (("transfer_input_files", given), ("max_idle", "1"))
    job = replace(SLEEPER, command=("cat", "given"), array=Array(size=5), htcondor=free)
    run = submit_job(job, "htcondor", site, delivery, connections, store).run
    status = wait_for(run, site, connections, store)
    assert [task.exit_code for task in status.tasks] == [0] * 5
    assert {output_of(status, site, connections, task) for task in range(5)} == {"42\n"}


def test_a_schedd_that_takes_no_more_jobs_says_so_and_no_run_is_left(
    lab: Lab, condor: Condor, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    settings = f"{lab.scratch}/{OWN}/pool/condor_config"
    taken = "printf '%s\\n' 'executable = /bin/true' 'hold = true' queue | condor_submit - >/dev/null 2>&1"
    condor(f"echo MAX_JOBS_SUBMITTED = 0 >>{settings} && condor_reconfig")
    until(condor, f"! {taken}")
    condor("condor_rm -all >/dev/null 2>&1 || true")
    try:
        with pytest.raises(SchedulerError, match=r"MAX_JOBS_SUBMITTED(.|\n)*rejected the job"):
            submit_job(SLEEPER, "htcondor", site, delivery, connections, store)
        assert condor("condor_q -constraint 'HpcdeployRun =!= undefined' -af ClusterId") == ""
    finally:
        condor(f"sed -i /MAX_JOBS_SUBMITTED/d {settings} && condor_reconfig")
        until(condor, taken)
        condor("condor_rm -all >/dev/null")
    assert store.latest() == []


def ran_without_log(
    condor: Condor, job: Job, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> Run:
    """Let `job` run to its end, and delete its log meanwhile: HTCondor keeps it open, and writes no other."""
    run = submit_job(job, "htcondor", cluster, delivery, connections, store).run
    until(condor, f"grep -q ^001 {run.folder}/events.log")
    condor(f"rm {run.folder}/events.log")
    return run


@pytest.mark.parametrize(
    ("command", "state", "code"),
    [("sleep 10", State.COMPLETED, 0), ("sleep 10; exit 7", State.FAILED, 7), ("sleep 600", State.CANCELLED, None)],
)
def test_the_end_of_a_job_whose_log_is_gone_is_asked_of_the_schedds_history(
    command: str,
    state: State,
    code: int | None,
    condor: Condor,
    site: Cluster,
    delivery: Delivery,
    connections: Connections,
    store: Store,
) -> None:
    job = replace(SLEEPER, command=("sh", "-c", command))
    run = ran_without_log(condor, job, site, delivery, connections, store)
    assert asked(run, site, connections, store).state is State.RUNNING
    if state is State.CANCELLED:
        condor(f"condor_rm {run.job_id}")
    status = wait_for(run, site, connections, store)
    assert (status.state, status.tasks[0].exit_code) == (state, code)
    if code is not None:
        assert status.tasks[0].ended - status.tasks[0].started >= 10


def test_tasks_of_which_the_log_was_cut_off_are_asked_for_and_the_others_are_not_lost(
    condor: Condor, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    command = ("sh", "-c", "sleep $HPCDEPLOY_TASK; exit $HPCDEPLOY_TASK")
    job = replace(SLEEPER, command=command, array=Array(size=3))
    run = submit_job(job, "htcondor", site, delivery, connections, store).run
    until(condor, f'[ "$(grep -c termination {run.folder}/events.log)" = 3 ]')
    log = f"{run.folder}/events.log"
    # In the middle of the line that tells the second task's exit code.
    line = f"$(grep -n termination {log} | sed -n '2s/:.*//p')"
    condor(f"head -n {line} {log} | head -c -6 >{log}.cut; mv {log}.cut {log}")
    status = wait_for(run, site, connections, store)
    assert [task.exit_code for task in status.tasks] == [0, 1, 2]


def test_a_job_that_nobody_remembers_has_not_ended(
    lab: Lab, condor: Condor, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    run = ran_without_log(condor, replace(SLEEPER, command=("sleep", "1")), site, delivery, connections, store)
    until(condor, f'[ -z "$(condor_q {run.job_id} -af JobStatus)" ]')
    # Emptied and not removed: the schedd keeps it open, for the tests after this one too.
    condor(f": >{lab.scratch}/{OWN}/pool/spool/history")
    status = asked(run, site, connections, store)
    assert status.state is State.UNKNOWN
    assert "its end is not recorded" in status.tasks[0].reason


def test_the_history_is_not_read_for_what_the_queue_or_a_log_tells(
    condor: Condor, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    later = replace(SLEEPER, array=Array(size=3, throttle=1))
    ended = replace(SLEEPER, command=("true",))
    runs = [submit_job(job, "htcondor", site, delivery, connections, store).run for job in (SLEEPER, later, ended)]
    assert wait_for(runs[2], site, connections, store).state is State.COMPLETED
    transport = connections.to(site).link.open()
    script = following(site, "htcondor", runs, "fence")
    answers = read_answers(transport.run(SHELL, stdin=script.encode()).stdout, "fence")
    assert set(answers) == {"condor_q", "events", "records"}
    condor(f"condor_rm {runs[0].job_id} {runs[1].job_id}")


def test_another_job_that_has_the_number_of_a_lost_one_is_not_taken_for_it(
    condor: Condor, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    run = submit_job(SLEEPER, "htcondor", site, delivery, connections, store).run
    until(condor, f"grep -q ^001 {run.folder}/events.log")
    assert asked(run, site, connections, store).state is State.RUNNING
    assert asked(replace(run, id="lost-0123456789"), site, connections, store).state is State.UNKNOWN
    condor(f"condor_rm {run.job_id}")


def test_a_job_whose_image_is_still_on_its_way_says_so(
    condor: Condor, site: Cluster, connections: Connections, store: Store
) -> None:
    """Nothing listens at that address, and HTCondor's plugin repeats its attempts for a while."""
    delivery = worker_delivery(f"https://127.0.0.1:1/x-{DIGEST}.sif")
    assert delivery is not None
    run = submit_job(SLEEPER, "htcondor", site, delivery, connections, store).run
    until(condor, f'[ "$(condor_q {run.job_id} -af TransferringInput)" = true ]')
    status = asked(run, site, connections, store)
    assert (status.state, status.tasks[0].reason) == (State.RUNNING, "its files are in transfer to the worker")
    condor(f"condor_rm {run.job_id}")


@pytest.mark.parametrize("container", ["universe", "singularity-image", "apptainer"])
def test_no_word_is_changed_whoever_starts_the_container(
    container: str, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    words = ("x y", "", "$HOME $(Process) $$(Memory)", "a'b\"c", "new\nline", "naïve ☃", "\\", "#c", "%d", "$(DOLLAR)", "-")
    value = "a 'b' \"c\" $(Cluster) $$([1+1])\nsecond"
    tell = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ['ODD']]))"
    job = Job(name="odd.name_1-", image="test", command=("python3", "-c", tell, *words), environment=(("ODD", value),))
    cluster = replace(site, htcondor_container=container, root=f"$SCRATCH/{OWN}/it's a root")  # type: ignore[arg-type]
    status = wait_for(submit_job(job, "htcondor", cluster, delivery, connections, store).run, cluster, connections, store)
    assert json.loads(output_of(status, cluster, connections)) == [list(words), value]


def test_files_with_odd_names_come_back_by_themselves(
    lab: Lab, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    names = ["-dash", "$x", "a,b", "c d", "new\nline", "q\"uo'te", "é☃"]
    make = f"import pathlib; [pathlib.Path(name).write_text(name) for name in {names!r}]"
    job = replace(SLEEPER, command=("python3", "-c", make))
    run = submit_job(job, "htcondor", site, delivery, connections, store).run
    assert wait_for(run, site, connections, store).state is State.COMPLETED
    found = inside(lab, ["find", f"{run.folder}/output", "-type", "f", "-printf", "%P\\0"], user=lab.user).stdout
    assert sorted(found.decode().split("\0")[:-1]) == sorted(names)


@pytest.fixture
def cramped(lab: Lab) -> Iterator[tuple[str, str]]:
    """Give a pool whose spool is a small disk of its own, and the folder of that."""
    folder = f"{lab.scratch}/{OWN}/cramped"
    spool = f"{folder}/spool"
    mount = f"mount -t tmpfs -o size=600k,uid=$(id -u {lab.user}) tmpfs {spool}"
    made = inside(lab, ["sh", "-c", f"install -d -o {lab.user} {folder} {spool} && {mount}"])
    assert made.returncode == 0, made.stderr.decode()
    try:
        with pool(lab, folder) as line:
            yield line, spool
    finally:
        inside(lab, ["umount", "--lazy", spool])


def test_a_full_spool_leaves_a_run_that_is_resumed_once_there_is_room(
    cramped: tuple[str, str], lab: Lab, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    """The schedd dies of it, in the middle of the submission, and is started again."""
    line, spool = cramped
    site = replace(cluster, setup=(line,), schedulers=("htcondor",))
    # Large, so that it does not fit into what the schedd has of the disk already.
    job = replace(SLEEPER, command=("true",), htcondor=(("+Padding", f'"{"x" * 50_000}"'),))
    run = plan_run(job, site, "htcondor", delivery, now=time.time())
    script = submission(run, job, site, delivery)
    inside(lab, ["dd", "if=/dev/zero", f"of={spool}/fill", "bs=1k"], user=lab.user)
    with pytest.raises(UncertainSubmissionError, match=f"submit --resume {run.id}"):
        submit(run, script, connections.to(site), store)
    mended = f"rm {spool}/fill; {line}; until condor_q >/dev/null 2>&1; do sleep 1; done"
    assert inside(lab, ["timeout", "300", "bash", "-c", mended], user=lab.user).returncode == 0
    again = resume(run, script, connections.to(site), store).run
    assert wait_for(again, site, connections, store).state is State.COMPLETED
    ask = f"{line}; condor_q -af HpcdeployRun; condor_history -af HpcdeployRun"
    assert inside(lab, ["bash", "-c", ask], user=lab.user).stdout.decode().split() == [run.id]


def test_what_a_site_prints_beside_the_number_is_not_taken_for_it(
    condor: Condor, site: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    chatty = 'condor_submit() { echo "Welcome, job 7.0 - 9"; command condor_submit "$@" && echo "1.0 - 1.0 is another"; }'
    cluster = replace(site, setup=(*site.setup, chatty))
    job = replace(SLEEPER, command=("true",), array=Array(size=3))
    run = submit_job(job, "htcondor", cluster, delivery, connections, store).run
    named = f"condor_q -af ClusterId -constraint 'HpcdeployRun == \"{run.id}\"'"
    remembered = f"condor_history -af ClusterId -constraint 'HpcdeployRun == \"{run.id}\"'"
    assert wait_for(run, cluster, connections, store).state is State.COMPLETED
    assert set(condor(f"{named}; {remembered}").split()) == {run.job_id}


@pytest.mark.parametrize(
    ("root", "container"), [('quoted"name', "universe"), ("a,b", "singularity-image"), ("dollar$(x)", "universe")]
)
def test_a_folder_that_no_submit_description_can_name_is_said_before_anything_is_submitted(
    root: str,
    container: str,
    lab: Lab,
    condor: Condor,
    site: Cluster,
    delivery: Delivery,
    connections: Connections,
    store: Store,
) -> None:
    cluster = replace(site, root=f"{lab.scratch}/{OWN}/{root}", htcondor_container=container)  # type: ignore[arg-type]
    before = set(condor("condor_q -af ClusterId").split())
    with pytest.raises(HpcdeployError, match=r"a submit description cannot contain|image-cache contains .* set another one"):
        submit_job(SLEEPER, "htcondor", cluster, delivery, connections, store)
    # One that was there may have left the queue meanwhile.
    assert set(condor("condor_q -af ClusterId").split()) <= before
