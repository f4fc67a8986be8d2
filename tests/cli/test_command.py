"""The command as a whole process: what it prints, how it exits, and that it never shows a traceback to a person."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.image import BuiltImage
from hpcdeploy.run import Run, RunStatus, State, TaskStatus
from hpcdeploy.store import Store, default_path

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
SETTINGS = """
[images.train]
[images.other]
[clusters.hpc]
host = "hpc.example.org"
schedulers = ["slurm", "htcondor"]
root = "/scratch/me"
[jobs.train]
image = "train"
command = ["python", "train.py"]
gpus = 1
"""


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "hpcdeploy.toml").write_text(SETTINGS)
        home = folder / "home"
        home.mkdir()
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
        image = BuiltImage(name="train", sha256="ab" * 32, size=1, inputs="", apptainer="", created="", built_on="hpc")
        Store(default_path(self.environment)).built(folder, image)

    def run(self, *words: str | bytes) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run([COMMAND, *words], cwd=self.folder, env=self.environment, capture_output=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
def test_render_and_dry_run_print_the_same_bytes_and_touch_nothing(project: Project, scheduler: str) -> None:
    words = ("train", "--scheduler", scheduler, "--run-id", "train-1")
    rendered = project.run("render", *words)
    dry = project.run("submit", *words, "--dry-run")
    assert rendered.returncode == dry.returncode == 0, rendered.stderr
    assert rendered.stdout == dry.stdout
    assert rendered.stdout.startswith(b"#!/bin/bash\n")
    assert project.run("runs", "--json").stdout == b"[]\n"


def test_words_after_two_dashes_are_the_programs_own(project: Project) -> None:
    done = project.run("render", "train", "--gpus", "2", "--", "sh", "-c", "echo --gpus 7", "--", b"caf\xe9")
    assert done.returncode == 0, done.stderr
    assert b"set -- sh -c 'echo --gpus 7' -- 'caf\xe9'\n" in done.stdout
    assert b"--gres=gpu:2" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run python train.py", "hpcdeploy run -- python train.py"),
        ("submit python train.py --epochs 5", "hpcdeploy submit -- python train.py --epochs 5"),
        ("submit -c hpc train python x.py", "hpcdeploy submit -c hpc train -- python x.py"),
        ("render train --epochs=5", "hpcdeploy render train -- --epochs=5"),
        ("run x.sif ls -l", "hpcdeploy run x.sif -- ls -l"),
        ("rerun train-1 python x.py", "hpcdeploy rerun train-1 -- python x.py"),
        ("instance start train name serve", "hpcdeploy instance start train name -- serve"),
        ("submit python", "no job has that name. Known: train; a program comes after --"),
        ("submit train train", None),
        ("submit --tiem 5", None),
        ("submit train -c", None),
    ],
)
def test_a_command_without_two_dashes_is_shown_with_them(project: Project, words: str, said: str | None) -> None:
    done = project.run(*words.split())
    assert done.returncode == 2
    shown = " ".join(done.stderr.decode().replace("│", "").split())
    assert said in shown if said else "come after --" not in shown, shown


def test_python_m_runs_the_command(project: Project) -> None:
    argv = [sys.executable, "-m", "hpcdeploy"]
    place = {"cwd": project.folder, "env": project.environment}
    done = subprocess.run([*argv, "runs", "--json"], capture_output=True, check=False, **place)  # type: ignore[call-overload]
    assert (done.returncode, done.stdout) == (0, b"[]\n")
    failed = subprocess.run([*argv, "logs", "x"], capture_output=True, check=False, **place)  # type: ignore[call-overload]
    assert (failed.returncode, failed.stderr.count(b"\n")) == (72, 1)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("render", "trian"), 2, "did you mean train"),
        (("render", "train", "--cluster", "hcp"), 2, "did you mean hpc"),
        (("render", "train", "--mem", "32"), 2, "memory"),
        (("render", "train", "--scheduler", "pbs"), 2, "slurm and htcondor"),
        (("render", "train", "--env", "NOVALUE"), 2, "NAME=VALUE"),
        (("render", "train", "--image", "other"), 2, "hpcdeploy build"),
        (("render", "train", "-s", "htcondor", "-p", "gpu"), 2, "HTCondor has no partitions"),
        (("status", "nothing"), 72, "no run 'nothing'"),
        (("wait",), 72, "hpcdeploy submit"),
        (("logs", "x"), 72, "no run"),
        (("push", "other"), 2, "no repository; set 'repository'"),
        (("push", "other", "--repository", "ghcr.io/x/y"), 2, "hpcdeploy build"),
        (("generate", "train"), 65, "pixi"),
        (("submit", "train"), 69, "hpc.example.org"),
    ],
)
def test_bad_input_gets_one_message_and_its_own_exit_code(
    project: Project, words: tuple[str, ...], code: int, said: str
) -> None:
    done = project.run(*words)
    text = done.stderr.decode()
    assert done.returncode == code, text
    assert said in text
    assert "Traceback" not in text
    assert done.stdout == b""


def test_a_run_id_is_a_name_and_used_once(project: Project) -> None:
    assert b"expected a name" in project.run("render", "train", "--run-id", "a'b").stderr
    run = Run(id="mine", job="j", cluster="hpc", scheduler="slurm", image="i", sha256="", tasks=1, command=(), submitted=0)
    Store(default_path(project.environment)).add(run, "")
    done = project.run("submit", "train", "--run-id", "mine")
    assert done.returncode == 2
    assert b"--resume mine" in done.stderr


def test_a_run_that_nobody_is_sure_of_is_not_waited_for(project: Project) -> None:
    run = Run(id="unsure", job="j", cluster="hpc", scheduler="slurm", image="i", sha256="", tasks=1, command=(), submitted=0)
    Store(default_path(project.environment)).add(replace(run, project=str(project.folder)), "")
    done = project.run("wait", "unsure")
    assert done.returncode == 71
    assert b"--resume unsure" in done.stderr
    assert b"or cancel the run" in done.stderr
    assert project.run("cancel", "unsure", "--yes").returncode == 69, "the cluster has to be asked"
    assert b"SUBMITTING" in project.run("runs").stdout


def test_a_run_that_was_cancelled_before_it_was_submitted_has_ended(project: Project) -> None:
    run = Run(id="never", job="j", cluster="hpc", scheduler="slurm", image="i", sha256="", tasks=1, command=(), submitted=0)
    store = Store(default_path(project.environment))
    store.add(replace(run, project=str(project.folder)), "")
    task = TaskStatus(task=0, state=State.CANCELLED, reason="before it was submitted")
    store.learned(RunStatus(run=run, tasks=(task,), asked=1))
    for verb in ("runs", "status", "wait"):
        done = project.run(verb, *(["never"] if verb != "runs" else []))
        assert done.returncode == (1 if verb == "wait" else 0)
        assert b"CANCELLED (before it was submitted)" in done.stdout
    watched = project.run("watch", "never")
    assert (watched.returncode, b"CANCELLED" in watched.stdout) == (0, True)
    assert b"nothing to cancel" in project.run("cancel", "never", "--yes").stderr
    resumed = project.run("submit", "--resume", "never")
    assert (resumed.returncode, resumed.stderr.count(b"\n")) == (2, 1)
    assert b"run never was cancelled before it was submitted" in resumed.stderr


@pytest.mark.parametrize(("size", "warned"), [(10_000_000_001, True), (10_000_000_000, False)])
def test_push_warns_of_an_image_too_large_for_its_registry_before_anything_is_sent(
    project: Project, size: int, warned: bool
) -> None:
    file = project.folder / "train.sif"
    file.write_bytes(b"no image, so that the push ends here")
    image = BuiltImage(name="train", sha256="ab" * 32, size=size, inputs="", apptainer="", created="", path=str(file))
    Store(default_path(project.environment)).built(project.folder, image)
    done = project.run("push", "train", "--repository", "ghcr.io/me/train", "--tag", "v1")
    told = done.stderr.decode().splitlines()
    assert done.returncode == 2, told
    assert ("ghcr.io accepts at most 10 GB per layer" in told[0]) is warned, told
    assert "is not an Apptainer image" in told[-1]
    assert done.stdout == b""


def test_debug_shows_the_traceback(project: Project) -> None:
    assert b"Traceback" in project.run("--debug", "render", "trian").stderr


def test_a_submission_that_never_reached_its_cluster_leaves_no_run(project: Project) -> None:
    project.run("submit", "train")
    assert json.loads(project.run("runs", "--json").stdout) == []


def test_help_imports_nothing_heavy() -> None:
    program = "import sys; import hpcdeploy.cli.main; print(sorted({m.split('.')[0] for m in sys.modules}))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not [
        name for name in ("paramiko", "oras", "requests", "spython", "jinja2", "yaml", "tomli") if f"'{name}'" in said
    ]


def test_a_broken_pipe_is_no_traceback(project: Project) -> None:
    piped = subprocess.run(
        ["bash", "-c", f"'{COMMAND}' render train | head -c 1; exit ${{PIPESTATUS[0]}}"],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in piped.stderr


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("generate > /dev/full", 1, "error: No space left on device; "),
        ("--version > /dev/full", 1, "error: No space left on device; "),
        ("generate -o hpcdeploy.toml/x.def", 1, "error: hpcdeploy.toml: File exists; "),
        ("generate -o /sys/x.def", 1, "error: /sys/x.def: "),
        ("generate -o x.def", 1, "error: x.def: File too large; "),
        ("runs", 2, "error: the record "),
    ],
)
def test_what_the_machine_refuses_is_one_message_and_leaves_nothing(
    project: Project, script: str, code: int, said: str
) -> None:
    (project.folder / "hpcdeploy.toml").write_text('[image]\ndefinition = "my.def"\n')
    (project.folder / "my.def").write_text("Bootstrap: docker\nFrom: debian\n%help\n" + "    help\n" * 500)
    before = sorted(project.folder.iterdir())
    # Python would write bytecode under the limit too, cut it off in the middle, and trip over it ever after.
    limited = {"XDG_STATE_HOME": str(project.folder / "my.def"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 1; '{COMMAND}' {script}"],
        cwd=project.folder,
        env={**project.environment, **limited},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr[: len(said)], done.stderr.count("\n")) == (code, said, 1), done.stderr
    assert sorted(project.folder.iterdir()) == before


@pytest.mark.parametrize("words", ["templates", "render trian", "run docker://debian --engine docker --dry-run"])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_closed_stream_changes_no_exit_code(project: Project, words: str, closed: str) -> None:
    usual = project.run(*words.split())
    done = subprocess.run(
        ["bash", "-c", f"'{COMMAND}' {words} {closed}"],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == usual.returncode
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("variables", [0, 3], ids=["at the end", "in the middle"])
def test_a_reader_who_has_read_enough_is_told_of_as_a_signal_would(project: Project, variables: int) -> None:
    many = [f"--env=TEXT{number}={'x' * 100_000}" for number in range(variables)]  # more than a pipe holds
    words = [COMMAND, "render", "train", *many]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=project.folder, env=project.environment, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert [line for line in process.stderr.read().splitlines() if not line.startswith(b"note: ")] == []
        assert process.wait() == 141


def a_run(run_id: str) -> Run:
    return Run(id=run_id, job="j", cluster="hpc", scheduler="slurm", image="i", sha256="", tasks=1, command=(), submitted=0)


def test_runs_shows_the_rest_where_one_row_is_damaged_and_says_which(project: Project) -> None:
    store = Store(default_path(project.environment))
    for name in ("train-1111111111", "train-2222222222"):
        store.add(replace(a_run(name), project=str(project.folder)), "")
    with closing(sqlite3.connect(default_path(project.environment))) as connection:
        connection.execute("UPDATE runs SET run = '{' WHERE id = 'train-2222222222'")
        connection.commit()
    done = project.run("runs")
    assert (done.returncode, b"train-1111111111" in done.stdout, b"train-2222222222" in done.stdout) == (0, True, False)
    line, note = done.stderr.decode().splitlines()
    assert note.startswith("note: a state with its age in [brackets]")
    assert line.startswith("warning: the record ")
    assert "is damaged: the entry of run 'train-2222222222' cannot be read" in line
    refused = project.run("logs")
    assert (refused.returncode, b"Traceback" in refused.stderr) == (2, False)


def test_a_record_of_a_newer_version_is_one_message(project: Project) -> None:
    with closing(sqlite3.connect(default_path(project.environment))) as connection:
        connection.execute("PRAGMA user_version = 99")
    done = project.run("runs")
    assert done.returncode == 2
    [line] = done.stderr.decode().splitlines()
    assert "was written by a newer hpcdeploy" in line
