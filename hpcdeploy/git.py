"""Questions to git about the repository that a folder is in."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

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


MOST = 16 * 1024 * 1024
"""Bytes of an answer: the names of some 200,000 files."""

PATIENCE = 600.0
"""Seconds for an answer: looking at every file of a large work tree on a slow network file system takes minutes."""


def ask_git(folder: Path, *words: str, options: Sequence[str] = ()) -> "subprocess.CompletedProcess[bytes] | None":
    """Run ``git OPTIONS -C FOLDER WORDS`` and return what it answered, its exit code for the caller to judge.

    None where git is not there. Raises `ConfigError` where it writes more than `MOST` bytes, or takes too long.

    It answers in English, takes no locks for its own use, and starts no file monitor, which
    would be a program of the repository's choice (git-config(1), core.fsmonitor).
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_REPOSITORY}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    argv = ["git", "-c", "core.fsmonitor=false", *options, "-C", str(folder), *words]
    try:
        return run_program(argv, most=MOST, seconds=PATIENCE, environment=environment)
    except TooMuchError as error:
        raise ConfigError(
            f"'git {' '.join(words[:2])}' in {folder} wrote {error}, which is more than hpcdeploy reads or waits for; name "
            "a smaller folder"
        ) from error
    except OSError:
        return None
