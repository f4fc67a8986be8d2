"""What a project's files would run is confirmed once, at the one place by which every verb reaches clusters."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpcdeploy.cli.main import app
from hpcdeploy.cli.trust import OPTION
from hpcdeploy.cli.verbs import VERBS
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows import trust
from hpcdeploy.flows.trust import Command, commands_of, is_remembered, remember
from hpcdeploy.store import Store, default_path
from tests.cli.test_asking_first import at_a_terminal
from tests.cli.test_templates import RUN, Project

ANOTHER = 12345
MARK = "setup = ['touch \"$HOME/ran\"']"
SETTINGS = f'[clusters.here]\nhost = "local"\nroot = "$HOME/root"\n{MARK}\n'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a project of another user, and a run of the user on a cluster of the same name."""
    project = Project(tmp_path)
    del project.environment["HPCDEPLOY_TRUST_PROJECT"]
    (project.path / "hpcdeploy.toml").write_text(SETTINGS)
    store = Store(default_path(project.environment))
    store.add(replace(RUN, project=str(tmp_path)), "")
    store.submitted(RUN)
    return project


def ran(project: Project) -> bool:
    return (Path(project.environment["HOME"]) / "ran").exists()


@pytest.mark.parametrize(
    "words",
    [("status",), ("wait",), ("watch",), ("logs",), ("results",), ("rerun",), ("fetch",), ("cancel", "--yes")],
    ids=lambda words: words[0],
)
def test_no_verb_reaches_a_cluster_of_the_projects_unasked(project: Project, words: tuple[str, ...]) -> None:
    done = project.run(*words)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: the project {project.path} runs commands to reach the cluster here")
    assert "setup: touch" in done.stderr
    assert "with --trust-project (HPCDEPLOY_TRUST_PROJECT=1 for scripts)" in done.stderr
    assert not ran(project)


@pytest.mark.parametrize("verb", ["submit", "build"])
def test_nor_do_those_that_send_something(project: Project, verb: str) -> None:
    (project.path / "one.def").write_text("Bootstrap: docker\nFrom: x.invalid/x\n")
    (project.path / "hpcdeploy.toml").write_text(
        f"[images.one]\ndefinition = 'one.def'\n[images.two]\ndefinition = 'one.def'\n{SETTINGS}"
        "[jobs.train]\nimage = 'one'\ncommand = ['true']\n"
    )
    several = ("build", "--all", "--on", "here")
    for words in [("submit",)] if verb == "submit" else [("build", "one", "--on", "here"), several]:
        done = project.run(*words)
        assert done.returncode == 2, done.stderr
        assert "runs commands to reach the cluster here" in done.stderr
    assert not ran(project)


def test_an_order_lets_it_run_for_this_command_alone(project: Project) -> None:
    assert project.run("logs", "--trust-project").returncode == 0
    assert project.run("logs").returncode == 2
    project.environment["HPCDEPLOY_TRUST_PROJECT"] = "1"
    assert project.run("logs").returncode == 0
    project.environment["HPCDEPLOY_TRUST_PROJECT"] = "0"
    assert project.run("logs").returncode == 2


def test_what_was_allowed_at_the_terminal_is_remembered_until_it_changes(project: Project) -> None:
    code, said = at_a_terminal(project, b"y\n", "logs")
    assert code == 0, said
    assert f"The project {project.path} runs commands to reach the cluster here, before you submit anything:" in said
    assert 'host = "local": its scripts run on this machine' in said
    assert "setup: touch" in said
    assert project.run("logs").returncode == 0
    (project.path / "hpcdeploy.toml").write_text(SETTINGS.replace("ran", "other"))
    assert project.run("logs").returncode == 2
    (project.path / "hpcdeploy.toml").write_text(SETTINGS)
    assert project.run("logs").returncode == 0


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"x\n"])
def test_a_no_is_no_and_is_asked_again_the_next_time(project: Project, answer: bytes) -> None:
    code, said = at_a_terminal(project, answer, "watch")
    assert code == 2
    assert said.count("[y/N]") == 1
    assert "but you did not allow it. To allow this, run" in said
    assert not ran(project)
    assert not (Path(project.environment["HOME"]) / ".local/state/hpcdeploy/trusted").exists()


def test_a_persons_own_cluster_needs_no_question(project: Project) -> None:
    own = Path(project.environment["HOME"]) / ".config/hpcdeploy/config.toml"
    own.parent.mkdir(parents=True)
    own.write_text(SETTINGS)
    (project.path / "hpcdeploy.toml").write_text("[clusters.here.defaults]\ncpus = 1\n")
    assert project.run("logs").returncode == 0


def test_the_projects_templates_are_asked_about_on_a_persons_own_cluster_too(project: Project) -> None:
    own = Path(project.environment["HOME"]) / ".config/hpcdeploy/config.toml"
    own.parent.mkdir(parents=True)
    own.write_text(SETTINGS)
    (project.path / "hpcdeploy.toml").unlink()
    project.write("slurm_templates/job.sh", "the job, which a person submits")
    assert project.run("logs", RUN.id).returncode == 0
    project.write("htcondor_templates/node.sh", "touch ~/ran\n")
    done = project.run("logs", RUN.id)
    assert done.returncode == 2
    assert "template: htcondor_templates/node.sh" in done.stderr


def test_one_cluster_that_is_not_allowed_holds_up_no_other(project: Project) -> None:
    own = Path(project.environment["HOME"]) / ".config/hpcdeploy/config.toml"
    own.parent.mkdir(parents=True)
    own.write_text('[clusters.mine]\nhost = "local"\nroot = "/nowhere"\n')
    store = Store(default_path(project.environment))
    other = replace(RUN, id="other-1", cluster="mine")
    store.add(other, "")
    store.submitted(other)
    done = project.run("status", "--all")
    assert done.returncode == 69
    assert "here: the project" in done.stderr
    assert "mine: the project" not in done.stderr
    assert not ran(project)


def test_the_option_is_that_of_the_verbs_that_reach_clusters() -> None:
    assert [name for name, verb in VERBS.items() if verb.reaches] == [
        *("build", "cache", "push", "submit", "rerun", "status", "wait", "watch", "logs", "results", "fetch", "cancel"),
        *("clean", "run", "shell"),
    ]


@pytest.mark.parametrize("verb", ["list", "prune", "verify"])
def test_the_verbs_of_a_group_have_the_option_too(verb: str) -> None:
    assert OPTION in CliRunner().invoke(app, ["cache", verb, "--help"]).stdout


HERE = Cluster(name="here", project="/p", of_project=True, host="local")
AFAR = replace(HERE, host="hpc.example.org")


@pytest.mark.parametrize(
    ("cluster", "texts"),
    [
        (AFAR, []),
        (replace(AFAR, root="/x", transport="openssh", mirrors=(("a", "b"),), image_cache="/y"), []),
        (HERE, ['host = "local": its scripts run on this machine']),
        (replace(HERE, of_project=False, setup=("a",), apptainer="b", ssh_config="/c"), []),
        (replace(AFAR, setup=("a", "b")), ['host = "hpc.example.org"', "setup: a", "setup: b"]),
        (replace(AFAR, apptainer="/x/a"), ['host = "hpc.example.org"', 'apptainer = "/x/a"']),
        (replace(AFAR, ssh_config="/none"), ['host = "hpc.example.org"', "ssh-config: /none"]),
    ],
)
def test_what_is_asked_about(cluster: Cluster, texts: list[str]) -> None:
    assert [command.text for command in commands_of(cluster, {})] == texts


def test_an_ssh_configuration_counts_with_what_it_includes(tmp_path: Path) -> None:
    (tmp_path / "ssh").write_text(f"Include {tmp_path}/more/*.conf {tmp_path}/ssh\nHost x\n  include={tmp_path}/deep\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/a.conf").write_text("Host a\n")
    cluster = replace(AFAR, ssh_config=str(tmp_path / "ssh"), project=str(tmp_path))
    before = commands_of(cluster, {})
    assert [(Path(one.text.removeprefix("ssh-config: ")).name, bool(one.sha256)) for one in before[1:]] == [
        *(("ssh", True), ("a.conf", True), ("deep", False)),
    ]
    (tmp_path / "more/a.conf").write_text("Host a\n  ProxyCommand other\n")
    (tmp_path / "deep").write_text("")
    after = commands_of(cluster, {})
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, True, False, False]
    os.chown(tmp_path / "more/a.conf", ANOTHER, ANOTHER)
    with pytest.raises(ConfigError, match=rf"a\.conf belongs to the user id {ANOTHER}"):
        commands_of(cluster, {})


def test_an_ssh_configuration_that_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "MOST_FILES", 5)
    monkeypatch.setattr(trust, "LARGEST", 1000)
    cluster = replace(AFAR, ssh_config=str(tmp_path / "ssh"), project=str(tmp_path))
    (tmp_path / "ssh").write_text(f"Include {tmp_path}/*\n")
    for number in range(6):
        (tmp_path / f"x{number}").write_text("")
    with pytest.raises(ConfigError, match="includes more than 5 files"):
        commands_of(cluster, {})
    (tmp_path / "ssh").write_text(f"Include {tmp_path}/*/x\n")
    with pytest.raises(ConfigError, match="in the last part of a path only"):
        commands_of(cluster, {})
    (tmp_path / "ssh").write_text("#" * 1001)
    with pytest.raises(ConfigError, match="has more than 1000 bytes"):
        commands_of(cluster, {})


def test_every_file_counts_that_a_template_of_login_nodes_may_include(tmp_path: Path) -> None:
    cluster = replace(AFAR, project=str(tmp_path), of_project=False)

    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    write("slurm_templates/job.sh", "a")
    write("defs/pixi.def", "a")
    write("lib/more.sh", "a")
    assert commands_of(cluster, {}) == ()
    write("htcondor_templates/node.sh", '[% include "slurm_templates/job.sh" %]')
    write("htcondor_templates/.node.sh.swp", "a")
    before = commands_of(cluster, {})
    assert [one.text for one in before] == [
        *("template: defs/pixi.def", "template: htcondor_templates/node.sh", "template: slurm_templates/job.sh"),
    ]
    write("slurm_templates/job.sh", "b")
    assert commands_of(cluster, {}) != before


def test_the_memory_is_private_and_believed_only_where_it_is(tmp_path: Path) -> None:
    environ: Mapping[str, str] = {"HOME": str(tmp_path)}
    commands = (Command("setup: x"),)
    assert not is_remembered(HERE, commands, environ)
    mask = os.umask(0)
    try:
        remember(HERE, commands, environ)
    finally:
        os.umask(mask)
    folder = tmp_path / ".local/state/hpcdeploy/trusted"
    [note] = folder.iterdir()
    assert [path.stat().st_mode & 0o777 for path in (folder.parent, folder, note)] == [0o700, 0o700, 0o600]
    assert is_remembered(HERE, commands, environ)
    for other, others in (
        (replace(HERE, name="other"), commands),
        (replace(HERE, project="/other"), commands),
        (HERE, (Command("setup: x", "ab"),)),
        (HERE, (*commands, Command("setup: y"))),
    ):
        assert not is_remembered(other, others, environ)
    for path in (note, folder, folder.parent):
        os.chown(path, ANOTHER, ANOTHER)
        with pytest.raises(ConfigError, match=f"{path} belongs to the user id {ANOTHER}"):
            is_remembered(HERE, commands, environ)
        os.chown(path, 0, 0)
        path.chmod(0o777)
        with pytest.raises(ConfigError, match=f"{path} may be written by everybody"):
            is_remembered(HERE, commands, environ)
        path.chmod(0o700)


def test_the_words_of_a_project_command_no_terminal(project: Project) -> None:
    (project.path / "hpcdeploy.toml").write_text('[clusters.here]\nsetup = ["echo \\u001b[2J"]\n')
    for said in (project.run("logs").stderr, at_a_terminal(project, b"n\n", "logs")[1]):
        assert "\x1b" not in said
        assert "\\x1b[2J" in said or "\\u001b[2J" in said
