"""What is settled before anything is fetched, sent or asked of a cluster."""

import os
import pty
import select
import subprocess
from pathlib import Path

import pytest

from tests.cli.test_templates import COMMAND, SETTINGS, Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_an_image_that_is_to_be_pushed_nowhere_is_not_fetched_from_where_it_was_built(project: Project) -> None:
    (project.path / "hpcdeploy.toml").write_text(SETTINGS.replace('repository = "ghcr.io/me/train"\n', ""))
    done = project.run("push")
    assert done.returncode == 2
    assert done.stderr == (
        "error: the image 'train' has no repository; set 'repository' in its settings, or use --repository\n"
    )


def at_a_terminal(project: Project, answer: bytes, *words: str) -> tuple[int, str]:
    """Run a command as a person does; type `answer` to its first question."""
    mine, its = pty.openpty()
    with subprocess.Popen(
        [COMMAND, *words],
        cwd=project.path,
        env=project.environment,
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    ) as started:
        os.close(its)
        said = b""
        while True:
            assert select.select([mine], [], [], 120)[0], said
            try:
                part = os.read(mine, 4096)
            except OSError:  # Linux: the other end is closed
                break
            said += part
            if part and b"[y/N]" in said and answer:
                os.write(mine, answer)
                answer = b""
    os.close(mine)
    return started.returncode, said.decode()


@pytest.mark.parametrize(("answer", "refused"), [(b"n\n", True), (b"\n", True), (b"y\n", False)])
def test_code_that_is_surprisingly_large_is_asked_about_at_a_terminal(
    project: Project, answer: bytes, refused: bool
) -> None:
    settings = SETTINGS.replace("hpc.example.org", "hpc.invalid")
    (project.path / "hpcdeploy.toml").write_text(settings + 'code = { source = ".", limit = "1 MB" }\n')
    (project.path / "data").mkdir()
    (project.path / "data" / "a.bin").write_bytes(bytes(3_000_000))
    code, said = at_a_terminal(project, answer, "submit", "train", "--cluster", "hpc")
    assert "largest parts: data/ (3.00 MB)" in said
    assert "Upload all of it? [y/N]" in said
    assert ("raise the limit" in said) == refused
    assert (code == 2) == refused


def test_nobody_is_asked_where_nobody_can_answer(project: Project) -> None:
    (project.path / "hpcdeploy.toml").write_text(SETTINGS + 'code = { source = ".", limit = "1 MB" }\n')
    (project.path / "a.bin").write_bytes(bytes(3_000_000))
    done = project.run("submit", "train", "--cluster", "hpc")
    assert done.returncode == 2
    assert "Upload all of it" not in done.stderr
    assert "Exclude files in .hpcdeployignore" in done.stderr
