"""Files outside of a project that its settings name are sent, or shown to a container, only if the person allows it."""

import hashlib
from pathlib import Path

import pytest

from tests.apptainer.sifs import partition, sif, squashfs
from tests.cli.test_asking_first import at_a_terminal
from tests.cli.test_templates import Project

HERE = '[clusters.mine]\nhost = "local"\nroot = "$HOME/root"\n'
OTHERS = '[clusters.theirs]\nhost = "theirs.invalid"\n'
JOB = "[jobs.train]\ncommand = ['true']\n"
IMAGE = "[images.one]\ndefinition = 'one.def'\nsecrets = { KEY = { file = '~/.ssh/key' } }\n"
REFUSED_THERE = 70
"""The exit code of a submission that came to the cluster, which has no scheduler."""
DEFINITION = "Bootstrap: docker\nFrom: x.invalid/x\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a project of another user, a cluster of the user, and the user's files outside of it."""
    (tmp_path / "project").mkdir()
    project = Project(tmp_path / "project")
    (project.path / "x.sif").write_bytes(sif(partition(squashfs())))
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/key").write_text("PRIVATE")
    (home / "p.csv").write_text("x\n1\n")
    (home / ".config/hpcdeploy").mkdir(parents=True)
    (home / ".config/hpcdeploy/config.toml").write_text(HERE)
    project.environment["HOME"] = str(home)
    del project.environment["HPCDEPLOY_TRUST_PROJECT"]
    return project


def says(project: Project, job: str, more: str = "") -> None:
    image = "" if "image =" in job else "image = 'x.sif'\n"
    (project.path / "hpcdeploy.toml").write_text(f"{JOB}{image}{job}\n{more}")


NAMED = [
    ("inputs: ~/.ssh/key", "inputs = ['~/.ssh/key:k']"),
    ("inputs: ../home/.ssh/key", "inputs = ['../home/.ssh/key:k']"),
    ("inputs: link", "inputs = ['link']"),
    ("code: ~/.ssh", "code = '~/.ssh'"),
    ("sweep.file: ~/p.csv", "sweep = { file = '~/p.csv' }"),
    ("image: ../x.sif", "image = '../x.sif'"),
]


@pytest.mark.parametrize(("shown", "said"), NAMED)
def test_nothing_outside_is_sent_unasked(project: Project, shown: str, said: str) -> None:
    (project.path / "link").symlink_to(project.path.parent / "home/.ssh/key")
    (project.path.parent / "x.sif").write_bytes((project.path / "x.sif").read_bytes())
    says(project, said)
    done = project.run("submit", "--cluster", "mine")
    assert done.returncode == 2, done.stderr
    assert f"the project {project.path} sends to the cluster mine files outside of its folder ({shown} (" in done.stderr
    assert "but there is no terminal. To allow this, run" in done.stderr
    assert "with --trust-project (HPCDEPLOY_TRUST_PROJECT=1 for scripts); or name them in the command" in done.stderr
    trusted = project.run("submit", "--cluster", "mine", "--trust-project")
    assert trusted.returncode == REFUSED_THERE, trusted.stderr


def test_render_which_sends_nothing_needs_no_answer(project: Project) -> None:
    says(project, "inputs = ['~/.ssh/key:k']\ncode = '~/.ssh'\nsweep = { file = '~/p.csv' }")
    for words in (("render",), ("submit", "--dry-run")):
        done = project.run(*words, "--cluster", "mine")
        assert done.returncode == 0, done.stderr
        assert hashlib.sha256(b"PRIVATE").hexdigest() in done.stdout


@pytest.mark.parametrize(
    "words",
    [("--input", "~/.ssh/key:k"), ("--code", "~/.ssh"), ("--sweep-file", "../home/p.csv"), ("--input", "../home/p.csv")],
)
def test_what_the_person_names_is_free(project: Project, words: tuple[str, ...]) -> None:
    says(project, "")
    done = project.run("submit", "--cluster", "mine", *words)
    assert done.returncode == REFUSED_THERE, done.stderr


def test_the_answer_holds_for_a_cluster_and_a_file_whatever_it_holds(project: Project) -> None:
    says(project, "inputs = ['~/.ssh/key:k']", OTHERS)
    code, said = at_a_terminal(project, b"y\n", "submit", "--cluster", "mine")
    assert f"The project {project.path} sends to the cluster mine files outside of its folder:" in said
    assert f"inputs: ~/.ssh/key ({project.environment['HOME']}/.ssh/key)" in said
    assert code == REFUSED_THERE, said
    (Path(project.environment["HOME"]) / ".ssh/key").write_text("NEW")
    assert project.run("submit", "--cluster", "mine").returncode == REFUSED_THERE
    assert "to the cluster theirs files outside of its folder" in project.run("submit", "--cluster", "theirs").stderr
    says(project, "inputs = ['~/.ssh/key:k', '~/p.csv']", OTHERS)
    done = project.run("submit", "--cluster", "mine")
    assert "outside of its folder (inputs: ~/p.csv (" in done.stderr


def test_the_host_of_a_projects_cluster_is_part_of_the_answer(project: Project) -> None:
    says(project, "inputs = ['~/.ssh/key:k']", OTHERS)
    at_a_terminal(project, b"y\n", "submit", "--cluster", "theirs")
    assert "outside of its folder" not in project.run("submit", "--cluster", "theirs").stderr
    says(project, "inputs = ['~/.ssh/key:k']", OTHERS.replace("theirs.invalid", "other.invalid"))
    assert "outside of its folder" in project.run("submit", "--cluster", "theirs").stderr


def test_a_no_sends_nothing_and_is_not_remembered(project: Project) -> None:
    says(project, "inputs = ['~/.ssh/key:k']")
    code, said = at_a_terminal(project, b"n\n", "submit", "--cluster", "mine")
    assert code == 2
    assert said.count("[y/N]") == 1
    assert "but you did not allow it" in said
    state = Path(project.environment["HOME"]) / ".local/state/hpcdeploy"
    assert not (state / "trusted").exists()
    assert not (Path(project.environment["HOME"]) / "root").exists()


@pytest.mark.parametrize("words", [("run",), ("shell",), ("instance", "start")], ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ("inputs: ~/.ssh/key", "inputs = ['~/.ssh/key:/k']"),
        ("code: ~/.ssh", "code = '~/.ssh'"),
        ("binds: $HOME/.ssh", "binds = ['$HOME/.ssh:/k']"),
    ],
)
def test_a_container_here_sees_nothing_outside_unasked(
    project: Project, words: tuple[str, ...], shown: str, said: str
) -> None:
    says(project, said)
    done = project.run(*words, "train")
    assert done.returncode == 2
    assert f"shows to its container on this machine files outside of its folder ({shown} (" in done.stderr
    for trusting in ("--trust-project", "--dry-run"):
        assert "outside of its folder" not in project.run(*words, trusting, "train").stderr


def test_a_build_reads_no_file_outside_as_a_secret_unasked(project: Project) -> None:
    (project.path / "one.def").write_text(DEFINITION)
    (project.path / "hpcdeploy.toml").write_text(f"{IMAGE}{IMAGE.replace('images.one', 'images.two')}")
    for words in (("build", "one"), ("build", "one", "--on", "mine"), ("build", "--all")):
        done = project.run(*words)
        assert done.returncode == 2, done.stderr
        assert "as secrets of a build on " in done.stderr
        assert "files outside of its folder (secrets.KEY: ~/.ssh/key (" in done.stderr
    for given in (("--secret", "id=KEY,src=../home/.ssh/key"), ("--secret", "id=KEY,env=PATH"), ("--trust-project",)):
        assert "outside of its folder" not in project.run("build", "one", *given).stderr
    assert project.run("build", "one", "--dry-run").returncode == 0
    (project.path / "hpcdeploy.toml").write_text(IMAGE.replace("~/.ssh/key", "key"))
    (project.path / "key").write_text("x")
    assert "outside of its folder" not in project.run("build", "one").stderr


def test_the_answers_of_many_builds_are_asked_for_ahead(project: Project) -> None:
    (project.path / "one.def").write_text(DEFINITION)
    (project.path / "hpcdeploy.toml").write_text(f"{IMAGE}{IMAGE.replace('images.one', 'images.two')}")
    _, said = at_a_terminal(project, b"y\n", "build", "--all")
    assert said.count("[y/N]") == 1
    assert "as secrets of a build on this machine, but" not in said


def test_the_words_of_a_project_command_no_terminal(project: Project) -> None:
    says(project, 'inputs = [{ source = "~/\\u009b2J", destination = "k" }]')
    for said in (
        project.run("submit", "--cluster", "mine").stderr,
        at_a_terminal(project, b"n\n", "submit", "--cluster", "mine")[1],
    ):
        assert "\x9b" not in said
        assert "outside of its folder" in said
