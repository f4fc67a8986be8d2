"""Render the activation script that ``shell-hook`` prints, and compute the variables that it sets."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping

from rattler.shell import ActivationVariables, PathModificationBehavior, Shell, activate

from hpcdeploy_lab.pixi_standin import StandInError
from hpcdeploy_lab.pixi_standin.workspace import Environment, Workspace

_SET_BY_SHELL = frozenset({"_", "SHLVL", "PWD", "OLDPWD", "PS1", "BASH_EXECUTION_STRING"})


def variables(workspace: Workspace, environment: Environment) -> dict[str, str]:
    """Return the variables that pixi sets in each environment (pixi's documentation, "Environment variables")."""
    full = workspace.name if environment.name == "default" else f"{workspace.name}:{environment.name}"
    return {
        "PIXI_PROJECT_ROOT": str(workspace.root),
        "PIXI_PROJECT_NAME": workspace.name,
        "PIXI_PROJECT_MANIFEST": str(workspace.manifest),
        "PIXI_PROJECT_VERSION": workspace.version,
        "PIXI_IN_SHELL": "1",
        "PIXI_EXE": os.path.abspath(sys.argv[0]),  # noqa: PTH100 - as called, without resolving links
        "CONDA_DEFAULT_ENV": full,
        "PIXI_ENVIRONMENT_NAME": environment.name,
        "PIXI_ENVIRONMENT_PLATFORMS": ",".join(environment.platforms),
        "PIXI_PROMPT": f"({full}) ",
    }


def script(workspace: Workspace, environment: Environment, environ: Mapping[str, str], *, prompt: bool = False) -> str:
    """Return the activation as a bash script.

    The order is pixi's: PATH and the prefix, the variables of pixi, the packages' scripts, the manifest's scripts, and the
    manifest's variables, whose values may contain other variables. The script contains the value of the current PATH. It
    does not contain completions.

    Args:
        workspace: The workspace.
        environment: The environment.
        environ: The variables of the shell that activates the environment.
        prompt: Whether the script also sets the prompt of an interactive shell.
    """
    path = [folder for folder in environ.get("PATH", "").split(os.pathsep) if folder]
    state = ActivationVariables(None, path, PathModificationBehavior.Replace)
    result = activate(workspace.prefix(environment.name), state, Shell.bash)
    base = [line for line in result.script.splitlines() if line]
    lines = [line for line in base if line.startswith("export ")]
    first = len(lines)
    lines += [f"export {name}={shlex.quote(value)}" for name, value in variables(workspace, environment).items()]
    lines += [line for line in base if line not in lines[:first]]
    for name in environment.scripts:
        if (workspace.root / name).is_file():
            lines.append(f". {shlex.quote(str(workspace.root / name))}")
        else:
            sys.stderr.write(f" WARN could not find activation scripts: {workspace.root / name}\n")
    lines += [f"export {name}={_expanding(value)}" for name, value in environment.variables.items()]
    if prompt:
        lines.append(f'export PS1="{variables(workspace, environment)["PIXI_PROMPT"]}${{PS1:-}}"')
    return "".join(f"{line}\n" for line in lines)


def activated(workspace: Workspace, environment: Environment, environ: Mapping[str, str]) -> dict[str, str]:
    """Run the activation in bash and return the variables that it adds or changes.

    Raises:
        StandInError: The activation script failed.
    """
    text = script(workspace, environment, environ) + f"exec {shlex.quote(sys.executable)} -I -c {shlex.quote(_PRINT)} >&3\n"
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as pipe:
        with os.fdopen(writer, "wb") as end:
            shell = subprocess.Popen(
                ["bash", "--noprofile", "--norc", "-c", f"exec 3>&{end.fileno()}\n{text}"],
                env=dict(environ),
                pass_fds=(end.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
            )
        dumped = pipe.read()
    if shell.wait() or not dumped:
        raise StandInError(
            f"the activation of '{environment.name}' failed with exit code {shell.returncode}; its script is:\n{text}"
        )
    after = dict(item.split("=", 1) for item in os.fsdecode(dumped).split("\0") if item)
    return {name: value for name, value in after.items() if name not in _SET_BY_SHELL and environ.get(name) != value}


def _expanding(value: str) -> str:
    """Quote a value so that the shell expands ``$`` in it, as rattler does.

    Source: ``Bash::set_env_var`` in ``crates/rattler_shell/src/shell/mod.rs``.
    """
    return '"' + value.replace('"', '\\"') + '"' if "$" in value else shlex.quote(value)


_PRINT = r"import os, sys; sys.stdout.buffer.write(b'\0'.join(n + b'=' + v for n, v in os.environb.items()))"
