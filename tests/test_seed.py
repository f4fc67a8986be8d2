"""The seed belongs to the files, committed or not."""

import subprocess
from pathlib import Path

from tests.seed import seed_of


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_seed_is_the_same_before_and_after_the_commit_and_in_a_clone(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    git(project, "init", "--quiet")
    (project / ".gitignore").write_text("ignored\n")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--message", "first")
    first = seed_of(project)
    (project / "new").write_text("text\n")
    (project / "ignored").write_text("text\n")
    before = seed_of(project)
    assert git(project, "status", "--short") == "?? new"
    assert before != first
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--message", "second")
    assert seed_of(project) == before == git(project, "rev-parse", "HEAD^{tree}")[:12]
    git(tmp_path, "clone", "--quiet", str(project), "clone")
    assert seed_of(tmp_path / "clone") == before


def test_without_git_there_is_a_seed_all_the_same(tmp_path: Path) -> None:
    assert len(seed_of(tmp_path)) == 12
