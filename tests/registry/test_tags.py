"""Tags by git, against real repositories."""

import os
import subprocess
from pathlib import Path

import pytest

from hpcdeploy.errors import ConfigError, MissingProgramError
from hpcdeploy.tags import GitFacts, newest_tag, read_git_facts, sanitise_tag, tags_beside_others, tags_for, web_address

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (GitFacts(sha=SHA, branch="main", default_branch="main"), ("sha-0123456", "latest")),
        (GitFacts(sha=SHA, branch="topic", default_branch="main"), ("sha-0123456",)),
        (GitFacts(sha=SHA), ("sha-0123456",)),
        (GitFacts(sha=SHA, tag="v1.2.3"), ("1.2.3", "1.2", "sha-0123456", "latest")),
        (GitFacts(sha=SHA, tag="1.2.3", branch="main", default_branch="main"), ("1.2.3", "1.2", "sha-0123456", "latest")),
        (GitFacts(sha=SHA, tag="v2.0.8-beta.67"), ("2.0.8-beta.67", "sha-0123456")),
        (
            GitFacts(sha=SHA, tag="v1.2.3-rc.1", branch="main", default_branch="main"),
            ("1.2.3-rc.1", "sha-0123456", "latest"),
        ),
        (GitFacts(sha=SHA, tag="v0.1.2"), ("0.1.2", "0.1", "sha-0123456", "latest")),
        (GitFacts(sha=SHA, tag="1.2.3+cuda12"), ("1.2.3-cuda12", "1.2", "sha-0123456", "latest")),
        (GitFacts(sha=SHA, tag="paper/final"), ("paper-final", "sha-0123456")),
        (GitFacts(sha=SHA, tag="v01.2.3"), ("v01.2.3", "sha-0123456")),
        (GitFacts(sha=SHA, tag="v1.2.3", branch="main", default_branch="main", dirty=True), ("sha-0123456-dirty",)),
    ],
)
def test_tags_follow_the_rules_of_metadata_action(facts: GitFacts, expected: tuple[str, ...]) -> None:
    assert tags_for(facts) == expected


@pytest.mark.parametrize(
    ("name", "tags", "expected"),
    [
        (
            "gpu-noble-12.9",
            ("1.2.3", "1.2", "sha-0123456", "latest"),
            (
                "gpu-noble-12.9-1.2.3",
                "gpu-noble-12.9-1.2",
                "gpu-noble-12.9-sha-0123456",
                "gpu-noble-12.9",
            ),
        ),
        ("cpu", ("sha-0123456-dirty",), ("cpu-sha-0123456-dirty",)),
        ("-odd-", ("latest",), ("odd-",)),
    ],
)
def test_in_a_shared_repository_tags_bear_the_images_name(
    name: str, tags: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert tags_beside_others(tags, name) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a/b c", "a-b-c"), (".hidden", "hidden"), ("--x", "x"), ("ü", ""), ("x" * 200, "x" * 128), ("a::b", "a-b")],
)
def test_any_text_becomes_a_valid_tag_or_none(text: str, expected: str) -> None:
    assert sanitise_tag(text) == expected


def test_the_highest_version_wins_where_a_commit_has_several_tags() -> None:
    assert newest_tag(["v1.9.0", "v1.10.0", "v1.10.0-rc.1", "zebra"]) == "v1.10.0"
    assert newest_tag(["b", "a"]) == "b"
    assert newest_tag([]) == ""


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("git@github.com:me/train.git", "https://github.com/me/train"),
        ("https://user:secret@gitlab.example.org/me/train.git", "https://gitlab.example.org/me/train"),
        ("ssh://git@git.example.org:2222/me/train", "https://git.example.org/me/train"),
        ("http://127.0.0.1:3000/me/train.git", "http://127.0.0.1:3000/me/train"),
        ("/srv/git/train.git", ""),
        ("", ""),
    ],
)
def test_a_remote_becomes_an_address_without_credentials(remote: str, expected: str) -> None:
    assert web_address(remote) == expected


def git(folder: Path, *words: str) -> None:
    who = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "A"}
    environment = {**os.environ, **who, "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_CONFIG_GLOBAL": "/dev/null"}
    subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True, env=environment)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-b", "main")
    (folder / "file").write_text("one\n")
    git(folder, "add", "file")
    git(folder, "commit", "-m", "First")
    return folder


def test_a_clean_default_branch_is_read_from_a_real_repository(repository: Path) -> None:
    git(repository, "tag", "v1.2.3")
    git(repository, "remote", "add", "origin", "git@github.com:me/train.git")
    (repository / "untracked").write_text("not part of it\n")
    (repository / "sub").mkdir()
    facts = read_git_facts(repository / "sub")
    assert facts is not None
    assert facts == GitFacts(
        sha=facts.sha, branch="main", default_branch="main", tag="v1.2.3", source="https://github.com/me/train"
    )
    assert len(facts.sha) == 40
    assert facts.version == "1.2.3"


def test_the_repository_of_the_folder_counts_in_another_one_s_hook(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_git_facts(repository)
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    assert read_git_facts(repository) == before


def test_a_name_that_is_no_utf_8_is_read(repository: Path) -> None:
    subprocess.run(["git", "-C", repository, "checkout", "-q", "-b", b"caf\xe9"], check=True)
    facts = read_git_facts(repository)
    assert facts is not None
    assert tags_for(facts)[0].startswith("sha-")


def test_a_changed_file_makes_the_tree_dirty(repository: Path) -> None:
    (repository / "file").write_text("two\n")
    facts = read_git_facts(repository)
    assert facts is not None
    assert facts.dirty
    assert facts.version == ""


def test_a_detached_head_has_no_branch(repository: Path) -> None:
    git(repository, "checkout", "--detach")
    facts = read_git_facts(repository)
    assert facts is not None
    assert facts.branch == ""
    assert tags_for(facts) == (f"sha-{facts.sha[:7]}",)


def test_the_default_branch_is_what_the_remote_says(repository: Path, tmp_path: Path) -> None:
    git(repository, "checkout", "-b", "trunk")
    git(tmp_path, "clone", str(repository), "clone")
    git(tmp_path / "clone", "checkout", "-b", "main")
    facts = read_git_facts(tmp_path / "clone")
    assert facts is not None
    assert (facts.branch, facts.default_branch) == ("main", "trunk")


def test_no_repository_and_no_commit_give_nothing(tmp_path: Path) -> None:
    assert read_git_facts(tmp_path) is None
    git(tmp_path, "init")
    assert read_git_facts(tmp_path) is None


def test_a_repository_that_git_refuses_is_an_error_with_its_words(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /nowhere\n")
    with pytest.raises(ConfigError, match="not a git repository"):
        read_git_facts(tmp_path)


def test_a_missing_git_is_named_only_where_there_is_a_repository(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_git_facts(tmp_path) is None
    with pytest.raises(MissingProgramError, match="git is not installed"):
        read_git_facts(repository)
