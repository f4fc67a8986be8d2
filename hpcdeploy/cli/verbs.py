"""Define the verbs of the command line.

The module of a verb is imported when the verb is used, because imports take most of the time of a short command.
"""

import os
import sys
from importlib import import_module
from typing import Any

import typer
from click import Command, Option
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from hpcdeploy.cli.command_line import WithCommand
from hpcdeploy.cli.trust import HELP, OPTION, trust_project
from hpcdeploy.errors import MissingProgramError
from hpcdeploy.frozen import frozen


@frozen
class Verb:
    """A verb.

    Attributes:
        module: The name of the module in `hpcdeploy.cli`.
        attribute: The name of the function in the module; for a verb with subcommands, of the `typer.Typer`.
        takes_command: Whether the arguments after ``--`` are a program and its arguments (`WithCommand`).
        reaches: Whether the verb has the option ``--trust-project``, because it may connect to a cluster or use files
            outside of the project's folder.
        panel: The heading above the verb in ``--help``.
        help: The first line of the function's docstring. It is repeated here so that ``--help`` imports no verb; a test
            compares the two.
    """

    module: str
    attribute: str
    takes_command: bool = False
    reaches: bool = False
    panel: str
    help: str


VERBS = {
    "init": Verb(
        module="generated_files", attribute="init", panel="Images", help="Write a commented hpcdeploy.toml for a project."
    ),
    "inspect": Verb(
        module="inspect",
        attribute="inspect",
        panel="Images",
        help="Show an image's packages, sizes, requirements and changes.",
    ),
    "generate": Verb(
        module="generated_files",
        attribute="generate",
        panel="Images",
        help="Print an image's Apptainer definition or Dockerfile.",
    ),
    "build": Verb(
        module="build",
        attribute="build",
        reaches=True,
        panel="Images",
        help="Build and test an image, here or on a cluster.",
    ),
    "cache": Verb(
        module="cache",
        attribute="app",
        reaches=True,
        panel="Images",
        help="List, prune or verify kept images and downloads.",
    ),
    "push": Verb(
        module="push",
        attribute="push",
        reaches=True,
        panel="Images",
        help="Push an image to a registry and print its immutable reference.",
    ),
    "tags": Verb(
        module="tags",
        attribute="tags",
        panel="Images",
        help="List tags with digest, date and size, newest first.",
    ),
    "workflow": Verb(
        module="generated_files",
        attribute="workflow",
        panel="Images",
        help="Print a GitHub Actions workflow that builds and pushes images.",
    ),
    "render": Verb(
        module="job",
        attribute="render",
        takes_command=True,
        panel="Jobs",
        help="Print the script that submit would run on the login node.",
    ),
    "submit": Verb(
        module="job",
        attribute="submit",
        takes_command=True,
        reaches=True,
        panel="Jobs",
        help="Submit a job exactly once, even if the connection drops.",
    ),
    "rerun": Verb(
        module="tasks",
        attribute="rerun",
        takes_command=True,
        reaches=True,
        panel="Jobs",
        help="Submit the failed tasks of a run again, as a new run.",
    ),
    "runs": Verb(
        module="runs", attribute="list_runs", panel="Runs", help="List recorded runs with their last known state (offline)."
    ),
    "status": Verb(
        module="runs", attribute="status", reaches=True, panel="Runs", help="Query the clusters for the state of runs."
    ),
    "wait": Verb(
        module="runs",
        attribute="wait",
        reaches=True,
        panel="Runs",
        help="Wait for runs to finish and exit with their exit code.",
    ),
    "watch": Verb(
        module="watch",
        attribute="watch",
        reaches=True,
        panel="Runs",
        help="Show a live table of runs until all have finished.",
    ),
    "logs": Verb(
        module="logs",
        attribute="logs",
        reaches=True,
        panel="Runs",
        help="Print the standard output and standard error of tasks.",
    ),
    "results": Verb(
        module="tasks",
        attribute="results",
        reaches=True,
        panel="Runs",
        help="Show each task's parameters, state, exit code and elapsed time.",
    ),
    "fetch": Verb(
        module="runs", attribute="fetch", reaches=True, panel="Runs", help="Download the output and logs of a run."
    ),
    "cancel": Verb(
        module="cancel", attribute="cancel", reaches=True, panel="Runs", help="Cancel runs that have not finished."
    ),
    "clean": Verb(
        module="clean",
        attribute="clean",
        reaches=True,
        panel="Clusters",
        help="Remove old runs' folders and staged files from a cluster.",
    ),
    "run": Verb(
        module="local_containers",
        attribute="run",
        takes_command=True,
        reaches=True,
        panel="This machine",
        help="Run a job's command or an image on this machine.",
    ),
    "shell": Verb(
        module="local_containers",
        attribute="shell",
        reaches=True,
        panel="This machine",
        help="Open a shell in an image on this machine.",
    ),
    "instance": Verb(
        module="local_containers", attribute="app", panel="This machine", help="Manage container instances on this machine."
    ),
    "templates": Verb(
        module="templates",
        attribute="app",
        panel="This machine",
        help="List, show and copy the templates for generated files.",
    ),
    "schema": Verb(
        module="schema",
        attribute="schema",
        panel="This machine",
        help="Print the JSON Schema of hpcdeploy.toml for editors.",
    ),
}
"""The verbs in the order of ``--help``."""

ENTRY_POINTS = "hpcdeploy.verbs"
"""Group of the entry points that add verbs of other distributions, such as ``lab`` of hpcdeploy-lab.

Each entry point names a `typer.Typer`. They are looked up only for ``--help``, for completion, and for a verb that is not in
`VERBS`, because the lookup is slow: it reads the metadata of every installed distribution.
"""

_ADDED_PANEL = "This machine"

COMPLETE = "_HPCDEPLOY_COMPLETE"
"""The environment variable that the completion scripts of typer set for the command ``hpcdeploy``."""


class ClosedOutputError(Exception):
    """The reader of our output has closed the pipe, as ``head`` and ``less`` do.

    This error replaces BrokenPipeError, which click would convert to exit code 1.
    """


class Verbs(TyperGroup):
    """The group of all verbs, defined by `VERBS`."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - what typer hands to a group
        """Register the names of all verbs without importing the verbs, so that messages can correct misspelt names."""
        super().__init__(**attributes)
        self.commands = {
            name: TyperCommand(name, help=verb.help, short_help=verb.help, rich_help_panel=verb.panel)
            for name, verb in VERBS.items()
        }
        self._listing = False

    def main(self, *words: Any, **options: Any) -> Any:  # noqa: ANN401 - typer bundles its own click and types
        """Run the command line, or complete it if a shell has set the variable of typer's completion scripts."""
        if COMPLETE in os.environ or any(word.endswith("-completion") for word in sys.argv):
            from hpcdeploy.cli.completion import adapt_shells

            adapt_shells()
        return super().main(*words, **options)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:  # noqa: ANN401 - the same
        """Return the verbs and options that begin with `incomplete`; no verb is imported, which took half of the time."""
        self._list_all()
        return super().shell_complete(ctx, incomplete)

    def _list_all(self) -> None:
        """Add the verbs of other distributions, and let `get_command` return verbs that have only a name and a help text."""
        for name, app in _added().items():
            text = str(app.info.help).partition("\n")[0]
            self.commands[name] = TyperCommand(name, help=app.info.help, short_help=text, rich_help_panel=_ADDED_PANEL)
        self._listing = True

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer bundles its own click and types
        """Write the help text from `VERBS` and the verbs of other distributions."""
        self._list_all()
        super().format_help(ctx, formatter)

    def format_commands(self, _ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer bundles its own click and types
        """Write the verbs below their headings, as typer does with rich."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            panel = VERBS[name].panel if name in VERBS else _ADDED_PANEL
            panels.setdefault(panel, []).append((name, command.help or ""))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer bundles its own click and types
        """Run the verb.

        Raises:
            ClosedOutputError: The reader of our output has closed the pipe.
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ClosedOutputError from error

    def list_commands(self, _ctx: Any) -> list[str]:  # noqa: ANN401 - typer bundles its own click and types
        """Return the names of all verbs in the order of ``--help``."""
        return [*VERBS, *_added()]

    def get_command(self, _ctx: Any, cmd_name: str) -> Command | None:  # noqa: ANN401 - the same
        """Return a verb, which is imported unless ``--help`` only lists it; None if there is no such verb.

        Raises:
            MissingProgramError: The verb is ``lab``, and its distribution is not installed.
        """
        verb = VERBS.get(cmd_name)
        if self._listing:
            return self.commands.get(cmd_name)
        if verb is None:
            added = _added().get(cmd_name)
            if added is None and cmd_name == "lab":
                raise MissingProgramError(
                    "the lab is in a separate package, hpcdeploy-lab, which is not installed. Install it into "
                    "hpcdeploy's environment: run pip install ./lab in a clone of hpcdeploy"
                )
            return _group(added, cmd_name) if added else None
        found = getattr(import_module(f"hpcdeploy.cli.{verb.module}"), verb.attribute)
        if isinstance(found, typer.Typer):
            group = _group(found, cmd_name)
            for command in getattr(group, "commands", {}).values() if verb.reaches else ():
                command.params.append(_trust_option())
            return group
        alone = typer.Typer(add_completion=False)
        alone.command(cmd_name, cls=WithCommand if verb.takes_command else None)(found)
        command = get_command(alone)
        if verb.reaches:
            command.params.append(_trust_option())
        return command


def _group(app: typer.Typer, name: str) -> Command:
    group = get_group(app)
    group.name = name
    return group


def _added() -> dict[str, typer.Typer]:
    """Import and return the verbs of other distributions, by name; verbs with a name in `VERBS` are left out."""
    from importlib.metadata import entry_points

    return {point.name: point.load() for point in entry_points(group=ENTRY_POINTS) if point.name not in VERBS}


def _trust_option() -> Option:
    """Return the option ``--trust-project``, which takes effect before the verb runs."""

    def given(_context: object, _option: object, value: object) -> None:
        if value:
            trust_project()

    return Option([OPTION], is_flag=True, expose_value=False, callback=given, help=HELP)
