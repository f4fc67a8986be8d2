"""The whole command on the lab's login node itself: installed there, typed by its user, the cluster's host ``"local"``."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import SchedulerName
from hpcdeploy.image import PublishedImage
from hpcdeploy_lab.base_image import reference
from hpcdeploy_lab.inside import inside, inside_argv
from hpcdeploy_lab.process import PATH
from hpcdeploy_lab.state import Lab
from tests.cluster.conftest import image_file
from tests.cluster.driving import PATIENCE
from tests.cluster.proxies import Counted, counted
from tests.conftest import PIP
from tests.once.asking import jobs_by_run
from tests.shared import OWN, SHARED, once

BOTH = pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])

CLUSTER = """\
[clusters.here]
host = "local"
schedulers = ["slurm", "htcondor"]
root = "$SCRATCH/{root}"
poll-interval = "1 s"
image-route = "{route}"
[jobs.report]
image = "{image}"
command = ["sh", "-c", "echo said; echo wrong >&2; env >env; exit 3"]
"""
PROGRAM = """\
import os, pathlib
pathlib.Path("made").mkdir()
pathlib.Path("made/result").write_text(pathlib.Path("data/input").read_text() * 2)
print(sorted(os.listdir("code")))
"""


@dataclass(frozen=True)
class Person:
    """The lab's user at the login node's shell: in ``folder`` of the lab, which is ``seen`` from this machine.

    What is installed lies in ``venv``; ``variables`` are what the shell has exported.
    """

    lab: Lab
    venv: str
    folder: str
    seen: Path
    variables: Mapping[str, str]

    @property
    def root(self) -> str:
        """The cluster's root, below ``$SCRATCH``."""
        return f"{OWN}/login/root"

    def write(self, name: str, text: str) -> None:
        script = 'mkdir -p "$(dirname "$1")" && cat >"$1"'
        done = inside(self.lab, ["sh", "-c", script, "sh", f"{self.folder}/{name}"], user=self.lab.user, stdin=text.encode())
        assert done.returncode == 0, done.stderr.decode()

    def types(self, *words: str, under: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
        """Run hpcdeploy, started by the words `under`."""
        typed = ["/usr/bin/env", "-C", self.folder, *under, f"{self.venv}/bin/hpcdeploy", *words]
        argv = inside_argv(self.lab, typed, user=self.lab.user, environment=self.variables)
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE)

    def gets(self, *words: str, under: tuple[str, ...] = ()) -> str:
        """Run hpcdeploy, which is to succeed, and give what it printed."""
        done = self.types(*words, under=under)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def submits(self, *words: str) -> str:
        return self.gets("submit", *words).strip()

    def states(self, *runs: str) -> list[str]:
        return [one["state"] for one in json.loads(self.gets("status", "--json", *runs))]

    def programs_but(self, *names: str) -> str:
        """Make a folder with all programs but these (patterns), and give its path."""
        script = "mkdir ../programs && cd ../programs && ln -s /usr/bin/* . && rm $1 && pwd"
        made = ["env", "-C", self.folder, "sh", "-c", script, "sh", " ".join(names)]
        done = inside(self.lab, made, user=self.lab.user)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def with_variables(self, **more: str) -> "Person":
        return replace(self, variables={**self.variables, **more})


@pytest.fixture(scope="session")
def venv(lab: Lab, wheel: Path) -> str:
    """Install the project's wheel, with what it needs, for the login node's own Python; once for all workers."""
    return once("venv-of-the-login-node", lambda: install(lab, wheel))


def install(lab: Lab, wheel: Path) -> str:
    home = f"{lab.scratch}/{SHARED}/login"
    wheels = lab.seen(f"{lab.scratch}/{SHARED}/login/wheels")
    wheels.mkdir(parents=True)
    shutil.copy(wheel, wheels)
    asked = inside(lab, ["python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
    fitting = ["--only-binary=:all:", "--python-version", asked.stdout.decode().strip()]
    subprocess.run([*PIP, "download", *fitting, "--dest", wheels, wheel], check=True)
    inside(lab, ["chown", "-R", lab.user, home])
    install = f"python3 -m venv {home}/venv && {home}/venv/bin/pip install --no-index --find-links {home}/wheels hpcdeploy"
    made = inside(lab, ["sh", "-c", install], user=lab.user)
    assert made.returncode == 0, made.stderr.decode()
    return f"{home}/venv"


@pytest.fixture
def person(lab: Lab, venv: str, published: PublishedImage, tmp_path: Path) -> Person:
    """Return a user with an active environment, a project of two lines, and a separate record of runs."""
    name = f"{OWN}/login/{tmp_path.name}"
    folder = f"{lab.scratch}/{name}"
    variables = {
        "PATH": f"{venv}/bin:{PATH}",
        "VIRTUAL_ENV": venv,
        "XDG_STATE_HOME": f"{folder}/state",
        "XDG_CACHE_HOME": f"{folder}/cache",
        "HPCDEPLOY_TRUST_PROJECT": "1",  # the project, which the person wrote, describes the cluster
    }
    seen = lab.seen(f"{folder}/project")
    made = Person(lab=lab, venv=venv, folder=f"{folder}/project", seen=seen, variables=variables)
    made.write("hpcdeploy.toml", CLUSTER.format(root=made.root, route="auto", image=image_file(lab)))
    return made


@BOTH
def test_one_run_from_its_submission_to_its_files(person: Person, scheduler: str, published: PublishedImage) -> None:
    active = person.with_variables(CONDA_PREFIX="/nowhere", PYTHONPATH="/nowhere")
    run = active.submits("--scheduler", scheduler)
    assert active.types("wait").returncode == 3
    assert json.loads(active.gets("status", "--json"))[0]["exit_code"] == 3
    told = active.types("logs")
    assert told.stdout == "said\n"
    assert "wrong\n" in told.stderr
    assert f"{run}/output/env\n" in active.gets("fetch")
    names = {line.partition("=")[0] for line in (person.seen / run / "output" / "env").read_text().splitlines()}
    assert "HPCDEPLOY_RUN" in names
    assert not names & {"VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH"}
    # The image lies in the cluster's folder of images now, and may be named there: it is not brought onto itself.
    cached = f"{person.lab.scratch}/{person.root}/images/{published.sha256}.sif"
    again = person.types("submit", "--scheduler", scheduler, "--image", cached, "--", "true")
    assert again.returncode == 0
    assert "bringing" not in again.stderr
    assert person.types("wait").returncode == 0


@pytest.mark.parametrize(("scheduler", "is_git"), [("slurm", True), ("htcondor", False)])
def test_code_and_data_go_and_come_though_the_clusters_root_lies_in_the_project(
    person: Person, scheduler: str, is_git: bool
) -> None:
    root = f"{person.folder.removeprefix(person.lab.scratch + '/')}/cluster"
    person.write(
        "hpcdeploy.toml",
        CLUSTER.format(root=root, route="auto", image=image_file(person.lab))
        + 'code = { source = ".", destination = "code" }\ninputs = ["../data:data"]\noutputs = ["made"]\n',
    )
    person.write("program.py", PROGRAM)
    person.write("../data/input", "brought ")
    if is_git:
        assert inside(person.lab, ["git", "init", "-q", person.folder], user=person.lab.user).returncode == 0
    runs = []
    for _ in range(2):
        runs.append(person.submits("-s", scheduler, "--", "python3", "code/program.py"))
        assert person.types("wait").returncode == 0, person.types("logs").stderr
        assert person.gets("logs") == "['hpcdeploy.toml', 'program.py']\n"
        assert person.gets("fetch").splitlines()[-1] == f"{runs[-1]}/output/made/result"
        assert (person.seen / runs[-1] / "output/made/result").read_text() == "brought brought "
    first, second = json.loads(person.gets("status", "--json", *runs))
    assert first["code_sha256"] == second["code_sha256"] != ""


@BOTH
def test_what_failed_of_a_sweep_runs_again(person: Person, scheduler: str) -> None:
    program = "[ {x} != 2 ] || exit 4; echo {x} $HPCDEPLOY_PARAM_x"
    person.submits("-s", scheduler, "--sweep", "x=1,2,3", "--", "sh", "-c", program)
    assert person.types("wait").returncode == 4
    found = json.loads(person.gets("results", "--json"))
    assert [(one["parameters"]["x"], one["state"], one["exit_code"]) for one in found] == [
        ("1", "COMPLETED", 0),
        ("2", "FAILED", 4),
        ("3", "COMPLETED", 0),
    ]
    person.gets("rerun", "--", "sh", "-c", "echo mended {x}")
    assert person.types("wait").returncode == 0
    assert person.gets("logs") == "mended 2\n"


@BOTH
@pytest.mark.parametrize("route", ["auto", "login", "stream"])
def test_an_image_of_a_registry_comes_once_by_each_route(
    person: Person, scheduler: str, route: str, published: PublishedImage
) -> None:
    with counted(person.lab.registry) as registry:
        image = f"oras://{registry.host}/tests/cluster@sha256:{published.manifest}"
        root = f"{person.root}-{route}-{scheduler}"
        person.write("hpcdeploy.toml", CLUSTER.format(root=root, route=route, image=image))
        for _ in range(2):
            person.submits("-s", scheduler, "--", "true")
            assert person.types("wait").returncode == 0
        downloads(registry, published, by_hpcdeploy=route == "stream")


def downloads(registry: Counted, published: PublishedImage, *, by_hpcdeploy: bool) -> None:
    header, download = registry.downloads(published.sha256)
    assert "hpcdeploy" in header.agent  # read for the image's architecture, before the first submission
    assert ("hpcdeploy" in download.agent) == by_hpcdeploy


def test_an_image_that_was_built_here_runs_without_being_pushed(person: Person) -> None:
    settings = CLUSTER.format(root=person.root, route="auto", image="small")
    person.write("hpcdeploy.toml", f'{settings}[images.small]\ndefinition = "small.def"\n')
    person.write("small.def", f"Bootstrap: docker\nFrom: {reference(person.lab)}\n\n%environment\n    export SMALL=built\n")
    person.with_variables(APPTAINER_NOHTTPS="1").gets("build")
    person.submits("--", "sh", "-c", "echo $SMALL")
    assert person.types("wait").returncode == 0
    assert person.gets("logs") == "built\n"


@BOTH
def test_a_run_waits_for_another_one(person: Person, scheduler: str) -> None:
    first = person.submits("-s", scheduler, "--", "sh", "-c", "sleep 3; date +%s%N")
    person.submits("-s", scheduler, "--after", first, "--", "date", "+%s%N")
    assert person.types("wait").returncode == 0
    assert person.states(first) == ["COMPLETED"]
    assert int(person.gets("logs", first)) < int(person.gets("logs"))


@BOTH
def test_a_cancelled_run_ends_whatever_the_shell_says_to_slurm(person: Person, scheduler: str) -> None:
    settings = {"SQUEUE_STATES": "COMPLETED", "SQUEUE_NAME": "other", "SCANCEL_INTERACTIVE": "1", "SBATCH_TEST_ONLY": "1"}
    person = person.with_variables(**settings)
    run = person.submits("-s", scheduler, "--", "sleep", "600")
    assert person.gets("cancel", "--yes").startswith(f"cancelled {run}")
    person.types("wait", "--timeout", "60")
    assert person.states(run) == ["CANCELLED"]


def test_several_runs_of_both_schedulers_are_watched_together(person: Person) -> None:
    runs = [person.submits("-s", name, "--", "sleep", "2") for name in ("slurm", "htcondor", "slurm", "htcondor")]
    told = person.gets("watch", *runs)
    assert all(run in told for run in runs)
    assert person.states(*runs) == ["COMPLETED"] * 4


@BOTH
def test_the_logs_of_all_tasks_are_followed(person: Person, scheduler: str) -> None:
    program = "for i in 1 2 3; do echo $HPCDEPLOY_TASK.$i; sleep 0.5; done"
    person.submits("-s", scheduler, "--array", "0-1", "--", "sh", "-c", program)
    told = person.gets("logs", "--follow")
    assert sorted(told.splitlines()) == [f"[{task}] {task}.{line}" for task in range(2) for line in range(1, 4)]


@pytest.mark.usefixtures("pmix")
def test_a_job_that_is_submitted_inside_another_one_is_its_own(person: Person) -> None:
    program = "echo $SLURM_JOB_ID $SLURM_JOB_NAME ${SLURM_STEP_ID-none} ${PMIX_RANK-none}"
    allocation = ("srun", "--quiet", "--mpi=pmix", "--ntasks=1")
    run = person.gets("submit", "--", "sh", "-c", program, under=allocation).strip()
    person.gets("wait", under=allocation)
    [status] = json.loads(person.gets("status", "--json", under=allocation))
    assert person.gets("logs", under=allocation) == f"{status['job_id']} {run} none none\n"


@BOTH
def test_a_submission_whose_client_is_killed_is_one_job_once_it_is_resumed(person: Person, scheduler: SchedulerName) -> None:
    runs, codes = [], []
    for number, patience in enumerate((0.1, 0.3, 0.45, 0.6, 0.8, 1.0, 1.4)):
        run = f"killed-{OWN}-{scheduler}-{number}"
        fresh = ("-s", scheduler, "--run-id", run, "--", "true")
        codes.append(person.types("submit", *fresh, under=("timeout", "--signal=KILL", str(patience))).returncode)
        known = run in person.gets("runs", "--last", "0", "--json")
        runs.append(person.submits(*(("--resume", run) if known else fresh)))
    assert any(codes)
    found = jobs_by_run(person.lab, scheduler)
    assert [len(found[run]) for run in runs] == [1] * len(runs), codes


@BOTH
def test_a_machine_without_the_scheduler_is_told_so_before_anything_is_brought(person: Person, scheduler: str) -> None:
    programs = person.programs_but("sbatch", "condor_submit")
    settings = CLUSTER.format(root=f"{person.root}-without-{scheduler}", route="auto", image=image_file(person.lab))
    person.write("hpcdeploy.toml", settings.replace("[jobs", f'setup = ["PATH={programs}"]\n[jobs'))
    done = person.types("submit", "-s", scheduler)
    assert done.returncode == 70
    assert "is not on the PATH of this machine" in done.stderr
    assert "bringing" not in done.stderr
    assert person.gets("runs", "--json") == "[]\n"


def test_no_ssh_is_needed_neither_the_program_nor_the_library(person: Person) -> None:
    person.write("without/paramiko.py", "raise ImportError('not installed')\n")
    bare = person.with_variables(PATH=person.programs_but("ssh*", "scp", "sftp"), PYTHONPATH=f"{person.folder}/without")
    bare.gets("submit", "--", "echo", "hello")
    bare.gets("wait")
    assert bare.gets("logs") == "hello\n"
    assert "/logs/0.out\n" in bare.gets("fetch")
