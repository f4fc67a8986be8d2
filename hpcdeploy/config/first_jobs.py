"""Render jobs for the tasks of a Pixi workspace, as comments in a first ``hpcdeploy.toml``.

Pixi runs a task in the workspace's folder. A job starts in a working folder that contains the project in the read-only
subfolder ``code``. So the command of a job is changed: the path of a project's file gets the prefix ``code/``, and a command
that needs a shell begins with ``cd "$HPCDEPLOY_CODE"``.
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
"""Maximum number of jobs in the file, and of names in its list of other tasks; more would hide the rest of the file."""

_CODE = "code"
_SHELL = re.compile(r"[|&;<>()$`*?\[\]{}~#\n\\!=]")
"""Characters that a shell may treat specially; ``=`` is one, because ``NAME=VALUE`` before a command sets a variable."""


def offered_jobs(tasks: Mapping[str, Task], files: AbstractSet[str], *, gpus: bool) -> Iterator[str]:
    """Yield the lines of commented jobs for `tasks`; none if there are no tasks.

    Args:
        tasks: The tasks by name.
        files: Paths of existing files that the tasks' commands name, relative to the workspace.
        gpus: Whether the jobs request a GPU.
    """
    offered = dict(list(tasks.items())[:MOST])
    if not offered:
        return
    yield ""
    yield "# Tasks of the Pixi workspace as jobs. Uncomment a job, and check its command and resources. A job starts in a"
    yield f'# working folder of its own, with the project in its read-only subfolder "{_CODE}".'
    for task in offered.values():
        yield from (f"# {line}" for line in _job(task, offered, files, gpus=gpus))
    left = [shown(name) for name in tasks if name not in offered]
    if left:
        yield f"# Other tasks: {', '.join(left[:MOST])}{', …' if len(left) > MOST else ''}"


def paths_in(task: Task) -> Iterator[str]:
    """Yield the arguments of a task's command that may be files of the project, as paths relative to the workspace."""
    for word in _words(task) or ():
        if (path := _path(task, word)) is not None:
            yield path


def _job(task: Task, offered: Mapping[str, Task], files: AbstractSet[str], *, gpus: bool) -> Iterator[str]:
    yield f"[jobs.{task.name if re.fullmatch(r'[A-Za-z0-9_-]+', task.name) else quoted(task.name)}]"
    words = _command(task, files)
    if any("{{" in word for word in words):
        yield "# Replace each {{ ... }}, which is an argument of the task, by its value."
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
    """Return a command as a list of arguments; None for a command that needs a shell."""
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
    """Return the path that `word` may name, relative to the workspace; None if `word` cannot be a path in the workspace."""
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
    """Return `text` as a TOML string.

    It is written as a JSON string, because JSON's escapes are valid in TOML. DEL is escaped too, as TOML requires.
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def shown(text: str) -> str:
    """Return `text` in a form that is valid in a TOML comment: with escapes if it has unprintable characters."""
    return text if text.isprintable() else ascii(text)
