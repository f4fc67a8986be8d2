"""Questions to git about the repository that a folder is in.

git refuses a repository of another user, because its configuration names programs that git runs: filters, hooks, transports
(git-config(1), safe.directory). `ask_git` keeps that refusal. `list_files` alone lifts it, for the one command that needs no
program of the repository's, and takes from it what could start one.

A project that came as an archive brings a configuration too, and belongs to the caller once it is unpacked. So no question
starts a program that a repository names. What could start one is taken from all of them (`_NEVER`, `_NO_TRANSPORT`), or not
asked: editors, pagers, signatures, diff and merge drivers, and credentials belong to commands and options that are not used
here (git-config(1): core.editor, core.pager, gpg.program, diff.external, diff.<driver>.textconv, credential.helper), and no
alias hides a command of git's own (git-config(1), alias). `hpcdeploy.git_changes` takes care of filters.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from hpcdeploy.errors import ConfigError
from hpcdeploy.limits import TooMuchError, run_program

_OF_ANOTHER_REPOSITORY = frozenset(
    f"GIT_{name}"
    for name in (
        *("DIR", "WORK_TREE", "INDEX_FILE", "COMMON_DIR", "PREFIX", "NAMESPACE"),
        *("OBJECT_DIRECTORY", "ALTERNATE_OBJECT_DIRECTORIES"),
    )
)
"""What git sets for its hooks (githooks(5)), and obeys before the folder that it is called in (git(1), GIT_DIR)."""

_MISLEADING = frozenset({"GIT_CONFIG", "GIT_LITERAL_PATHSPECS"})
"""What has ``git config`` read another file than other commands (git-config(1), ENVIRONMENT), or changes what a path means
(git(1), GIT_LITERAL_PATHSPECS)."""

_NEVER = (
    *("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}"),
    *("-c", "safe.bareRepository=explicit"),
)
"""No file monitor and no hook, which would be programs of the repository's choice, and no bare repository that lies among
the files of another one, whose configuration came with the files (git-config(1): core.fsmonitor, core.hooksPath and
safe.bareRepository). git hands ``-c`` on to the processes that it starts in submodules (submodule.c of git 2.12,
prepare_submodule_repo_env, keeps GIT_CONFIG_PARAMETERS)."""

_ANY_OWNER = ("-c", "safe.directory=*")
_NO_TRANSPORT = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
"""What lets git fetch nothing: in a partial clone it fetches what is missing, by a program that the repository may name
(git(1), GIT_ALLOW_PROTOCOL and GIT_NO_LAZY_FETCH, the latter since 2.44; gitremote-helpers(7), ext; git-config(1),
core.sshCommand and remote.<name>.uploadpack)."""

MOST = 16 * 1024 * 1024
"""Bytes of an answer: the names of some 200,000 files."""

PATIENCE = 600.0
"""Seconds for an answer: looking at every file of a large work tree on a slow network file system takes minutes."""


def ask_git(
    folder: Path, *words: str, settings: Mapping[str, str] | None = None, most: int | None = None
) -> "subprocess.CompletedProcess[bytes] | None":
    """Run ``git -C FOLDER WORDS`` and return what it answered, its exit code for the caller to judge.

    None where git is not there; exit code 128 where there is no repository, for which git is not started. Raises
    `ConfigError` where it writes more than `most` bytes (by default `MOST`), or takes too long. It answers in English, takes
    no locks for its own use and fetches nothing. A repository of another user is refused by git itself, with exit code 128,
    unless the caller's own configuration names it (`is_refused`).

    Args:
        folder: Where git is called.
        words: The command and its arguments. ``status`` converts files by the repository's filters, and patches may call
            programs too: the former is asked in `hpcdeploy.git_changes` only, the latter nowhere.
        settings: Configuration that has precedence over every file (``git -c``); no key may contain ``=``.
        most: Bytes of the answer.
    """
    options = [word for key, value in (settings or {}).items() for word in ("-c", f"{key}={value}")]
    return _run(folder, words, options=options, most=most)


def list_files(folder: Path, *words: str) -> list[str] | None:
    """Return what ``git ls-files -z WORDS`` lists in `folder`, each name once and sorted, relative to it, as `os.fsdecode`.

    None where git is not there or the folder is in no work tree. A work tree of another owner is listed too, as a CI job's
    container has it: git then only lists. A name that leads out of the folder is left out: git makes none, but an index that
    another program wrote may hold one.
    """
    done = _run(folder, ("ls-files", "-z", *words), options=_ANY_OWNER)
    if done is None or done.returncode:
        return None
    return sorted({name for name in map(os.fsdecode, done.stdout.split(b"\0")) if name and _is_inside(name)})


def is_refused(answer: "subprocess.CompletedProcess[bytes] | None") -> bool:
    """Tell whether git refused the repository for its owner."""
    # "detected dubious ownership in repository" since 2.35.3, "unsafe repository (... is owned by someone else)" in 2.35.2.
    said = answer.stderr if answer is not None and answer.returncode == 128 else b""
    return b"dubious ownership" in said or b"unsafe repository" in said


def _run(
    folder: Path, words: Sequence[str], *, options: Sequence[str] = (), most: int | None = None
) -> "subprocess.CompletedProcess[bytes] | None":
    # As git looks for it (gitrepository-layout(5)). On macOS without Apple's developer tools, git is a program that opens a
    # dialog to install them each time that it is started.
    place = Path(os.path.realpath(folder))
    if not any(os.path.lexists(above / ".git") for above in (place, *place.parents)):
        return subprocess.CompletedProcess(words, 128, b"", b"fatal: not a git repository\n")
    left_out = _OF_ANOTHER_REPOSITORY | _MISLEADING
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    # Without optional locks "git status" writes no index (git(1), GIT_OPTIONAL_LOCKS).
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", **_NO_TRANSPORT}
    argv = ["git", *_NEVER, *options, "-C", str(folder), *words]
    try:
        return run_program(argv, most=most or MOST, seconds=PATIENCE, environment=environment)
    except TooMuchError as error:
        raise ConfigError(
            f"'git {' '.join(words[:2])}' in {folder} wrote {error}, which is more than hpcdeploy reads or waits for; name "
            "a smaller folder"
        ) from error
    except OSError:
        return None


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
