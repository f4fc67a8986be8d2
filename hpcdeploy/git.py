"""Query git about the repository that contains a folder.

The configuration of a repository can name programs that git runs: filters, hooks and transports. Therefore git rejects a
repository of another user (git-config(1), safe.directory). `run_git` keeps this check. `list_files` disables it, because its
only command, ``git ls-files``, runs no program of a repository with the settings that are overridden here.

The check is not enough: a project that was unpacked from an archive belongs to the caller, but its configuration may come
from another person. Therefore no query runs a program that a repository names:

- Settings that could run a program are overridden in every query (`_NEVER`, `_NO_TRANSPORT`).
- `hpcdeploy.git_changes` handles filters.
- Other programs belong to commands and options that are not used here: editors, pagers, signatures, diff and merge drivers,
  and credential helpers (git-config(1): core.editor, core.pager, gpg.program, diff.external, diff.<driver>.textconv,
  credential.helper).
- An alias cannot replace a built-in command of git (git-config(1), alias).
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
"""Variables that select a repository, such as those that git sets for its hooks (githooks(5)).

They would take precedence over the working directory (git(1), GIT_DIR), so they are removed from the environment of a query.
"""

_MISLEADING = frozenset({"GIT_CONFIG", "GIT_LITERAL_PATHSPECS"})
"""Variables that would change the result of a query, so they are also removed.

With GIT_CONFIG, ``git config`` reads another file than the other commands (git-config(1), ENVIRONMENT).
GIT_LITERAL_PATHSPECS changes the meaning of path arguments (git(1)).
"""

_NEVER = (
    *("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}"),
    *("-c", "safe.bareRepository=explicit"),
)
"""Options that prevent git from running programs that a repository names.

They disable file monitors and hooks (git-config(1): core.fsmonitor, core.hooksPath). They also disable a bare repository
that is one of the files of another repository, because its configuration comes from the author of these files
(safe.bareRepository). git passes ``-c`` on to its processes in submodules (submodule.c of git 2.12,
prepare_submodule_repo_env, keeps GIT_CONFIG_PARAMETERS).
"""

_ANY_OWNER = ("-c", "safe.directory=*")
_NO_TRANSPORT = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
"""Variables that prevent downloads by git.

In a partial clone, git downloads missing objects, and the repository may name the program for the download
(gitremote-helpers(7), ext; git-config(1), core.sshCommand and remote.<name>.uploadpack). Source of the variables: git(1),
GIT_ALLOW_PROTOCOL, and GIT_NO_LAZY_FETCH since git 2.44.
"""

MOST = 16 * 1024 * 1024
"""Maximum size of git's output in bytes, which is enough for the names of some 200,000 files."""

TIME_LIMIT = 600.0
"""Time limit of a query in seconds. Checking every file of a large work tree on a slow network file system takes minutes."""


def run_git(
    folder: Path, *arguments: str, settings: Mapping[str, str] | None = None, most: int | None = None
) -> "subprocess.CompletedProcess[bytes] | None":
    """Run ``git -C FOLDER ARGUMENTS``; return its exit code and output, or None if git is not installed.

    git prints messages in English, takes no optional locks and downloads nothing. The caller must check the exit code. It is
    128 in these cases, among others:

    - There is no repository. Then git is not started.
    - The repository belongs to another user, and the caller's own git configuration does not accept it (`is_refused`).

    Args:
        folder: The working directory.
        arguments: The command of git and its arguments. Only `hpcdeploy.git_changes` may use ``status``, because it runs
            the repository's filters. Commands that create patches must not be used, because they may run programs too.
        settings: Settings that take precedence over every configuration file (``git -c``). No key may contain ``=``.
        most: Maximum size of git's output in bytes; None for `MOST`.

    Raises:
        ConfigError: The output is too large, or git ran for more than `TIME_LIMIT` seconds.
    """
    options = [word for key, value in (settings or {}).items() for word in ("-c", f"{key}={value}")]
    return _run(folder, arguments, options=options, most=most)


def list_files(folder: Path, *arguments: str) -> list[str] | None:
    """Return the file names that ``git ls-files -z ARGUMENTS`` prints in `folder`.

    The work tree may belong to another user, because that is common in the container of a CI job. A name that leads out of
    the folder is left out: git adds no such name to its index, but another program may have written the index.

    Returns:
        The names relative to `folder`, sorted and without duplicates. None if git is not installed or failed, for example
        because the folder is not in a work tree.

    Raises:
        ConfigError: The output is too large, or git ran for too long.
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
    # Search .git like git (gitrepository-layout(5)), so that git is not started without a repository. On macOS without
    # Apple's developer tools, each start of git opens a dialog to install these tools.
    place = Path(os.path.realpath(folder))
    if not any(os.path.lexists(above / ".git") for above in (place, *place.parents)):
        return subprocess.CompletedProcess(arguments, 128, b"", b"fatal: not a git repository\n")
    left_out = _OF_ANOTHER_REPOSITORY | _MISLEADING
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    # Without optional locks "git status" writes no index (git(1), GIT_OPTIONAL_LOCKS).
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", **_NO_TRANSPORT}
    argv = ["git", *_NEVER, *options, "-C", str(folder), *arguments]
    try:
        return run_program(argv, most=most or MOST, seconds=TIME_LIMIT, environment=environment)
    except TooMuchError as error:
        raise ConfigError(
            f"'git {' '.join(arguments[:2])}' in {folder} exceeded hpcdeploy's limit ({error}); use a smaller folder"
        ) from error
    except OSError:
        return None


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
