"""A repository that others wrote starts no program when it is asked about, and honest ones are still described rightly.

The programs are harmless: each leaves a file that says that it ran.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from hpcdeploy import git_changes
from hpcdeploy.boundary import Boundary
from hpcdeploy.errors import HpcdeployError
from hpcdeploy.flows.init import look_around
from hpcdeploy.flows.inspect.against import older
from hpcdeploy.flows.snapshot import look
from hpcdeploy.git_changes import has_changes
from hpcdeploy.tags import read_git_facts
from tests.test_git import git

LONG_AGO = 1_000_000_000


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """Give the path of the file that a program leaves which must not run."""
    return tmp_path / "ran"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return folder


def made(folder: Path) -> Path:
    """Make a repository of one commit; its files are older than its index, so git need not read them."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / ".gitattributes").write_text("*.py filter=note\n*.bin filter=lfs\n")
    for name in ("a.py", "b.txt", "c.bin"):
        (folder / name).write_text("one\n")
        os.utime(folder / name, (LONG_AGO, LONG_AGO))
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "x")
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return made(tmp_path / "repository")


def renewed(path: Path) -> None:
    """Make git read a file again: same content, another time."""
    os.utime(path, (LONG_AGO + 1, LONG_AGO + 1))


def facts(folder: Path) -> tuple[bool | None, bool]:
    """Return what a snapshot and what tags say of changes."""
    of_tags = read_git_facts(folder)
    assert of_tags is not None
    tree = look(folder)
    assert tree.commit == of_tags.sha == git(folder, "rev-parse", "HEAD").strip()
    return tree.dirty, of_tags.dirty


def in_configuration(repository: Path, key: str, program: str) -> None:
    git(repository, "config", key, program)


def in_included_file(repository: Path, key: str, program: str) -> None:
    git(repository, "config", "-f", str(repository / ".git/more"), key, program)
    git(repository, "config", "include.path", "more")


def in_worktree_configuration(repository: Path, key: str, program: str) -> None:
    git(repository, "config", "core.repositoryFormatVersion", "1")
    git(repository, "config", "extensions.worktreeConfig", "true")
    git(repository, "config", "--worktree", key, program)


PLACES = [in_configuration, in_included_file, in_worktree_configuration]


@pytest.mark.parametrize("key", ["filter.note.clean", "filter.note.process", "FILTER.note.Clean", "filter.a.b.clean"])
@pytest.mark.parametrize("place", PLACES)
def test_no_filter_of_a_repositorys_own_runs_and_it_is_unknown_what_it_would_have_made(
    repository: Path, mark: Path, place: Callable[[Path, str, str], None], key: str
) -> None:
    place(repository, key, f"touch {mark}; cat")
    if "a.b" in key:
        (repository / ".git/info/attributes").write_text("*.py filter=a.b\n")
    assert facts(repository) == (False, False)
    (repository / "a.py").write_text("two\n")
    assert facts(repository) == (None, True)
    assert not mark.exists()


def test_a_change_is_certain_where_no_filter_that_is_off_had_a_part_in_it(repository: Path, mark: Path) -> None:
    git(repository, "config", "filter.note.clean", f"touch {mark}; tr a-z A-Z")
    git(repository, "config", "filter.note.required", "true")
    (repository / "a.py").write_text("two\n")
    assert facts(repository) == (None, True)
    (repository / "b.txt").write_text("two\n")
    assert facts(repository) == (True, True)
    git(repository, "checkout", "-q", "b.txt")
    assert facts(repository) == (None, True)
    (repository / "new").write_text("")
    assert facts(repository) == (True, True)
    (repository / "new").unlink()
    (repository / "a.py").unlink()
    assert facts(repository) == (True, True)
    assert not mark.exists()


def test_an_attribute_without_a_name_is_no_filter(repository: Path, mark: Path) -> None:
    git(repository, "config", "filter.note.clean", f"touch {mark}; cat")
    (repository / ".git/info/attributes").write_text("a.py filter=\nb.txt filter=\nc.bin filter=note\n")
    (repository / "c.bin").write_text("two\n")
    assert facts(repository) == (None, True)
    (repository / "a.py").write_text("two\n")
    assert facts(repository) == (True, True)
    assert not mark.exists()


def test_a_renamed_file_is_a_change_in_a_clone_that_lacks_what_it_held(repository: Path) -> None:
    lost = git(repository, "rev-parse", "HEAD:b.txt").strip()
    (repository / "new.txt").write_text("one\nand more\n")
    git(repository, "rm", "-q", "b.txt", "a.py", "c.bin")
    git(repository, "add", "new.txt")
    (repository / ".git/objects" / lost[:2] / lost[2:]).unlink()
    assert facts(repository) == (True, True)


def test_in_a_folder_below_the_same_is_certain(repository: Path, mark: Path) -> None:
    (repository / "deep").mkdir()
    for name in ("deep/a.py", "deep/b.txt"):
        (repository / name).write_text("one\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "y")
    git(repository, "config", "filter.note.clean", f"touch {mark}; cat")
    (repository / "a.py").write_text("two\n")
    assert has_changes(repository / "deep", "--", ".") is False
    (repository / "deep/a.py").write_text("two\n")
    assert has_changes(repository / "deep", "--", ".") is None
    (repository / "deep/b.txt").write_text("two\n")
    assert has_changes(repository / "deep", "--", ".") is True
    assert not mark.exists()


@pytest.mark.parametrize("depth", [1, 2])
def test_no_filter_of_a_submodules_configuration_runs(tmp_path: Path, repository: Path, mark: Path, depth: int) -> None:
    outer = repository
    for level in range(depth):
        made(tmp_path / f"origin{level}")
        git(outer, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(tmp_path / f"origin{level}"), "sub")
        git(outer, "commit", "-qm", "sub")
        outer = outer / "sub"
    if depth == 2:
        git(repository, "commit", "-qam", "sub of sub")
    renewed(outer / "b.txt")
    assert facts(repository) == (False, False)
    git(outer, "config", "filter.note.clean", f"touch {mark}; cat")
    (outer / "a.py").write_text("two\n")
    assert facts(repository) == (None, True)
    assert not mark.exists()
    git(outer, "config", "--unset", "filter.note.clean")
    assert facts(repository) == (True, True)


def test_a_submodule_inside_a_work_tree_that_a_repository_puts_elsewhere_is_looked_at_too(
    tmp_path: Path, repository: Path, mark: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(repository, elsewhere, ignore=shutil.ignore_patterns(".git"), copy_function=shutil.copy2)
    made(elsewhere / "sub")
    git(elsewhere / "sub", "config", "filter.note.clean", f"touch {mark}; cat")
    git(repository, "config", "core.worktree", str(elsewhere))
    git(repository, "add", "sub")
    git(repository, "commit", "-qm", "sub")
    (elsewhere / "sub/a.py").write_text("two\n")
    assert has_changes(repository) is None
    assert not mark.exists()


def the_persons(home: Path, name: str, program: Path) -> None:
    """Define a filter as a person does, who keeps a short word in the repository for a file: as git-lfs does."""
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\ntouch {home}/used\nprintf 'short: '; sed 's/^short: //'\n")
    program.chmod(0o755)
    config = home / ".gitconfig"
    more = f'[filter "{name}"]\n\tclean = {program}\n\tsmudge = sed s/short..//\n\trequired = true\n'
    config.write_text((config.read_text() if config.exists() else "") + more)


def with_long_file(repository: Path) -> Path:
    (repository / "long.bin").write_text("two\n")
    git(repository, "add", "long.bin")
    git(repository, "commit", "-qm", "long")
    assert git(repository, "cat-file", "blob", "HEAD:long.bin") == "short: two\n"
    git(repository, "rm", "-q", "-f", "c.bin")
    git(repository, "commit", "-qm", "without")
    renewed(repository / "long.bin")
    return repository / "long.bin"


@pytest.mark.parametrize("local", ["", "touch {mark}; cat"], ids=["global alone", "local too"])
def test_the_persons_own_filter_counts_also_where_a_repository_defines_another_one(
    repository: Path, home: Path, mark: Path, local: str
) -> None:
    the_persons(home, "lfs", home / "bin/shorten")
    file = with_long_file(repository)
    if local:
        git(repository, "config", "filter.lfs.clean", local.format(mark=mark))
        git(repository, "config", "filter.lfs.smudge", local.format(mark=mark))
    (home / "used").unlink()
    assert facts(repository) == (False, False)
    assert (home / "used").exists()
    file.write_text("three\n")
    assert facts(repository) == (True, True)
    assert not mark.exists()


def test_a_process_that_the_person_has_not_defined_cannot_be_put_back(repository: Path, home: Path, mark: Path) -> None:
    the_persons(home, "lfs", home / "bin/shorten")
    file = with_long_file(repository)
    git(repository, "config", "filter.lfs.process", f"touch {mark}")
    assert facts(repository) == (None, True)
    file.write_text("three\n")
    assert facts(repository) == (None, True)
    assert not mark.exists()


def test_what_git_lfs_install_writes_into_a_repository_counts(
    repository: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    the_persons(home, "other", home / "bin/git-lfs")
    monkeypatch.setenv("PATH", f"{home}/bin:{os.environ['PATH']}")
    git(repository, "config", "filter.lfs.clean", "git-lfs clean -- %f")
    git(repository, "config", "filter.lfs.smudge", "git-lfs smudge -- %f")
    git(repository, "config", "filter.lfs.required", "true")
    file = with_long_file(repository)
    assert facts(repository) == (False, False)
    file.write_text("three\n")
    assert facts(repository) == (True, True)


def test_git_lfs_starts_no_extension_of_a_repositorys(repository: Path, home: Path, mark: Path) -> None:
    program = home / "bin/shorten"
    the_persons(home, "lfs", program)
    with_long_file(repository)
    program.write_text("#!/bin/sh\neval \"$(git config lfs.extension.x.clean)\"\nprintf 'short: '; cat\n")
    git(repository, "config", "lfs.extension.x.clean", f"touch {mark}")
    assert facts(repository) == (None, True)
    assert not mark.exists()


def test_a_linked_work_tree_is_described_as_any_other(tmp_path: Path, repository: Path, mark: Path) -> None:
    git(repository, "config", "filter.note.clean", f"touch {mark}; cat")
    linked = tmp_path / "linked"
    git(repository, "worktree", "add", "-q", "-b", "other", str(linked))
    mark.unlink(missing_ok=True)
    (linked / "b.txt").write_text("two\n")
    assert facts(linked) == (True, True)
    found = read_git_facts(linked)
    assert found is not None
    assert (found.branch, found.tag) == ("other", "")
    assert not mark.exists()


def test_what_cannot_be_switched_off_leaves_it_unknown(
    repository: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(repository, "config", "filter.a=b.clean", f"touch {mark}; cat")
    (repository / ".git/info/attributes").write_text("*.py filter=a=b\n")
    (repository / "a.py").write_text("two\n")
    assert facts(repository) == (None, True)
    git(repository, "config", "--remove-section", "filter.a=b")
    monkeypatch.setattr(git_changes, "MOST_FILTERS", 1)
    for name in ("note", "other"):
        git(repository, "config", f"filter.{name}.clean", f"touch {mark}; cat")
    (repository / "b.txt").write_text("two\n")
    assert facts(repository) == (None, True)
    monkeypatch.setattr(git_changes, "MOST_FILTERS", 2)
    assert facts(repository) == (True, True)
    assert not mark.exists()


def test_of_more_submodules_than_anybody_has_it_is_unknown(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(repository / "one")
    made(repository / "two")
    git(repository, "add", "one", "two")
    git(repository, "commit", "-qm", "two repositories")
    monkeypatch.setattr(git_changes, "MOST_REPOSITORIES", 2)
    assert has_changes(repository) is None
    monkeypatch.setattr(git_changes, "MOST_REPOSITORIES", 3)
    assert has_changes(repository) is False


def test_an_older_git_that_does_not_say_whose_a_definition_is_starts_none(
    tmp_path: Path, repository: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin/git"
    program.parent.mkdir()
    refuse = 'for word in "$@"; do [ "$word" != --show-scope ] || exit 129; done'
    program.write_text(f'#!/bin/sh\n{refuse}\nexec {shutil.which("git")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert facts(repository) == (False, False)
    git(repository, "config", "filter.note.clean", f"touch {mark}; cat")
    (repository / "a.py").write_text("two\n")
    assert facts(repository) == (None, True)
    (repository / "b.txt").write_text("two\n")
    assert facts(repository) == (True, True)
    assert not mark.exists()


def test_a_variable_that_names_another_configuration_hides_no_filter(
    repository: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(repository, "config", "filter.note.clean", f"touch {mark}; cat")
    (repository / "a.py").write_text("two\n")
    monkeypatch.setenv("GIT_CONFIG", os.devnull)
    assert has_changes(repository) is None
    assert not mark.exists()


def ask_all(folder: Path) -> None:
    """Ask everything that hpcdeploy asks of a repository."""
    questions: tuple[Callable[[], object], ...] = (
        lambda: look(folder),
        lambda: read_git_facts(folder),
        lambda: look_around(folder),
        lambda: Boundary(folder).top,
        *(
            lambda other=other: older(other, folder / "b.txt")
            for other in ("HEAD", "HEAD:c.bin", ":/x", "HEAD^{commit}:b.txt")
        ),
    )
    for question in questions:
        with suppress(HpcdeployError):
            question()


def test_no_other_program_of_a_configuration_is_started(repository: Path, mark: Path) -> None:
    program = repository / "program"
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    hooks = repository / ".git/hooks"
    for hook in ("post-index-change", "fsmonitor-watchman", "reference-transaction", "post-checkout"):
        shutil.copy(program, hooks / hook)
    (repository / ".gitattributes").write_text("* diff=x merge=x\n")
    git(repository, "add", ".")
    git(repository, "-c", f"core.hooksPath={os.devnull}", "commit", "-qm", "x")
    for key in (
        *("core.fsmonitor", "core.pager", "core.editor", "core.askPass", "core.sshCommand", "core.gitProxy"),
        *("core.alternateRefsCommand", "diff.external", "diff.x.textconv", "diff.x.command", "merge.x.driver"),
        *("gpg.program", "gpg.ssh.program", "interactive.diffFilter", "sequence.editor", "pager.status", "pager.show"),
    ):
        git(repository, "config", key, str(program))
    for key in ("credential.helper", "alias.status", "alias.cat-file", "alias.rev-parse", "alias.config"):
        git(repository, "config", key, f"!{program}")
    git(repository, "config", "log.showSignature", "true")
    mark.unlink(missing_ok=True)
    (repository / "b.txt").write_text("two\n")
    renewed(repository / "a.py")
    ask_all(repository)
    assert facts(repository) == (True, True)
    assert not mark.exists()


def test_how_a_repository_sorts_its_tags_is_not_obeyed(repository: Path) -> None:
    git(repository, "tag", "v1.0")
    git(repository, "tag", "-a", "-m", "x", "v1.10.0")
    git(repository, "config", "tag.sort", "signature:key")
    found = read_git_facts(repository)
    assert found is not None
    assert found.tag == "v1.10.0"


@pytest.mark.parametrize("missing", ["HEAD", "HEAD^{tree}", "HEAD:b.txt"])
@pytest.mark.parametrize("address", ["ext::touch {mark}", "ssh://nobody.invalid/x", "{folder}"])
def test_nothing_that_is_missing_is_fetched(
    tmp_path: Path, repository: Path, mark: Path, address: str, missing: str
) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    lost = git(repository, "rev-parse", missing).strip()
    # A partial clone: an object that is missing is fetched from the promisor, which the configuration says how to reach.
    git(repository, "config", "remote.origin.url", address.format(mark=mark, folder=tmp_path))
    git(repository, "config", "remote.origin.promisor", "true")
    git(repository, "config", "remote.origin.uploadpack", str(program))
    git(repository, "config", "core.sshCommand", str(program))
    git(repository, "config", "protocol.allow", "always")
    git(repository, "config", "protocol.ext.allow", "always")
    git(repository, "config", "extensions.partialClone", "origin")
    git(repository, "config", "core.repositoryFormatVersion", "1")
    (repository / ".git/objects" / lost[:2] / lost[2:]).unlink()
    mark.unlink(missing_ok=True)
    ask_all(repository)
    assert not mark.exists()
