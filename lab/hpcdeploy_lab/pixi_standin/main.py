"""The command line of the stand-in: the supported commands and flags of pixi; others are refused with an error."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hpcdeploy_lab.pixi_standin import DESCRIPTION, VERSION, RefusedError, StandInError, activation, running, telling
from hpcdeploy_lab.pixi_standin.installing import install_environment, is_installed
from hpcdeploy_lab.pixi_standin.locking import Locked, check, locked, read_lock, virtual_specs
from hpcdeploy_lab.pixi_standin.machine import cache_folder, check_virtual, virtual_packages
from hpcdeploy_lab.pixi_standin.workspace import Environment, Workspace, find_manifest, read_workspace

CROSS = "\N{MULTIPLICATION SIGN}"
"""The sign that pixi prints before an error."""

UPDATE_FLAGS = {
    "info": (),
    "install": ("--frozen", "--locked"),
    "list": ("--frozen", "--locked", "--no-install"),
    "run": ("--frozen", "--locked", "--no-install", "--as-is"),
    "shell-hook": ("--frozen", "--locked", "--no-install", "--as-is"),
}
"""The flags of each command about updates of the lock file and the environment (pixi's command line reference)."""

ON = ("1", "true", "yes", "on")


class _Parser(argparse.ArgumentParser):
    """A parser that reports unknown arguments with the stand-in's own message."""

    def error(self, message: str) -> NoReturn:
        raise RefusedError(f"{self.prog}: {message}")


def start() -> NoReturn:
    """Run `main`, and end this process with its exit code.

    The interpreter's shutdown is skipped, because threads of py-rattler may still be running then. On a busy machine, 2 of
    about 200 runs ended with a segmentation fault during the shutdown, after a complete installation (py-rattler 0.28.0).
    """
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit code: 0, 1 for a failure, 2 for a request that the stand-in does not support.

    For `pixi run` it is the exit code of the command.
    """
    try:
        return _dispatch(list(sys.argv[1:] if argv is None else argv))
    except StandInError as error:
        sys.stderr.write(f"Error:   {CROSS} {error}\n")
        return error.exit_code
    except BrokenPipeError:
        return 1


def _dispatch(words: list[str]) -> int:
    arguments = _parser().parse_args(words)
    workspace = _workspace(arguments.manifest_path, getattr(arguments, "platform", None))
    if arguments.verb == "info":
        output = telling.info(workspace, virtual_packages(), str(cache_folder()))
        sys.stdout.write(json.dumps(output, indent=2) + "\n" if arguments.json else telling.info_text(output))
        return 0
    if workspace is None:
        raise StandInError(f"could not find pixi.toml or pyproject.toml at directory {Path.cwd()} or above it")
    if arguments.verb == "install":
        return _install(workspace, arguments)
    environment = workspace.environment(arguments.environment or os.environ.get("PIXI_ENVIRONMENT_NAME") or "default")
    content = _up_to_date(workspace, environment, arguments)
    if arguments.verb == "list":
        return _list(environment, content, arguments)
    if not workspace.prefix(environment.name).is_dir():
        raise StandInError(f"the environment '{environment.name}' is not installed at {workspace.prefix(environment.name)}")
    if arguments.verb == "run":
        environ = {**os.environ, **activation.activated(workspace, environment, os.environ)}
        return running.run(workspace, environment, arguments.words, environ, dependencies=not arguments.skip_deps)
    if arguments.json:
        output = {"environment_variables": activation.activated(workspace, environment, os.environ)}
        sys.stdout.write(json.dumps(output) + "\n")
        return 0
    sys.stdout.write(activation.script(workspace, environment, os.environ, prompt=arguments.change_ps1 == "true"))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="pixi", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", "-V", action="version", version=f"pixi {VERSION} ({DESCRIPTION})")
    _general(parser)
    verbs = parser.add_subparsers(
        dest="verb", required=True, metavar="info|install|shell-hook|list|run", parser_class=_Parser
    )
    made = {name: verbs.add_parser(name, allow_abbrev=False) for name in UPDATE_FLAGS}
    for name, verb in made.items():
        _general(verb, again=True)
        verb.add_argument("--manifest-path", "-m", default=None)
        if name not in ("info", "install"):
            verb.add_argument("--environment", "-e", default=None)
        for flag in UPDATE_FLAGS[name]:
            verb.add_argument(flag, action="store_true")
        if name in ("info", "list"):
            verb.add_argument("--json", action="store_true")
    made["install"].add_argument("--environment", "-e", action="append", default=[], dest="environments")
    made["install"].add_argument("--all", "-a", action="store_true")
    made["install"].add_argument("--platform", "-p", default="")
    form = made["shell-hook"].add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--shell", "-s", choices=["bash"])
    made["shell-hook"].add_argument("--change-ps1", choices=["true", "false"], default="true")
    made["shell-hook"].add_argument("--no-completions", action="store_true")
    made["list"].add_argument("regex", nargs="?")
    made["list"].add_argument("--explicit", "-x", action="store_true")
    made["run"].add_argument("--skip-deps", action="store_true")
    made["run"].add_argument("words", nargs=argparse.REMAINDER, metavar="TASK")
    return parser


def _general(parser: argparse.ArgumentParser, *, again: bool = False) -> None:
    """Add pixi's general flags, which have no effect in the stand-in; `again`: after the command instead of before it."""
    default: object = argparse.SUPPRESS if again else None
    parser.add_argument("--color", choices=["always", "never", "auto"], default=default)
    parser.add_argument("--no-progress", action="store_true", default=default)
    parser.add_argument("--quiet", "-q", action="count", default=default)
    parser.add_argument("--verbose", "-v", action="count", default=default)


def _workspace(given: str | None, platform: str | None) -> Workspace | None:
    # A workspace around the current folder takes precedence over that of an activated shell.
    manifest = find_manifest(given, Path.cwd()) or find_manifest(os.environ.get("PIXI_PROJECT_MANIFEST"), Path.cwd())
    return read_workspace(manifest, platform) if manifest else None


def _install(workspace: Workspace, arguments: argparse.Namespace) -> int:
    names = list(workspace.environments) if arguments.all else arguments.environments or ["default"]
    for name in names:
        environment = workspace.environment(name)
        if arguments.platform and arguments.platform not in environment.platforms:
            raise StandInError(f"platform '{arguments.platform}' is not part of environment '{name}'")
        _up_to_date(workspace, environment, arguments)
        sys.stderr.write(f"✔ The {name} environment has been installed.\n")
    return 0


def _up_to_date(workspace: Workspace, environment: Environment, arguments: argparse.Namespace) -> Locked:
    """Return the locked packages; compare the lock file with the manifest, and install the environment, if the flags allow.

    Raises:
        StandInError: The lock file is missing or, with ``--locked``, does not fit the manifest; or the installation fails.
        RefusedError: The lock file does not fit the manifest, or the flags contradict each other.
    """
    as_is = getattr(arguments, "as_is", False)
    frozen = arguments.frozen or as_is or os.environ.get("PIXI_FROZEN") in ON
    exact = arguments.locked or os.environ.get("PIXI_LOCKED") in ON
    if frozen and arguments.locked:
        raise RefusedError("--frozen and --locked contradict each other")
    lock = read_lock(workspace)
    if not frozen:
        try:
            check(workspace, lock)
        except StandInError as error:
            if exact:
                raise
            raise RefusedError(f"{error}; the lock file would have to be solved again") from error
    content = locked(workspace, lock, environment.name)
    if not (as_is or getattr(arguments, "no_install", False)):
        check_virtual(virtual_specs(content, environment.platform))
        if not is_installed(workspace, environment.name, content):
            install_environment(workspace, environment.name, content)
    return content


def _list(environment: Environment, content: Locked, arguments: argparse.Namespace) -> int:
    listed = [telling.package(record, environment) for record in content.records]
    listed += [telling.python_package(package, environment) for package in content.python]
    packages = telling.matching(listed, arguments.regex)
    if arguments.explicit:
        packages = [item for item in packages if item["is_explicit"]]
    sys.stdout.write(json.dumps(packages, indent=2) + "\n" if arguments.json else telling.table(packages))
    return 0
