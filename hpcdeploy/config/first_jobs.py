"""Render jobs for the tasks of a Pixi workspace, as comments in a first ``hpcdeploy.toml``.

Pixi runs a task in the workspace's folder. A job starts in a folder of its own, with the code beside it in ``code``, for
reading only. So a file of the project in a command gets that prefix, and a shell line first goes there.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import PurePosixPath

from hpcdeploy.config.validators import variable
from hpcdeploy.environments.pixi_tasks import Task
from hpcdeploy.errors import ConfigError

MOST = 12
"""Maximum number of jobs that are offered; more would hide the rest of the file."""

_CODE = "code"
_SHELL = re.compile(r"[|&;<>()$`*?\[\]{}~#\n\\!=]")
"""Signs that a shell may treat specially; ``=`` before the first word sets a variable."""


def offered_jobs(tasks: Mapping[str, Task], files: AbstractSet[str], *, gpus: bool) -> Iterator[str]:
    """Yield the lines of commented jobs for `tasks`; none if there are no tasks.

    Args:
        tasks: The tasks by name.
        files: The project's files that they name, relative to the workspace.
        gpus: Request a GPU.
    """
    offered = dict(list(tasks.items())[:MOST])
    if not offered:
        return
    yield ""
    yield "# Tasks of the Pixi workspace as jobs. Uncomment one, and check its command and its resources: a job starts in a"
    yield f'# folder of its own, and finds the project in "{_CODE}", for reading only.'
    for task in offered.values():
        yield from (f"# {line}" for line in _job(task, offered, files, gpus=gpus))
    left = [shown(name) for name in tasks if name not in offered]
    if left:
        yield f"# Other tasks: {', '.join(left[:MOST])}{', …' if len(left) > MOST else ''}"


def paths_in(task: Task) -> Iterator[str]:
    """Yield what may be files of the project in a task's command, relative to the workspace."""
    for word in _words(task) or ():
        if (path := _path(task, word)) is not None:
            yield path


def _job(task: Task, offered: Mapping[str, Task], files: AbstractSet[str], *, gpus: bool) -> Iterator[str]:
    yield f"[jobs.{task.name if re.fullmatch(r'[A-Za-z0-9_-]+', task.name) else quoted(task.name)}]"
    words = _command(task, files)
    if any("{{" in word for word in words):
        yield "# {{ ... }} are the task's arguments: replace them by values."
    yield f"command = [{', '.join(map(quoted, words))}]"
    yield f'code = {{ source = ".", destination = "{_CODE}" }}'
    variables = [(name, value) for name, value in task.variables if _is_variable(name) and "\0" not in value]
    if variables:
        yield f"environment = {{ {', '.join(f'{name} = {quoted(value)}' for name, value in variables)} }}"
    after = [name for name in dict.fromkeys(task.after) if name in offered and name != task.name]
    if after:
        yield f"after = [{', '.join(map(quoted, after))}]"
    if gpus:
        yield "gpus = 1"
    yield from ("cpus = 1", 'memory = "2 GB"', 'time = "10 min"')


def _command(task: Task, files: AbstractSet[str]) -> tuple[str, ...]:
    words = _words(task)
    if words is None:
        line = str(task.command)
        folder = "/".join(filter(None, ('"$HPCDEPLOY_CODE"', shlex.quote(task.folder) if task.folder else "")))
        return ("sh", "-c", f"cd {folder} && {line}")
    return tuple(f"{_CODE}/{path}" if (path := _path(task, word)) in files else word for word in words)


def _words(task: Task) -> tuple[str, ...] | None:
    """Return a command's words; None for a line that needs a shell."""
    if not isinstance(task.command, str):
        return task.command
    if _SHELL.search(task.command):
        return None
    try:
        words = tuple(shlex.split(task.command))
    except ValueError:
        return None
    return words if words and words[0] else None


def _path(task: Task, word: str) -> str | None:
    """Return the path in the workspace that a word may name; None if it cannot be one there."""
    if not word or word.startswith(("/", "-", "~")) or "\0" in word or len(word) > 255:
        return None
    path = PurePosixPath(task.folder, word)
    return None if path.is_absolute() or ".." in path.parts else str(path)


def _is_variable(name: str) -> bool:
    try:
        variable(name)
    except ConfigError:
        return False
    return True


def quoted(text: str) -> str:
    """Return `text` as a TOML string: JSON's escapes are valid in TOML, but DEL must be escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def shown(text: str) -> str:
    """Return `text` in a form that is valid in a comment."""
    return text if text.isprintable() else ascii(text)
