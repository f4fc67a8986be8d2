"""Query git about the repository that contains a folder.

git rejects a repository of another user, because its configuration names programs that git runs: filters, hooks, transports
(git-config(1), safe.directory). `ask_git` keeps that check. Only `list_files` disables it, for one command that needs no
program of the repository, and with every setting overridden that could start one.

A project that was unpacked from an archive has a configuration too, and belongs to the caller. Therefore no query starts a
program that a repository names. Settings that could start one are overridden in every query (`_NEVER`, `_NO_TRANSPORT`).
Editors, pagers, signatures, diff and merge drivers, and credentials belong to commands and options that are not used here
(git-config(1): core.editor, core.pager, gpg.program, diff.external, diff.<driver>.textconv, credential.helper). An alias
cannot replace a built-in command of git (git-config(1), alias). `hpcdeploy.git_changes` handles filters.
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
"""Variables that git sets for its hooks (githooks(5)); they take precedence over the working directory (git(1), GIT_DIR).
"""

_MISLEADING = frozenset({"GIT_CONFIG", "GIT_LITERAL_PATHSPECS"})
"""Variables that let ``git config`` read another file than other commands (git-config(1), ENVIRONMENT), or change the
meaning of paths (git(1), GIT_LITERAL_PATHSPECS)."""

_NEVER = (
    *("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}"),
    *("-c", "safe.bareRepository=explicit"),
)
"""Options against programs that the repository chooses.

They disable file monitors and hooks. They also disable bare repositories among the files of another repository, because
their configuration came with these files (git-config(1): core.fsmonitor, core.hooksPath, safe.bareRepository). git passes
``-c`` on to its processes in submodules (submodule.c of git 2.12, prepare_submodule_repo_env, keeps GIT_CONFIG_PARAMETERS).
"""

_ANY_OWNER = ("-c", "safe.directory=*")
_NO_TRANSPORT = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
"""Variables that prevent downloads.

In a partial clone git downloads missing objects with a program that the repository may name (git(1), GIT_ALLOW_PROTOCOL,
and GIT_NO_LAZY_FETCH since 2.44; gitremote-helpers(7), ext; git-config(1), core.sshCommand and remote.<name>.uploadpack).
"""

MOST = 16 * 1024 * 1024
"""Maximum size of an answer in bytes: the names of some 200,000 files."""

PATIENCE = 600.0
"""Timeout of a query in seconds: checking every file of a large work tree on a slow network file system takes minutes."""


def ask_git(
    folder: Path, *arguments: str, settings: Mapping[str, str] | None = None, most: int | None = None
) -> "subprocess.CompletedProcess[bytes] | None":
    """Run ``git -C FOLDER ARGUMENTS``; the caller checks the exit code. Return None if git is not installed.

    git answers in English, takes no optional locks and downloads nothing. It rejects a repository of another user with exit
    code 128, unless the caller's own configuration accepts it (`is_refused`). It is also 128 where there is no
    repository, for which git is not started.

    Args:
        folder: The working directory.
        arguments: The command and its arguments. ``status`` converts files with the repository's filters, so it is only
            used in `hpcdeploy.git_changes`. Commands that make patches may also start programs, and are not used.
        settings: Configuration that takes precedence over every file (``git -c``); no key may contain ``=``.
        most: Maximum size of the answer in bytes; None for `MOST`.

    Raises:
        ConfigError: The answer is too large, or took more than `PATIENCE` seconds.
    """
    options = [word for key, value in (settings or {}).items() for word in ("-c", f"{key}={value}")]
    return _run(folder, arguments, options=options, most=most)


def list_files(folder: Path, *arguments: str) -> list[str] | None:
    """Return the output of ``git ls-files -z ARGUMENTS`` in `folder`: relative names, sorted and unique, as from
    `os.fsdecode`.

    A work tree of another user, which is common in the container of a CI job, is listed too. A name that leads out of the
    folder is left out: git writes none, but an index from another program may contain one.

    Returns:
        The names; None if git is not installed or the folder is not in a work tree.

    Raises:
        ConfigError: The answer is too large, or took too long.
    """
    done = _run(folder, ("ls-files", "-z", *arguments), options=_ANY_OWNER)
    if done is None or done.returncode:
        return None
    return sorted({name for name in map(os.fsdecode, done.stdout.split(b"\0")) if name and _is_inside(name)})


def is_refused(answer: "subprocess.CompletedProcess[bytes] | None") -> bool:
    """Tell whether git rejected the repository because of its owner."""
    # "detected dubious ownership in repository" since 2.35.3, "unsafe repository (... is owned by someone else)" in 2.35.2.
    message = answer.stderr if answer is not None and answer.returncode == 128 else b""
    return b"dubious ownership" in message or b"unsafe repository" in message


def _run(
    folder: Path, arguments: Sequence[str], *, options: Sequence[str] = (), most: int | None = None
) -> "subprocess.CompletedProcess[bytes] | None":
    # As git looks for it (gitrepository-layout(5)). On macOS without Apple's developer tools, git is a program that opens a
    # dialog to install them each time that it is started.
    place = Path(os.path.realpath(folder))
    if not any(os.path.lexists(above / ".git") for above in (place, *place.parents)):
        return subprocess.CompletedProcess(arguments, 128, b"", b"fatal: not a git repository\n")
    left_out = _OF_ANOTHER_REPOSITORY | _MISLEADING
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    # Without optional locks "git status" writes no index (git(1), GIT_OPTIONAL_LOCKS).
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", **_NO_TRANSPORT}
    argv = ["git", *_NEVER, *options, "-C", str(folder), *arguments]
    try:
        return run_program(argv, most=most or MOST, seconds=PATIENCE, environment=environment)
    except TooMuchError as error:
        raise ConfigError(
            f"'git {' '.join(arguments[:2])}' in {folder} wrote {error}, above hpcdeploy's limit; use a smaller folder"
        ) from error
    except OSError:
        return None


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
