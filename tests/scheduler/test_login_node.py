import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster, HtcondorContainer, SchedulerName
from hpcdeploy.job import After, Array, Bind, Job, Predecessor, Resources, Retries, Signal
from hpcdeploy.remote.answers import SHELL, STREAM_SHELL, read_answer
from hpcdeploy.remote.cancellation import cancel_script, find_or_prevent_script
from hpcdeploy.remote.listing import listing
from hpcdeploy.remote.logs import reading_logs
from hpcdeploy.remote.parallel_upload import receiving_records
from hpcdeploy.remote.query import following
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.remote.upload_stream import receiving
from hpcdeploy.staged_files import Delivery, Placement
from tests.scheduler.golden_files import check_golden
from tests.scheduler.samples import (
    AUTO,
    BROUGHT,
    CACHED,
    CLUSTER,
    CONDOR_SITE,
    CONDOR_TRAIN,
    DELIVERY,
    IN_JOB,
    PLAIN,
    SITE,
    STAGED,
    STREAMED,
    SWEPT,
    TRAIN,
    run_of,
)
from tests.shellcheck import findings

LOOPBACK = Delivery(sha256="ab" * 32, reference=f"oras://localhost:5000/train@sha256:{'cd' * 32}", size=1, plain_http=True)

PREDECESSORS = (
    Predecessor(run_id="prepare-0011223344", kind="afterok", tasks=4),
    Predecessor(run_id="clean-5566778899", kind="afterany", tasks=1),
)
PLAIN_AFTER = replace(PLAIN, after=(After(what="prepare"), After(what="clean", kind="afterany")))

RANKS = Job(
    name="ranks",
    image="train",
    command=("python", "-m", "ranks"),
    resources=Resources(nodes=2, gpus=4, cpus=16, memory=65536, time=3600),
    binds=(Bind(source="$TMPDIR/here", destination="/here"),),
    signal=Signal(name="USR1", before=300),
    retries=Retries(max=3, exit_codes=(75, 76)),
    tasks_per_node=4,
    mpi="pmix",
    array=Array(size=2),
)
TORCHRUN = replace(RANKS, tasks_per_node=None, mpi=None, launcher="torchrun", retries=Retries(max=1), array=None)

SUBMISSIONS: dict[str, tuple[SchedulerName, Job, Cluster, Delivery]] = {
    "slurm-plain": ("slurm", PLAIN, CLUSTER, CACHED),
    "slurm-train": ("slurm", TRAIN, SITE, DELIVERY),
    "slurm-ranks": ("slurm", RANKS, CLUSTER, CACHED),
    "slurm-torchrun": ("slurm", TORCHRUN, CLUSTER, CACHED),
    "htcondor-plain": ("htcondor", PLAIN, CLUSTER, LOOPBACK),
    "htcondor-train": ("htcondor", CONDOR_TRAIN, CLUSTER, DELIVERY),
    "slurm-sweep": ("slurm", SWEPT, CLUSTER, CACHED),
    "htcondor-sweep": ("htcondor", SWEPT, CLUSTER, CACHED),
    "htcondor-singularity-image": (
        "htcondor",
        CONDOR_TRAIN,
        replace(CLUSTER, htcondor_container="singularity-image"),
        DELIVERY,
    ),
    "htcondor-apptainer": ("htcondor", CONDOR_SITE, replace(SITE, htcondor_container="apptainer"), DELIVERY),
    "slurm-job-pulls": ("slurm", PLAIN, SITE, IN_JOB),
    "slurm-small-cache": (
        "slurm",
        PLAIN,
        replace(CLUSTER, image_cache="/data/$USER/images", tmp="/data/$USER/tmp", image_cache_size=50_000),
        STREAMED,
    ),
    "htcondor-auto": ("htcondor", PLAIN, CLUSTER, AUTO),
    "slurm-amd": ("slurm", replace(RANKS, array=None), replace(CLUSTER, gpu_vendor="amd"), CACHED),
    "slurm-exclusive": ("slurm", replace(PLAIN, slurm=(("exclusive", True),)), CLUSTER, CACHED),
}


def scripts() -> dict[str, str]:
    made = {
        name: submission(run_of(job, scheduler), job, cluster, delivery)
        for name, (scheduler, job, cluster, delivery) in SUBMISSIONS.items()
    }
    for scheduler in ("slurm", "htcondor"):
        runs = [run_of(PLAIN, scheduler, job_id="12"), run_of(TRAIN, scheduler, job_id="40")]
        made[f"{scheduler}-follow"] = following(SITE, scheduler, runs, "fence")
        made[f"{scheduler}-cancel"] = cancel_script(SITE, runs)
        made[f"{scheduler}-revoke"] = find_or_prevent_script(SITE, run_of(SWEPT, scheduler))
    here = Placement(upload=STAGED, place="data", is_folder=False)
    elsewhere = replace(DELIVERY, upload=replace(STAGED, path="$WORK/x"))
    made["slurm-parcels"] = submission(run_of(PLAIN), PLAIN, SITE, elsewhere, placements=(here,))
    made["htcondor-brought"] = submission(run_of(PLAIN, "htcondor"), PLAIN, CLUSTER, BROUGHT)
    made["receive"] = receiving(STAGED, SITE)
    made["records"] = receiving_records(STAGED, SITE, is_first=True)
    made["slurm-after"] = submission(run_of(PLAIN), PLAIN_AFTER, CLUSTER, CACHED, after=PREDECESSORS)
    made["htcondor-after"] = submission(
        run_of(SWEPT, "htcondor"), replace(SWEPT, after=PLAIN_AFTER.after), CLUSTER, CACHED, after=PREDECESSORS
    )
    made["logs"] = reading_logs(SITE, run_of(TRAIN), [(0, 0, 10), (3, 7, 0)], "fence")
    made["logs-tail"] = reading_logs(SITE, run_of(TRAIN), [(0, 0, 10), (3, 0, 0)], "fence", last={3: 20})
    made["list"] = listing(SITE, run_of(TRAIN), ("plots/a *.png",), "fence")
    return made


@pytest.mark.parametrize("name", scripts())
def test_a_script_is_what_it_was(name: str) -> None:
    check_golden(name, scripts()[name])


@pytest.mark.parametrize("name", scripts())
def test_shellcheck_has_nothing_to_say(name: str) -> None:
    assert findings(scripts()[name]) == ""


@pytest.mark.parametrize("name", SUBMISSIONS)
def test_shellcheck_has_nothing_to_say_of_the_job_itself(name: str) -> None:
    text = scripts()[name]
    begin = text.index("\n", text.index("<<'HPCDEPLOY_END")) + 1
    job = text[begin : text.index("\nHPCDEPLOY_END", begin)]
    assert job.startswith("#!")
    # SC2016: a person's own words may look like a forgotten expansion; that they stay as they are is the point.
    assert findings(job, "--exclude=SC2016") == ""


@pytest.mark.parametrize("name", ["slurm-ranks", "slurm-torchrun"])
def test_shellcheck_has_nothing_to_say_of_what_runs_on_each_node(name: str) -> None:
    text = scripts()[name]
    begin = text.index("#!/bin/bash\n# One process")
    assert findings(text[begin : text.index("\nHPCDEPLOY_END", begin)]) == ""


@pytest.mark.parametrize("shell", [SHELL, STREAM_SHELL])
@pytest.mark.parametrize("name", SUBMISSIONS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_a_script_that_was_cut_on_its_way_does_nothing(
    shell: tuple[str, ...], name: str, part: float, tmp_path: Path
) -> None:
    text = scripts()[name]
    cut = text[: int(len(text) * part)]
    environment = {"PATH": os.environ["PATH"], "SCRATCH": str(tmp_path), "USER": "x"}
    subprocess.run(shell, input=cut, text=True, capture_output=True, env=environment, cwd=tmp_path, check=False)
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_are_no_text_and_words_reach_a_script_that_is_read_at_once(tmp_path: Path) -> None:
    body = b"printf '%s|' \"$@\" 'a\xffb\xc3'\ncat <<'END'\n$x \\ `y` \xe9\nEND\n"
    script = b"main() {\n" + body + b'}\nmain "$@" </dev/null\n\n'
    done = subprocess.run([*SHELL, "bring", "it's $x"], input=script, capture_output=True, check=True, cwd=tmp_path)
    assert done.stdout == b"bring|it's $x|a\xffb\xc3|$x \\ `y` \xe9\n"


def test_the_exit_status_is_the_scripts_own_whatever_the_persons_logout_file_does(tmp_path: Path) -> None:
    (tmp_path / ".bash_logout").write_text("false\n")
    text = submission(run_of(PLAIN), PLAIN, replace(CLUSTER, root="no/absolute/path"), CACHED)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(SHELL, input=text, text=True, capture_output=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 10, done.stderr


def test_a_root_whose_variable_is_not_set_there_is_said_and_nothing_is_made(tmp_path: Path) -> None:
    text = submission(run_of(PLAIN), PLAIN, CLUSTER, CACHED)
    done = subprocess.run(
        ["bash", "-s"],
        input=text,
        text=True,
        capture_output=True,
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode != 0
    assert "SCRATCH: is not set on this machine" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def login_node(tmp_path: Path) -> dict[str, str]:
    """Give the variables of a machine that has the scheduler's command; nothing is ever submitted by it."""
    program = tmp_path / "programs" / "sbatch"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{os.environ['PATH']}", "SCRATCH": str(tmp_path)}


def test_an_image_that_is_nowhere_is_said_before_anything_is_submitted(tmp_path: Path, login_node: dict[str, str]) -> None:
    text = submission(run_of(PLAIN), PLAIN, CLUSTER, CACHED)
    done = subprocess.run(["bash", "-s"], input=text, text=True, capture_output=True, env=login_node, check=False)
    assert done.returncode == 11
    assert "hpcdeploy push" in done.stderr
    assert not (tmp_path / "hpcdeploy" / "runs" / run_of(PLAIN).id / "submitting").exists()


@pytest.mark.parametrize(
    ("apptainer", "port", "why"),
    [
        ("no-such-apptainer", 443, "no-such-apptainer is not on this machine's PATH"),
        ("sh", 1, "this machine does not reach 127.0.0.1 port 1"),
    ],
)
def test_where_the_login_node_cannot_pull_the_image_is_asked_for(
    tmp_path: Path, login_node: dict[str, str], apptainer: str, port: int, why: str
) -> None:
    delivery = replace(AUTO, host="127.0.0.1", port=port)
    text = submission(run_of(PLAIN), PLAIN, replace(CLUSTER, apptainer=apptainer), delivery)
    done = subprocess.run(["bash", "-s"], input=text, text=True, capture_output=True, env=login_node, check=False)
    assert done.returncode == 14
    assert f"{why}" in done.stderr
    assert "so hpcdeploy must upload the image" in done.stderr
    answer = read_answer(done.stdout.encode())
    assert answer is not None
    place = f"{tmp_path}/hpcdeploy/images/{AUTO.sha256}.sif"
    assert answer["needs"] == [{"sha256": AUTO.sha256, "path": place, "have": 0}]
    assert not (tmp_path / "hpcdeploy" / "runs" / run_of(PLAIN).id / "submitting").exists()


@pytest.mark.parametrize("container", ["universe", "singularity-image"])
def test_apptainer_is_never_wrapped_in_apptainer_under_htcondor(container: HtcondorContainer) -> None:
    cluster = replace(CLUSTER, htcondor_container=container)
    text = submission(run_of(CONDOR_TRAIN, "htcondor"), CONDOR_TRAIN, cluster, CACHED)
    job = text[text.index("<<'HPCDEPLOY_END") :]
    assert "apptainer exec" not in job
    assert "apptainer run" not in job
    assert "--nv" not in job


FETCHED = Delivery(sha256="ab" * 32, reference=f"oras://ghcr.io/me/x@sha256:{'cd' * 32}", in_job=True)
BY_URL = Delivery(sha256="ab" * 32, place=f"osdf:///ospool/me/x-{'ab' * 32}.sif", in_job=True)
ON_CVMFS = Delivery(sha256="ab" * 32, place=f"/cvmfs/site/.images/ab/{'ab' * 32}", in_job=True)


@pytest.mark.parametrize(
    ("container", "delivery", "expected"),
    [
        ("universe", FETCHED, f"container_image         = {FETCHED.reference}"),
        ("universe", BY_URL, f"container_image         = {BY_URL.place}"),
        ("universe", ON_CVMFS, f"container_image         = {ON_CVMFS.place}\ntransfer_container      = false"),
        ("singularity-image", FETCHED, f'"{FETCHED.reference}"\nsandbox                 = $(run_folder)/program.sh\n'),
        (
            "singularity-image",
            BY_URL,
            f'"./x-{BY_URL.sha256}.sif"\nsandbox                 = $(run_folder)/program.sh, {BY_URL.place}\n',
        ),
        ("singularity-image", ON_CVMFS, f'+SingularityImage       = "{ON_CVMFS.place}"'),
        ("apptainer", FETCHED, f"image={FETCHED.reference}"),
        ("apptainer", ON_CVMFS, f"image={ON_CVMFS.place}"),
    ],
)
def test_an_image_that_the_worker_fetches_is_named_as_whoever_starts_the_container_wants_it(
    container: HtcondorContainer, delivery: Delivery, expected: str
) -> None:
    text = submission(run_of(PLAIN, "htcondor"), PLAIN, replace(CLUSTER, htcondor_container=container), delivery)
    assert expected in text
    assert "pull_image" not in text
    assert findings(text) == ""


@pytest.mark.parametrize("container", ["universe", "singularity-image", "apptainer"])
def test_no_variable_of_apptainers_stands_in_a_submit_description(container: HtcondorContainer) -> None:
    text = submission(run_of(PLAIN, "htcondor"), PLAIN, replace(CLUSTER, htcondor_container=container), CACHED)
    description = text[text.index("universe ") : text.index("\nqueue ")]
    assert "APPTAINER" not in description
    assert description.count("environment ") == 1


def test_an_attribute_is_quoted_and_a_command_is_not() -> None:
    universe = submission(run_of(PLAIN, "htcondor"), PLAIN, CLUSTER, CACHED)
    assert "\ncontainer_image         = $(image_file)\n" in universe
    image = submission(run_of(PLAIN, "htcondor"), PLAIN, replace(CLUSTER, htcondor_container="singularity-image"), CACHED)
    assert f'\n+SingularityImage       = "./{CACHED.sha256}.sif"\n' in image


@pytest.mark.parametrize("container", ["universe", "singularity-image", "apptainer"])
@pytest.mark.parametrize("delivery", [CACHED, FETCHED], ids=["transferred", "fetched"])
def test_what_a_submit_description_names_it_uses_since_condor_submit_asks_whether_the_rest_is_a_typo(
    container: HtcondorContainer, delivery: Delivery
) -> None:
    text = submission(run_of(PLAIN, "htcondor"), PLAIN, replace(CLUSTER, htcondor_container=container), delivery)
    always, image = re.findall(r"macros\+?=\((.*)\)", text)
    named = f"{always} {image}" if "sends_image=yes" in text else always
    description = text[text.index("\nuniverse ") : text.index("\nqueue ")]
    made = {*re.findall(r"(\w+) \"", named), *re.findall(r"(?m)^(\w+) += ", description)}
    used = set(re.findall(r"\$\((\w+)\)", description))
    assert used <= made | {"Process", "Cluster"}
    assert {name for name in made if name in {"run_folder", "work_folder", "image_file", "sandbox"}} <= used
