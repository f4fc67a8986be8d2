"""Run tasks and commands in an activated environment (``pixi run``), with ``sh`` instead of pixi's own shell."""

import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from hpcdeploy_lab.pixi_standin import RefusedError, StandInError
from hpcdeploy_lab.pixi_standin.workspace import Environment, Task, Workspace


def run(
    workspace: Workspace,
    environment: Environment,
    arguments: list[str],
    environ: Mapping[str, str],
    *,
    dependencies: bool = True,
) -> int:
    """Run a task after the tasks that it depends on, or a command; return the exit code.

    Raises:
        StandInError: A task depends on a task that does not exist, or on itself.
        RefusedError: A task takes arguments or contains a template.
    """
    if arguments[0] not in environment.tasks:
        text = arguments[0] if len(arguments) == 1 else shlex.join(arguments)
        return _shell(text, Path.cwd(), environ)
    order = _order(environment, arguments[0]) if dependencies else [arguments[0]]
    for name in order:
        extra = arguments[1:] if name == arguments[0] else []
        code = _task(workspace, environment.tasks[name], name, extra, environ)
        if code:
            return code
    return 0


def _order(environment: Environment, name: str, above: tuple[str, ...] = ()) -> list[str]:
    """Return the names of the tasks to run for the task `name`: each once, after the tasks that it depends on."""
    if name not in environment.tasks:
        raise StandInError(f"the task '{above[-1]}' depends on '{name}', which does not exist in '{environment.name}'")
    if name in above:
        raise StandInError(f"the task '{name}' depends on itself")
    order = [task for other in environment.tasks[name].depends_on for task in _order(environment, other, (*above, name))]
    return list(dict.fromkeys([*order, name]))


def _task(workspace: Workspace, task: Task, name: str, arguments: list[str], environ: Mapping[str, str]) -> int:
    if task.templated:
        raise RefusedError(f"the task '{name}' takes arguments or contains a template")
    if not task.command:
        return 0
    text = " ".join([task.command, *map(shlex.quote, arguments)])
    sys.stderr.write(f"Pixi task ({name}): {text}\n")
    return _shell(text, workspace.root / task.folder, {**environ, **dict(task.environment)})


def _shell(text: str, folder: Path, environ: Mapping[str, str]) -> int:
    sys.stdout.flush()
    code = subprocess.run(["/bin/sh", "-c", text], cwd=folder, env=dict(environ), check=False).returncode
    return code if code >= 0 else 128 - code
