"""Activate an installed environment on this machine, and find the variables that it sets."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcdeploy.checked_values import read_json
from hpcdeploy.errors import BuildError, MissingProgramError
from hpcdeploy.limits import interrupts_held
from hpcdeploy.regular_file import UnsuitableFileError, read_regular

if TYPE_CHECKING:
    from hpcdeploy.direct.environment import Workspace

_TIMEOUT = 600
"""Maximum time of the activation in seconds. The second activation, with other variables, has half of it."""

_KEPT_OUTPUT = 4000
_LARGEST_JSON = 100_000_000
"""Maximum size in bytes of a JSON file of a package, such as its record with the names of its files."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def pixi_hook(workspace: "Workspace", path: str) -> str:
    """Return the script that ``pixi shell-hook`` would print, with paths of this machine.

    The order is pixi's: PATH and the prefix, pixi's variables, the scripts of packages, those of the workspace, and
    the variables of ``[activation.env]`` (prefix-dev/pixi, ``get_activator`` in crates/pixi_core/src/activation.rs).
    Variables of packages are in ``etc/conda/env_vars.d`` and ``conda-meta/state`` (conda's documentation, "Managing
    environments").

    Args:
        workspace: The workspace with its installed environment.
        path: The value of PATH in the image, without characters that a shell expands.
    """
    prefix = workspace.prefix
    full = workspace.name if workspace.environment == "default" else f"{workspace.name}:{workspace.environment}"
    variables = {
        "CONDA_SHLVL": "1",
        "CONDA_PREFIX": str(prefix),
        "PIXI_PROJECT_ROOT": str(workspace.folder),
        "PIXI_PROJECT_NAME": workspace.name,
        "PIXI_PROJECT_MANIFEST": str(workspace.folder / workspace.manifest),
        **({"PIXI_PROJECT_VERSION": workspace.version} if workspace.version else {}),
        "PIXI_IN_SHELL": "1",
        "CONDA_DEFAULT_ENV": full,
        "PIXI_ENVIRONMENT_NAME": workspace.environment,
        "PIXI_ENVIRONMENT_PLATFORMS": ",".join(workspace.platforms),
        "PIXI_PROMPT": f"({full}) ",
    }
    lines = [f'export PATH="{prefix}/bin:{path}"']
    lines += [f"export {name}={shlex.quote(value)}" for name, value in {**variables, **_package_variables(prefix)}.items()]
    lines += [f". {shlex.quote(str(script))}" for script in sorted((prefix / "etc/conda/activate.d").glob("*.sh"))]
    lines += [f". {shlex.quote(str(workspace.folder / name))}" for name in workspace.scripts]
    lines += [f"export {name}={_expanding(value)}" for name, value in workspace.activation]
    lines.append(f'export PS1="({full}) ${{PS1:-}}"')
    return "".join(f"{line}\n" for line in lines)


def _package_variables(prefix: Path) -> dict[str, str]:
    """Return the variables of packages.

    Raises:
        BuildError: A file of a package is malformed, too large, or a link out of the environment.
    """
    found: dict[str, str] = {}
    for path in sorted((prefix / "etc/conda/env_vars.d").glob("*.json")):
        found |= _strings(read_json_of(path, prefix), path)
    state = prefix / "conda-meta" / "state"
    if state.is_file():
        found |= _strings(read_json_of(state, prefix).get("env_vars", {}), state)
    return {name: value for name, value in found.items() if NAME.fullmatch(name)}


def _strings(values: object, path: Path) -> dict[str, str]:
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise BuildError(f"{path} is no table of strings; install another build of the package that contains it")
    return values


def read_json_of(path: Path, prefix: Path) -> dict[str, Any]:
    """Return the JSON object in a file of the environment at `prefix`.

    Raises:
        BuildError: The file is malformed, too large, or a link out of the environment, where it could name a file with
            secrets of this machine.
    """
    if not path.resolve().is_relative_to(prefix.resolve()):
        raise BuildError(f"{path} is a link out of the environment; install another build of the package that contains it")
    try:
        values = read_json(read_regular(path, _LARGEST_JSON))
    except (OSError, ValueError, UnsuitableFileError) as error:
        raise BuildError(f"{path} cannot be read: {error}; install another build of the package that contains it") from error
    if not isinstance(values, dict):
        raise BuildError(f"{path} is no JSON object; install another build of the package that contains it")
    return values


def _expanding(value: str) -> str:
    """Quote a value so that the shell expands ``$`` in it, as pixi does.

    Source: ``Bash::set_env_var`` in crates/rattler_shell/src/shell/mod.rs of conda/rattler.
    """
    return '"' + value.replace('"', '\\"') + '"' if "$" in value else shlex.quote(value)


def activate(folder: Path, hook: str, script: str, path: str) -> tuple[str, tuple[str, ...]]:
    """Run the activation in this machine's bash, and return the variables that it sets, as lines of a shell script.

    Args:
        folder: The workspace's folder.
        hook: The script that activates the environment.
        script: The script that compares the variables (``defs/pixi_activation.sh``).
        path: The value of PATH in the image.

    Returns:
        The lines, with paths of this machine; and notes for the user.

    Raises:
        BuildError: The activation failed; the message has its output.
        MissingProgramError: This machine has no bash.
    """
    bash = shutil.which("bash")
    if not bash:
        raise MissingProgramError("activating the environment needs bash, which is not on this machine's PATH; install it")
    private = folder / ".hpcdeploy"
    private.mkdir()
    (private / "hook").write_text(hook, errors="surrogateescape")
    environment = {"PATH": path, "HOME": str(private)}
    try:
        with interrupts_held():
            process = subprocess.Popen(
                [bash, "--noprofile", "--norc", "-c", script, "activation", str(private)],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            output = process.communicate(timeout=_TIMEOUT)[0].decode(errors="replace")
        except subprocess.TimeoutExpired as error:
            raise BuildError(f"activating the environment took more than {_TIMEOUT} s") from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.wait()
        result = folder / "activate.sh"
        if process.returncode or not result.is_file():
            raise BuildError(f"activating the environment failed:\n{output.strip()[-_KEPT_OUTPUT:]}")
        text = result.read_text(errors="surrogateescape")
        result.unlink()
    finally:
        shutil.rmtree(private, ignore_errors=True)
    notes = (line.removeprefix("hpcdeploy: note: ") for line in output.splitlines() if line.startswith("hpcdeploy: note: "))
    return text, tuple(notes)
