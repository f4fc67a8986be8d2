"""``templates`` as a whole process, and the project's own templates through the commands that render them."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpcdeploy.image import BuiltImage
from hpcdeploy.run import Run
from hpcdeploy.store import Store, default_path

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
ROOT = Path(__file__).parent.parent.parent
SETTINGS = """
[images.train]
pixi = { environment = "gpu" }
repository = "ghcr.io/me/train"
setup = ["true"]
[clusters.here]
host = "local"
root = "/nowhere"
[clusters.hpc]
host = "hpc.example.org"
schedulers = ["slurm", "htcondor"]
root = "/scratch/me"
[jobs.train]
image = "train"
command = ["true"]
"""
RUN = Run(
    id="train-1",
    job="train",
    cluster="here",
    scheduler="slurm",
    image="train",
    sha256="ab" * 32,
    tasks=1,
    command=("true",),
    submitted=1,
    job_id="7",
)


class Project:
    def __init__(self, path: Path) -> None:
        self.path = path
        shutil.copy(ROOT / "examples/pixi-gpu/pixi.toml", path)
        shutil.copy(ROOT / "examples/pixi-gpu/pixi.lock", path)
        (path / "hpcdeploy.toml").write_text(SETTINGS)
        home = path / "home"
        home.mkdir()
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(home), "HPCDEPLOY_TRUST_PROJECT": "1"}
        image = BuiltImage(name="train", sha256="ab" * 32, size=1, inputs="", apptainer="", created="", built_on="hpc")
        Store(default_path(self.environment)).built(path, image)

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [COMMAND, *words], cwd=self.path, env=self.environment, capture_output=True, text=True, check=False
        )

    def write(self, name: str, text: str) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_every_template_is_listed_with_the_file_that_is_in_force(project: Project) -> None:
    project.write("slurm_templates/job.sh", "mine")
    lines = project.run("templates").stdout.splitlines()
    assert lines[0].split() == ["TEMPLATE", "IN", "FORCE", "FILE"]
    assert [line.split()[-1] for line in lines if line.startswith("slurm_templates/job.sh ")] == [
        str(project.path / "slurm_templates/job.sh")
    ]
    found = {one["name"]: one for one in json.loads(project.run("templates", "--json").stdout)}
    assert {
        "defs/pixi.def",
        "defs/parts/run.def",
        "slurm_templates/program.sh",
        "page_templates/inspect.html",
    } <= found.keys()
    assert found["defs/pixi.def"] == {
        "name": "defs/pixi.def",
        "shipped": str(ROOT / "defs/pixi.def"),
        "own": None,
        "in_force": str(ROOT / "defs/pixi.def"),
        "meant": "",
    }
    assert found["slurm_templates/job.sh"]["in_force"] == str(project.path / "slurm_templates/job.sh")


def test_a_name_that_replaces_nothing_is_pointed_out_with_the_one_that_was_meant(project: Project) -> None:
    project.write("defs/pixy.def", "")
    project.write("htcondor_templates/zzzzzzzzzzzz.txt", "")
    project.write("defs/.pixi.def.swp", "")
    done = project.run("templates")
    assert done.returncode == 0
    assert (
        f"{project.path}/defs/pixy.def does not match any template, so it has no effect; did you mean defs/pixi.def?"
        in done.stderr
    )
    assert f"{project.path}/htcondor_templates/zzzzzzzzzzzz.txt overrides no template" in done.stderr
    assert ".swp" not in done.stdout + done.stderr
    assert "pixy" not in done.stdout


def test_show_prints_the_one_in_force(project: Project) -> None:
    assert project.run("templates", "show", "defs/pixi.def").stdout == (ROOT / "defs/pixi.def").read_text()
    project.write("defs/pixi.def", "mine [= name =]\n")
    assert project.run("templates", "show", "pixi.def").stdout == "mine [= name =]\n"


def test_copy_brings_the_shipped_one_and_never_overwrites_unasked(project: Project) -> None:
    own = project.path / "slurm_templates" / "rank.sh"
    done = project.run("templates", "copy", "rank.sh")
    assert (done.returncode, own.read_text()) == (0, (ROOT / "slurm_templates/rank.sh").read_text()), done.stderr
    own.write_text("edited")
    done = project.run("templates", "copy", "rank.sh")
    assert (done.returncode, own.read_text()) == (2, "edited")
    assert "--force" in done.stderr
    assert project.run("templates", "copy", "rank.sh", "--force").returncode == 0
    assert own.read_text() == (ROOT / "slurm_templates/rank.sh").read_text()
    assert list(own.parent.glob(".*")) == []


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("folder", ["../outside", ".git"])
def test_copy_writes_into_the_project_only(project: Project, folder: str, there: bool, force: tuple[str, ...]) -> None:
    inner = project.path / "inner"
    target = inner / folder
    inner.mkdir()
    if there:
        target.mkdir()
    shutil.copy(project.path / "pixi.toml", inner)
    (inner / "hpcdeploy.toml").write_text(SETTINGS)
    (inner / "slurm_templates").symlink_to(folder)
    done = subprocess.run(
        [COMMAND, "templates", "copy", "rank.sh", *force],
        cwd=inner,
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert f"{inner}/slurm_templates/rank.sh would be written to {inner}/slurm_templates, which is" in done.stderr
    assert done.stderr.count("\n") == 1
    assert target.exists() == there
    assert not there or list(target.iterdir()) == []


def test_copy_replaces_a_link_and_not_what_it_leads_to(project: Project, tmp_path: Path) -> None:
    inner = project.path / "inner"
    (inner / "slurm_templates").mkdir(parents=True)
    (inner / "hpcdeploy.toml").write_text("")
    (tmp_path / "other").write_text("kept")
    own = inner / "slurm_templates/rank.sh"
    own.symlink_to(tmp_path / "other")
    argv = [COMMAND, "templates", "copy", "rank.sh", "--force"]
    done = subprocess.run(argv, cwd=inner, env=project.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "other").read_text() == "kept"
    assert own.read_text() == (ROOT / "slurm_templates/rank.sh").read_text()
    assert not own.is_symlink()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "defs/pixy.def"), "did you mean 'defs/pixi.def'?"),
        (("show", "program.sh"), "use the full name"),
        (("copy", "../../etc/passwd"), "there is no template"),
    ],
)
def test_a_name_that_is_none_or_several_is_refused(project: Project, words: tuple[str, ...], said: str) -> None:
    done = project.run("templates", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


RENDER = {
    "defs": ("generate",),
    "slurm_templates": ("render", "train", "--cluster", "hpc", "--scheduler", "slurm", "--run-id", "train-1"),
    "htcondor_templates": ("render", "train", "--cluster", "hpc", "--scheduler", "htcondor", "--run-id", "train-1"),
    "page_templates": ("inspect", ".", "--environment", "gpu", "--picture", "out.html"),
    "workflow_templates": ("workflow", "--install", "hpcdeploy==1.0"),
}
USED = (
    "defs/pixi.def",
    "defs/parts/arguments.def",
    "defs/parts/run.def",
    "defs/parts/steps.def",
    "slurm_templates/job.sh",
    "slurm_templates/container.sh",
    "slurm_templates/program.sh",
    "htcondor_templates/job.sub",
    "htcondor_templates/program.sh",
    "page_templates/inspect.html",
    "page_templates/treemap.svg",
    "workflow_templates/images.yaml",
)


WRONG = (
    "defs/pixi.def",
    "defs/parts/run.def",
    "defs/parts/steps.def",
    "slurm_templates/job.sh",
    "htcondor_templates/job.sub",
    "slurm_templates/program.sh",
    "page_templates/treemap.svg",
    "workflow_templates/images.yaml",
)
"""Of each folder a whole template; and one that is included, one that is a macro, one that escapes its values."""


def with_sizes(project: Project) -> None:
    lock = project.path / "pixi.lock"
    lines = lock.read_text().splitlines(keepends=True)
    lock.write_text(
        "".join(line + ("  size: 1000\n" if line.startswith("- conda:") else "") for line in lines if "  size:" not in line)
    )


@pytest.mark.parametrize("name", USED)
def test_the_projects_own_template_counts_in_the_real_command(project: Project, name: str) -> None:
    with_sizes(project)
    words = RENDER[name.partition("/")[0]]
    before = project.run(*words)
    assert before.returncode == 0, before.stderr
    text = (ROOT / name).read_text()
    project.write(
        name,
        text + "\n[= 'marked' ~ 'here' =]\n"
        if "caller()" not in text
        else text.replace("[= caller() =]", "[= caller() =]\n    : markedhere"),
    )
    after = project.run(*words)
    shown = (project.path / "out.html").read_text() if words[0] == "inspect" else after.stdout
    assert after.returncode == 0, after.stderr
    assert "markedhere" in shown


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[= nobody_knows =]", "'nobody_knows' is undefined"),
        ("[= nobody_knows | join(' ') =]", "'nobody_knows' is undefined"),
        ("[= 1 + 'a' =]", "unsupported operand"),
        ("[% if %]", "Expected an expression"),
        ("[= 1 | nofilter =]", "nofilter"),
        ("[% include 'defs/none.def' %]", "'defs/none.def'"),
    ],
)
def test_what_is_wrong_in_a_template_is_told_with_file_and_line(project: Project, name: str, line: str, said: str) -> None:
    with_sizes(project)
    text = (ROOT / name).read_text().splitlines()
    called = [number for number, each in enumerate(text) if "caller()" in each]  # outside of the macro nothing is run
    place = called[-1] if called else len(text)
    project.write(name, "\n".join([*text[:place], line, *text[place:]]) + "\n")
    done = project.run(*RENDER[name.partition("/")[0]])
    assert (done.returncode, done.stdout) == (74, ""), done.stderr
    assert said in done.stderr
    if "include" not in line:
        [error] = [each for each in done.stderr.splitlines() if each.startswith("error: ")]
        assert error.startswith(f"error: {project.path / name}, line {place + 1}: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("status",), "login_templates/follow.sh"),
        (("status",), "slurm_templates/follow.sh"),
        (("status",), "htcondor_templates/follow.sh"),
        (("wait",), "login_templates/follow.sh"),
        (("logs",), "login_templates/logs.sh"),
        (("logs", "--follow"), "login_templates/logs.sh"),
        (("fetch",), "login_templates/list.sh"),
        (("cancel", "--yes"), "login_templates/cancel.sh"),
        (("cancel", "--yes"), "login_templates/revoke.sh"),
        (("cancel", "--yes"), "htcondor_templates/asking.sh"),
    ],
)
def test_a_template_that_is_none_any_more_is_refused_where_it_counted(
    project: Project, words: tuple[str, ...], name: str
) -> None:
    store = Store(default_path(project.environment))
    run = replace(RUN, scheduler="htcondor" if name.startswith("htcondor") else "slurm", project=str(project.path))
    if name.endswith(("revoke.sh", "asking.sh")):
        run = replace(run, job_id="")  # its submission is uncertain
    store.add(run, "")
    store.submitted(run)
    project.write(name, "[# mine #]\n")
    done = project.run(*words)
    assert done.stderr.startswith(
        f"error: {project.path / name} overrides a template that no longer exists: scripts for login"
    )
    assert "and remove the file" in done.stderr
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (74, "", 1)


def test_templates_that_are_none_any_more_are_listed_with_what_to_do(project: Project) -> None:
    project.write("slurm_templates/submit.sh", "")
    project.write("login_templates/program.sh", "")
    done = project.run("templates")
    assert done.returncode == 0
    assert "submit.sh" not in done.stdout
    assert done.stderr.count("overrides a template") == 2
    assert f"note: {project.path}/slurm_templates/submit.sh overrides a template that no longer exists" in done.stderr
    now = "is now slurm_templates/program.sh and htcondor_templates/program.sh: copy your changes there"
    assert f"note: {project.path}/login_templates/program.sh overrides a template that {now}" in done.stderr
    done = project.run(*RENDER["slurm_templates"])
    assert (done.returncode, done.stdout) == (74, "")
    assert "(and 1 more: slurm_templates/submit.sh)" in done.stderr


ESCAPE = "[= cycler.__init__.__globals__.os.mkdir('escaped') =]\n"


@pytest.mark.parametrize("name", WRONG)
def test_a_template_of_the_project_runs_nothing_on_this_machine(project: Project, name: str) -> None:
    mark = " %]\n" if name == "defs/parts/steps.def" else "\n"  # in that one's macro; else behind the comment at the top
    project.write(name, (ROOT / name).read_text().replace(mark, f"{mark}{ESCAPE}", 1))
    done = project.run(*RENDER[name.partition("/")[0]])
    assert done.returncode == 74, done.stderr
    assert re.search(rf"error: {project.path}/{name}, line \d+: access to attribute '__init__' .* is unsafe", done.stderr)
    assert "Traceback" not in done.stderr
    assert not (project.path / "escaped").exists()


def test_a_template_that_leads_out_of_the_project_is_neither_shown_nor_quoted(project: Project, tmp_path: Path) -> None:
    inner = project.path / "inner"
    (inner / "defs").mkdir(parents=True)
    for name in ("hpcdeploy.toml", "pixi.toml", "pixi.lock"):
        shutil.copy(project.path / name, inner)
    (tmp_path / "key").write_text("PRIVATE KEY [= nobody_knows =]")
    (inner / "defs/pixi.def").symlink_to(tmp_path / "key")
    for words in (("templates", "show", "pixi.def"), ("generate",), ("inspect",)):
        done = subprocess.run(
            [COMMAND, *words], cwd=inner, env=project.environment, capture_output=True, text=True, check=False
        )
        if words != ("inspect",):  # which renders no definition of an image that was not built
            assert (done.returncode, done.stdout) == (74, ""), done.stderr
            assert f"which is {tmp_path}/key, outside of the project {inner}" in done.stderr
        assert "PRIVATE" not in done.stdout + done.stderr


@pytest.fixture
def shared() -> Iterator[Path]:
    """Make a folder that every user of this machine may write to, as ``/tmp`` is."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # a test's own folder is closed to others
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


def test_compiled_templates_that_another_user_put_into_a_shared_folder_are_not_loaded(
    project: Project, shared: Path
) -> None:
    words = RENDER["slurm_templates"]
    honest = project.run(*words)
    kept = project.path / "home/.cache/hpcdeploy/templates"
    planted = {file.name: file.read_bytes().replace(b"SLURM_JOB_ID", b"PLANT_JOB_ID") for file in kept.iterdir()}
    assert any(b"PLANT_JOB_ID" in content for content in planted.values())
    if os.geteuid() == 0:
        other: dict[str, Any] = {"user": 12345, "group": 12345, "extra_groups": []}
    else:  # only root can be another user: then it is a folder of one's own that others may write to
        other = {}
    for name, content in planted.items():
        script = 'umask 0 && mkdir -p "$1" && cat >"$1/$2"'
        argv = ["sh", "-c", script, "sh", str(shared / "hpcdeploy/templates"), name]
        subprocess.run(argv, input=content, check=True, **other)
    project.environment["XDG_CACHE_HOME"] = str(shared)
    for _ in range(2):
        done = project.run(*words)
        assert (done.returncode, done.stdout) == (0, honest.stdout), done.stderr
