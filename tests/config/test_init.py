"""The first settings file: valid whatever the folder holds, and never written over another."""

import re
import subprocess
from pathlib import Path

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from hpcdeploy.cli.generated_files import init as command
from hpcdeploy.config.files import load_project
from hpcdeploy.config.first_settings import Facts, first_settings, guess_repository
from hpcdeploy.config.reading import Report, parse_document, read
from hpcdeploy.config.resolution import choose_image
from hpcdeploy.config.schema import PROJECT_FILE
from hpcdeploy.environments.pixi import Environment, Feature, Workspace, read_manifest
from hpcdeploy.environments.pixi_platform import Platform
from hpcdeploy.environments.pixi_tasks import Task, tasks_of
from hpcdeploy.errors import ConfigError, EnvironmentFileError
from hpcdeploy.flows.init import init
from hpcdeploy.source import DefinitionSource, DockerfileSource, PixiSource, Source, SpackSource

PIXI = """
[workspace]
name = "train"
channels = ["conda-forge"]
platforms = ["linux-64", "osx-arm64"]

[feature.gpu.system-requirements]
cuda = "12.9"

[feature.mac]
platforms = ["osx-arm64"]

[environments]
gpu = ["gpu"]
mac = ["mac"]
"""

GOLDEN = """\
# Settings of hpcdeploy: the image, the clusters, the jobs. Every key: docs/configuration.md of hpcdeploy
# To let an editor with Taplo (Even Better TOML) complete keys, run: hpcdeploy schema > hpcdeploy.schema.json
# and put this line, without its first two characters, at the top of the file:
# #:schema ./hpcdeploy.schema.json
# Dockerfile was found too. To build an image from it: dockerfile = "Dockerfile"
# old.def was found too. To build an image from it: definition = "old.def"

[image]
repository = "ghcr.io/me/train"
pixi = { environment = "gpu" }
# The workspace requires CUDA 12.9. To override: pixi = { …, cuda = "…" }
# Other environments: default, mac. For several images: [images.NAME]
# files = { "app" = "/app" }           # copy from the project's folder into the image
# test = ["python --version"]          # commands to run after the build; if one fails, the build fails

# Describe a cluster here, or for all projects in ~/.config/hpcdeploy/config.toml.
# [clusters.hpc]
# host = "login.hpc.example.org"       # any Host of ~/.ssh/config, or "local" on the login node itself
# scheduler = "slurm"                  # or "htcondor"
# root = "$SCRATCH/hpcdeploy"          # variables are expanded on the cluster
# [clusters.hpc.defaults]
# account = "abc"
# partition = "gpu"

[jobs.hello]
command = ["nvidia-smi"]
gpus = 1
cpus = 1
memory = "2 GB"
time = "10 min"
"""


TASKS = """
[workspace]
name = "train"
channels = []
platforms = ["linux-64", "osx-arm64"]

[tasks]
prepare = "python prepare.py --out data"
train = { cmd = "python src/train.py --lr 0.1", depends-on = ["prepare"], env = { LR = "0.1", PATH-2 = "x" } }
both = "python prepare.py && python src/train.py"
here = { cmd = ["python", "train.py", "{{ lr }}"], cwd = "src", depends-on = [{ task = "train" }, "_hidden"] }
_hidden = "true"
all = [{ task = "train" }]
odd = { cmd = 3 }

[target.linux-64.tasks]
prepare = "python prepare.py --linux"

[target.osx-arm64.tasks]
train = "true"

[feature.gpu.tasks]
gpu-only = "nvidia-smi"

[environments]
gpu = ["gpu"]
"""

OFFERED = """
# Tasks of the Pixi workspace as jobs. Uncomment a job, and check its command and resources. A job starts in a
# working folder of its own, with the project in its read-only subfolder "code".
# [jobs.prepare]
# command = ["python", "code/prepare.py", "--linux"]
# code = { source = ".", destination = "code" }
# cpus = 1
# memory = "2 GB"
# time = "10 min"
# [jobs.train]
# command = ["python", "code/src/train.py", "--lr", "0.1"]
# code = { source = ".", destination = "code" }
# environment = { LR = "0.1" }
# after = ["prepare"]
# cpus = 1
# memory = "2 GB"
# time = "10 min"
# [jobs.both]
# command = ["sh", "-c", "cd \\"$HPCDEPLOY_CODE\\" && python prepare.py && python src/train.py"]
# code = { source = ".", destination = "code" }
# cpus = 1
# memory = "2 GB"
# time = "10 min"
# [jobs.here]
# # Replace each {{ ... }}, which is an argument of the task, by its value.
# command = ["python", "code/src/train.py", "{{ lr }}"]
# code = { source = ".", destination = "code" }
# after = ["train"]
# cpus = 1
# memory = "2 GB"
# time = "10 min"
"""


def uncommented(text: str) -> str:
    """Return the text of a first settings file with the offered jobs as jobs."""
    head, mark, offered = text.partition("# working folder of its own")
    return head + mark + re.sub(r"^# (?!Other)", "", offered, flags=re.MULTILINE)


def refused(folder: Path, *, force: bool = False) -> str:
    with pytest.raises(ConfigError) as error:
        init(folder, force=force)
    return str(error.value)


def is_valid(text: str) -> bool:
    report = Report(file="f")
    read(PROJECT_FILE, parse_document(text.encode(), "f"), report)
    report.raise_problems()
    return True


def test_a_folder_becomes_a_commented_file_that_loads(tmp_path: Path) -> None:
    (tmp_path / "pixi.toml").write_text(PIXI)
    (tmp_path / "Dockerfile").touch()
    (tmp_path / "old.def").touch()
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    remote = "https://me:token@github.com/Me/Train.git"
    subprocess.run(["git", "-C", str(tmp_path), "remote", "add", "origin", remote], check=True)
    assert init(tmp_path).read_text(encoding="utf-8") == GOLDEN
    project = load_project(tmp_path, {"HOME": str(tmp_path)})
    assert choose_image(project, None).source == PixiSource(environment="gpu")
    assert project.jobs["hello"].memory == 2048


def test_what_is_commented_out_is_valid_too() -> None:
    lines = GOLDEN.replace("# [clusters", "[clusters").splitlines()
    assert is_valid("\n".join(line.removeprefix("# ") if re.match(r"# [\w-]+ = ", line) else line for line in lines))


def test_tasks_of_the_workspace_are_offered_as_jobs(tmp_path: Path) -> None:
    (tmp_path / "pixi.toml").write_text(TASKS)
    (tmp_path / "src").mkdir()
    for name in ("prepare.py", "src/train.py"):
        (tmp_path / name).touch()
    text = init(tmp_path).read_text()
    assert text.endswith(OFFERED)
    assert list(load_project(tmp_path, {"HOME": str(tmp_path)}).jobs) == ["hello"]
    (tmp_path / "hpcdeploy.toml").write_text(uncommented(text))
    jobs = load_project(tmp_path, {"HOME": str(tmp_path)}).jobs
    assert list(jobs) == ["hello", "prepare", "train", "both", "here"]
    assert jobs["train"].environment == (("LR", "0.1"),)


def test_a_pyproject_offers_its_tasks_too_and_a_task_hello_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\n[tool.pixi.workspace]\nchannels = []\nplatforms = ["linux-64"]\n'
        '[tool.pixi.tasks]\nhello = "echo hello"\n'
    )
    text = init(tmp_path).read_text()
    assert '# [jobs.hello]\n# command = ["echo", "hello"]\n' in text
    (tmp_path / "hpcdeploy.toml").write_text(uncommented(text))
    assert list(load_project(tmp_path, {"HOME": str(tmp_path)}).jobs) == ["first", "hello"]


def test_of_many_tasks_some_are_offered_and_the_others_are_named() -> None:
    tasks = "".join(f't{number} = "true"\n' for number in range(30))
    workspace = read_manifest(f'[workspace]\nchannels = []\nplatforms = ["linux-64"]\n[tasks]\n{tasks}')
    text = first_settings(Facts(workspace=workspace))
    assert text.count("# [jobs.t") == 12
    assert text.endswith("# Other tasks: t12, t13, t14, t15, t16, t17, t18, t19, t20, t21, t22, t23, …\n")
    assert is_valid(uncommented(text))


COMMANDS = st.one_of(st.text(st.characters(codec="utf-8")), st.lists(st.text(st.characters(codec="utf-8"))))


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(["a.b", "hello", "..", "x" * 65]),
        COMMANDS
        | st.integers()
        | st.fixed_dictionaries(
            {},
            optional={
                "cmd": COMMANDS,
                "cwd": st.text(st.characters(codec="utf-8")) | st.integers(),
                "env": st.dictionaries(st.text(), st.text(st.characters(codec="utf-8"))) | st.integers(),
                "depends-on": st.text() | st.lists(st.text() | st.dictionaries(st.just("task"), st.text())) | st.integers(),
            },
        ),
    )
)
def test_whatever_the_tasks_are_the_offered_jobs_are_valid(table: dict[str, object]) -> None:
    workspace = Workspace(
        file="pixi.toml",
        name="x",
        platforms=(Platform(name="linux-64", subdir="linux-64"),),
        environments=(Environment(name="default", features=(Feature(name="f", tasks=tuple(tasks_of({"tasks": table}))),)),),
    )
    text = first_settings(Facts(workspace=workspace))
    assert is_valid(text)
    assert is_valid(uncommented(text))


def test_a_command_that_no_job_can_have_is_no_task() -> None:
    commands: list[object] = ["", "  ", "a\0b", [], [""], ["a", 1], "x" * 501, None, 3]
    assert list(tasks_of({"tasks": {f"t{number}": {"cmd": one} for number, one in enumerate(commands)}})) == []
    assert list(tasks_of({"tasks": {"t": " ls "}})) == [Task(name="t", command="ls")]


def test_a_pyproject_serves_as_manifest_only_with_pixi_in_it(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert "No pixi.toml, spack.yaml, Dockerfile or definition file was found here" in init(tmp_path).read_text()
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\n[tool.pixi.workspace]\nchannels = []\nplatforms = ["linux-64"]'
    )
    assert 'pixi = { environment = "default" }\n#' in init(tmp_path, force=True).read_text()


@pytest.mark.parametrize(
    ("files", "source"),
    [
        (["spack.yaml", "Dockerfile"], SpackSource()),
        (["Dockerfile", "x.def"], DockerfileSource()),
        (["Containerfile"], DockerfileSource(file="Containerfile")),
        (['a "b".def'], DefinitionSource(file='a "b".def')),
    ],
)
def test_without_pixi_the_image_is_made_from_what_is_there(tmp_path: Path, files: list[str], source: Source) -> None:
    for name in files:
        (tmp_path / name).touch()
    text = init(tmp_path).read_text()
    assert choose_image(load_project(tmp_path, {"HOME": str(tmp_path)}), None).source == source
    assert all(f"# {name} was found too" in text for name in files[1:])


def test_an_empty_folder_gets_a_file_that_loads(tmp_path: Path) -> None:
    init(tmp_path)
    project = load_project(tmp_path, {"HOME": str(tmp_path)})
    assert (project.images, list(project.jobs)) == ({}, ["hello"])


def test_a_broken_manifest_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "pixi.toml").write_text("[workspace")
    with pytest.raises(EnvironmentFileError):
        init(tmp_path)
    assert not (tmp_path / "hpcdeploy.toml").exists()


def test_settings_that_are_there_are_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "hpcdeploy.toml"
    file.write_text("# mine\n")
    assert refused(tmp_path) == f"{file} exists, and may have been edited; overwrite it with --force"
    assert file.read_text() == "# mine\n"
    init(tmp_path, force=True)
    assert "[jobs.hello]" in file.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hpcdeploy.toml"]


def test_settings_in_another_tools_file_are_not_doubled_even_by_force(tmp_path: Path) -> None:
    (tmp_path / "pixi.toml").write_text("[tool.hpcdeploy]\n")
    assert refused(tmp_path, force=True) == (
        f"{tmp_path}/pixi.toml already has settings in [tool.hpcdeploy]; edit them there"
    )


def test_the_command_says_what_it_wrote_and_refuses_a_second_time(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(command)
    first = CliRunner().invoke(app, [str(tmp_path)])
    assert (first.exit_code, first.output) == (
        0,
        f"wrote {tmp_path}/hpcdeploy.toml; next: check its settings, then run hpcdeploy generate\n",
    )
    assert isinstance(CliRunner().invoke(app, [str(tmp_path)]).exception, ConfigError)
    assert CliRunner().invoke(app, [str(tmp_path), "--force"]).exit_code == 0


@pytest.mark.parametrize(
    ("remote", "repository"),
    [
        ("git@github.com:Me/Train.git", "ghcr.io/me/train"),
        ("https://github.com/me/train", "ghcr.io/me/train"),
        ("https://x-access-token:s3cret@github.com/me/train.git/", "ghcr.io/me/train"),
        ("ssh://git@github.com:22/me/train.git", "ghcr.io/me/train"),
        ("https://gitlab.com/group/sub/train.git", "registry.gitlab.com/group/sub/train"),
        ("https://git.example.org/me/train.git", ""),
        ("/srv/git/train.git", ""),
        ("https://github.com/me/tr ain", ""),
        ("", ""),
    ],
)
def test_the_repository_is_guessed_where_the_host_has_a_registry(remote: str, repository: str) -> None:
    assert guess_repository(remote) == repository


@given(
    st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, unique=True),
    st.lists(st.text()),
    st.text(),
    st.sampled_from(["", "12", "1\n2"]),
)
def test_whatever_is_found_the_text_is_valid(names: list[str], others: list[str], remote: str, cuda: str) -> None:
    workspace = Workspace(
        file="pixi.toml",
        name="x",
        platforms=(Platform(name="linux-64", subdir="linux-64", cuda=cuda),),
        environments=tuple(Environment(name=name, features=(Feature(name="f"),)) for name in names),
    )
    try:
        assert is_valid(first_settings(Facts(workspace=workspace, others=others, remote=remote)))
    except ConfigError as error:
        # A name with a control character in it: TOML can say it, an image cannot have it.
        assert "image.pixi.environment" in str(error)  # noqa: PT017
