"""From settings and a folder to a definition with everything that a build needs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.errors import DefinitionError, EnvironmentFileError
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import FileCopy, ImageSettings, Step
from hpcdeploy.source import PixiSource

MANIFEST = """
[workspace]
name = "demo"
platforms = ["linux-64"]
[activation]
scripts = ["env/setup.sh"]
[feature.gpu.system-requirements]
cuda = "12.9"
[environments]
gpu = ["gpu"]
"""
LOCK = """version: 6
environments:
  default:
    channels: []
    packages:
      linux-64: []
  gpu:
    channels: []
    packages:
      linux-64: []
packages: []
"""
SETTINGS = ImageSettings(
    name="train", source=PixiSource(environment="gpu"), files=(FileCopy(source="app", destination="/app/src"),)
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "pixi.toml": MANIFEST,
        "pixi.lock": LOCK,
        "env/setup.sh": "export A=1\n",
        "app/main.py": "print(1)\n",
        "app/inner/run.sh": "#!/bin/sh\n",
        "app/.git/config": "",
        "app/__pycache__/main.pyc": "",
        "app/.pixi/envs/x": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "app/inner/run.sh").chmod(0o700)
    return tmp_path


def test_the_context_is_what_is_needed_and_nothing_else(project: Path) -> None:
    definition = generate(SETTINGS, project)
    assert {file.staged: oct(file.mode) for file in definition.files} == {
        "workspace/pixi.toml": "0o644",
        "workspace/pixi.lock": "0o644",
        "workspace/env/setup.sh": "0o644",
        "files/0/src/inner/run.sh": "0o755",
        "files/0/src/main.py": "0o644",
    }


def test_the_same_inputs_have_the_same_hash_wherever_they_lie(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    project.rename(elsewhere)
    one = generate(SETTINGS, elsewhere).inputs
    elsewhere.rename(project)
    (project / "unrelated.txt").write_text("x")
    assert generate(SETTINGS, project).inputs == one


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "app/main.py").write_text("print(2)\n"),
        lambda folder: (folder / "app/main.py").chmod(0o755),
        lambda folder: (folder / "app/more.py").write_text(""),
        lambda folder: (folder / "app/main.py").rename(folder / "app/other.py"),
        lambda folder: (folder / "pixi.lock").write_text(LOCK + "\n"),
        lambda folder: (folder / "env/setup.sh").write_text("export A=2\n"),
    ],
    ids=["content", "mode", "new file", "name", "lock", "activation script"],
)
def test_every_change_of_an_input_changes_the_hash(project: Path, change: Callable[[Path], object]) -> None:
    before = generate(SETTINGS, project).inputs
    change(project)
    assert generate(SETTINGS, project).inputs != before


def test_settings_and_build_arguments_change_the_hash(project: Path) -> None:
    hashes = {
        generate(SETTINGS, project).inputs,
        generate(replace(SETTINGS, command=("python",)), project).inputs,
        generate(SETTINGS, project, build_args=(("CUDA_VERSION", "12.8"),)).inputs,
        generate(SETTINGS, project, build_args=(("CUDA_VERSION", "12.9"),)).inputs,
    }
    assert len(hashes) == 4


def test_cuda_is_the_workspace_s_unless_settings_or_a_build_argument_say_otherwise(project: Path) -> None:
    def cuda(settings: ImageSettings, *given: tuple[str, str]) -> list[str]:
        text = generate(settings, project, build_args=given).text
        return [line.strip() for line in text.splitlines() if line.strip().startswith("CUDA_VERSION=")]

    assert cuda(SETTINGS) == ["CUDA_VERSION=12.9"] * 2
    assert cuda(replace(SETTINGS, source=PixiSource(environment="gpu", cuda="13.0"))) == ["CUDA_VERSION=13.0"] * 2
    assert cuda(replace(SETTINGS, source=PixiSource(environment="gpu", cuda=""))) == []
    assert cuda(SETTINGS, ("CUDA_VERSION", "12.8")) == ["CUDA_VERSION=12.8"] * 2
    assert cuda(SETTINGS, ("ENVIRONMENT", "default")) == []


def test_a_build_argument_that_nobody_knows_is_refused(project: Path) -> None:
    with pytest.raises(DefinitionError, match=r"'COLOR' is unknown .* CUDA_VERSION, ENVIRONMENT"):
        generate(SETTINGS, project, build_args=(("COLOR", "red"),))


def test_a_build_argument_that_no_line_uses_is_refused(project: Path) -> None:
    settings = replace(SETTINGS, build_args=(("COLOUR", "red"),))
    with pytest.raises(DefinitionError, match="'COLOUR' is not used"):
        generate(settings, project, build_args=(("COLOUR", "blue"),))
    used = replace(settings, setup=(Step(run="echo {{ COLOUR }}"),))
    assert generate(used, project, build_args=(("COLOUR", "blue"),)).build_args == (("COLOUR", "blue"),)


def test_a_missing_lock_file_says_how_to_make_one(project: Path) -> None:
    (project / "pixi.lock").unlink()
    with pytest.raises(EnvironmentFileError, match=r"pixi\.lock is missing.*run 'pixi lock'"):
        generate(SETTINGS, project)


def test_a_folder_without_a_workspace_says_so(project: Path) -> None:
    with pytest.raises(EnvironmentFileError, match="has no Pixi workspace"):
        generate(replace(SETTINGS, source=PixiSource(workspace="app")), project)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nothing", "is not in"),
        ("../", "outside the project"),
        ("links/out", "outside the project"),
        ("loop", "that contains it"),
    ],
)
def test_files_that_cannot_be_copied_are_refused(project: Path, source: str, words: str) -> None:
    for folder in ("links", "loop"):
        (project / folder).mkdir()
    (project / "links/out").symlink_to("/etc/hostname")
    (project / "loop/up").symlink_to(".")
    settings = replace(SETTINGS, files=(FileCopy(source=source, destination="/app/src"),))
    with pytest.raises(DefinitionError, match=words):
        generate(settings, project)


def test_a_link_inside_the_project_is_copied_as_what_it_leads_to(project: Path) -> None:
    (project / "app/link.py").symlink_to("main.py")
    files = {file.staged: file.sha256 for file in generate(SETTINGS, project).files}
    assert files["files/0/src/link.py"] == files["files/0/src/main.py"]
