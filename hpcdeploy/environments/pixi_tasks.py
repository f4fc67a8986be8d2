"""Parse a Pixi workspace's tasks (``[tasks]``, also of features and platforms) as far as a job can run them.

A task is a shell line, or a table with ``cmd`` (a line, or a list of words), ``cwd``, ``env`` and ``depends-on`` (Pixi's
documentation, "Advanced tasks"). hpcdeploy only suggests tasks, so it ignores any other value instead of reporting an error.
It also ignores a task that is a list, which has no command and groups other tasks, and a task whose name begins with ``_``,
which is hidden.
"""

import re
from collections.abc import Iterator, Mapping

from hpcdeploy.environments.pixi_package import Table
from hpcdeploy.frozen import frozen

LONGEST = 500
"""Maximum number of characters of a task's command, or of the value of a variable; longer ones are ignored."""

_NAME = re.compile(r"[A-Za-z0-9.-][A-Za-z0-9._-]{0,63}")


@frozen
class Task:
    """A task of a workspace.

    Attributes:
        name: The task's name.
        command: The task's command: a line for a shell, or a tuple of words.
        folder: The task's working folder, relative to the workspace; empty for the workspace itself.
        variables: The task's environment variables.
        after: The names of the tasks that must run before it.
    """

    name: str
    command: str | tuple[str, ...]
    folder: str = ""
    variables: tuple[tuple[str, str], ...] = ()
    after: tuple[str, ...] = ()


def tasks_of(table: Table) -> Iterator[Task]:
    """Yield the tasks in the table of a manifest, a feature or a target."""
    tasks = table.get("tasks")
    for name, value in tasks.items() if isinstance(tasks, dict) else ():
        fields: Table = value if isinstance(value, dict) else {"cmd": value} if isinstance(value, str) else {}
        command, folder = _command(fields.get("cmd")), fields.get("cwd", "")
        if command and _NAME.fullmatch(name) and name not in {".", ".."} and isinstance(folder, str):
            depends = fields.get("depends-on", fields.get("depends_on"))
            yield Task(
                name=name,
                command=command,
                folder=folder,
                variables=tuple(_variables(fields.get("env"))),
                after=tuple(_names(depends)),
            )


def _command(value: object) -> str | tuple[str, ...] | None:
    """Return a command that is neither empty nor too long; None for anything else."""
    words = tuple(value if isinstance(value, list) else [value])
    if not words or not all(isinstance(word, str) and "\0" not in word for word in words):
        return None
    if not words[0].strip() or sum(map(len, words)) > LONGEST:
        return None
    return words if isinstance(value, list) else words[0].strip()


def _variables(value: object) -> Iterator[tuple[str, str]]:
    for name, text in value.items() if isinstance(value, Mapping) else ():
        if isinstance(text, str) and len(text) <= LONGEST:
            yield str(name), text


def _names(value: object) -> Iterator[str]:
    """Yield the names in ``depends-on``: a name, or a list of names and of tables with the key ``task``."""
    for one in value if isinstance(value, list) else [value]:
        name = one.get("task") if isinstance(one, dict) else one
        if isinstance(name, str):
            yield name
