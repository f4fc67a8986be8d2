"""``generate --format dockerfile``, and an image from a Dockerfile, as whole processes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
EXAMPLE = Path(__file__).parent.parent.parent / "examples/pixi-gpu"


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    return subprocess.run([COMMAND, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "project"))


def test_a_dockerfile_is_printed_with_what_to_know_on_the_side(project: Path) -> None:
    done = run(project, "generate", "--format", "dockerfile", "--build-arg", "CUDA_VERSION=12.4")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# syntax=docker/dockerfile:1\n")
    assert 'ARG CUDA_VERSION="12.4"\n' in done.stdout
    assert "'test' has no effect in the Dockerfile" in done.stderr


def test_a_dockerfile_is_written_beside_its_ignore_file(project: Path) -> None:
    done = run(project, "generate", "--format", "dockerfile", "-o", "Dockerfile")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert '\nENTRYPOINT ["/app/entrypoint.sh"]\n' in (project / "Dockerfile").read_text()
    assert "!pixi.lock\n" in (project / ".dockerignore").read_text()


def test_an_instruction_that_cannot_be_translated_is_named_by_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "hpcdeploy.toml").write_text('[image]\ndockerfile = "Dockerfile"\n')
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    done = run(tmp_path, "generate")
    assert done.returncode == 66, done.stderr
    assert "Dockerfile: line 1: FROM starts from 'scratch'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["CMD", "ENTRYPOINT", "RUN", "SHELL"])
def test_arrays_nested_by_the_thousand_are_an_error_and_no_traceback(tmp_path: Path, name: str) -> None:
    (tmp_path / "hpcdeploy.toml").write_text('[image]\ndockerfile = "Dockerfile"\n')
    (tmp_path / "Dockerfile").write_text(f"FROM base\n{name} {'[' * 5000}{']' * 5000}\n")
    done = run(tmp_path, "generate")
    assert done.returncode == 66, done.stderr
    assert done.stderr.startswith("error: Dockerfile: line 2: the array [[[[")
    assert "Traceback" not in done.stderr


def test_a_dockerfile_of_a_dockerfile_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hpcdeploy.toml").write_text('[image]\ndockerfile = "Dockerfile"\n')
    done = run(tmp_path, "generate", "--format", "dockerfile")
    assert done.returncode == 66, done.stderr
    assert "use the format 'definition'" in done.stderr
