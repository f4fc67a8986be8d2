"""What git may do in a repository of another user: list, and start nothing."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcdeploy import git as asking
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.snapshot import look
from hpcdeploy.git import is_refused, list_files, run_git
from hpcdeploy.tags import read_git_facts

ANOTHER = 12345
"""A user id that no account of this machine has."""


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "safe.directory=*")
    return subprocess.run(["git", *who, "-C", str(folder), *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Give a repository with one commit, whose configuration names a program as a filter."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.py").write_text("a\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "x")
    (folder / ".gitattributes").write_text("*.py filter=note\n")
    git(folder, "config", "filter.note.clean", f"touch {tmp_path}/ran; cat")
    (folder / "a.py").write_text("b\n")
    return folder


def give_away(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, ANOTHER, ANOTHER, follow_symlinks=False)


def test_the_filter_of_another_users_repository_does_not_run_and_its_changes_are_unknown(
    repository: Path, tmp_path: Path
) -> None:
    give_away(repository)
    tree = look(repository)
    assert tree.names == (".gitattributes", "a.py")
    assert (tree.commit, tree.dirty, tree.refused) == ("", None, True)
    assert not (tmp_path / "ran").exists()


def test_one_that_the_person_trusts_is_asked_as_an_own_one(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_away(repository)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.gitconfig").write_text(f"[safe]\n\tdirectory = {repository}\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    tree = look(repository)
    assert (tree.commit, tree.dirty, tree.refused) == (git(repository, "rev-parse", "HEAD").strip(), True, False)


@pytest.mark.parametrize(
    "question", [lambda folder: run_git(folder, "status"), lambda folder: run_git(folder, "show", "HEAD:a.py")]
)
def test_all_but_listing_keeps_gits_refusal(repository: Path, question: Callable[[Path], object]) -> None:
    give_away(repository)
    answer = question(repository)
    assert isinstance(answer, subprocess.CompletedProcess)
    assert is_refused(answer)
    with pytest.raises(ConfigError, match="dubious ownership"):
        read_git_facts(repository)


def test_no_call_but_the_listing_lifts_gits_protection() -> None:
    package = Path(asking.__file__).parent
    naming = [
        file.relative_to(package).as_posix() for file in package.rglob("*.py") if "safe.directory=" in file.read_text()
    ]
    assert naming == ["git.py"]


def test_listing_fetches_nothing_by_a_program_that_the_repository_names(repository: Path, tmp_path: Path) -> None:
    (repository / ".gitignore").write_text("*.log\n")
    git(repository, "add", ".gitignore")
    blob = git(repository, "rev-parse", ":.gitignore").strip()
    # A partial clone: an object that is missing is fetched from the promisor, which the configuration says how to reach.
    git(repository, "config", "remote.origin.url", f"ext::touch {tmp_path}/fetched")
    git(repository, "config", "remote.origin.promisor", "true")
    git(repository, "config", "protocol.ext.allow", "always")
    git(repository, "config", "extensions.partialClone", "origin")
    git(repository, "config", "core.repositoryFormatVersion", "1")
    git(repository, "update-index", "--skip-worktree", ".gitignore")
    (repository / ".gitignore").unlink()
    (repository / ".git/objects" / blob[:2] / blob[2:]).unlink()
    give_away(repository)
    list_files(repository, "--cached", "--others", "--exclude-standard")
    assert not (tmp_path / "fetched").exists()


def test_a_bare_repository_among_the_files_is_not_obeyed(repository: Path) -> None:
    inner = repository / "inner"
    subprocess.run(["git", "init", "-q", "--bare", str(inner)], check=True)
    git(inner, "config", "core.bare", "false")
    git(inner, "config", "core.worktree", "..")
    answer = run_git(inner, "rev-parse", "--show-toplevel")
    assert answer is not None
    assert answer.returncode == 128
    assert list_files(inner, "--cached") is None


def test_a_name_that_leads_out_of_the_folder_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    program = tmp_path / "bin/git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nprintf 'b/c\\0../secret\\0a\\0/etc/x\\0a\\0b/../../x\\0'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert list_files(tmp_path) == ["a", "b/c"]


def test_a_tracked_file_whose_folder_became_a_link_does_not_travel(repository: Path, tmp_path: Path) -> None:
    (repository / "data").mkdir()
    (repository / "data/x").write_text("x")
    git(repository, "add", "data")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/x").write_text("private")
    (repository / "data/x").unlink()
    (repository / "data").rmdir()
    (repository / "data").symlink_to(tmp_path / "home")
    assert look(repository).names == (".gitattributes", "a.py", "data")
