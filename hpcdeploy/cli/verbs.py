"""The verbs of the command line by name, each imported when it is asked for: importing is most of what a short one costs."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from click import Command, Option
from typer.core import TyperGroup
from typer.main import get_command, get_group

from hpcdeploy.cli.command_line import WithCommand
from hpcdeploy.cli.trust import HELP, OPTION, trust_project


@dataclass(frozen=True, kw_only=True)
class Verb:
    """Where a verb stands: a module of `hpcdeploy.cli` and its function, or its app where there are verbs under the verb.

    ``takes_command`` says that the words after ``--`` are a program's (`WithCommand`). ``reaches`` says that it may connect
    to a cluster, and so has the option ``--trust-project``. ``help`` is what the verb says of itself (a test holds that it
    is the same), so that listing all of them imports none.
    """

    module: str
    attribute: str
    takes_command: bool = False
    reaches: bool = False
    help: str


VERBS = {
    "init": Verb(
        module="init",
        attribute="init",
        help="Write a commented hpcdeploy.toml from what a folder holds: pixi.toml, spack.yaml, a Dockerfile, git's origin.",
    ),
    "inspect": Verb(
        module="inspect",
        attribute="inspect",
        help="Show what is in an image, or will be: packages by size, what they want of a machine, what "
        "changed, labels, tests.",
    ),
    "generate": Verb(
        module="generate",
        attribute="generate",
        help="Print the Apptainer definition of an image, or its Dockerfile; or write it to a file.",
    ),
    "build": Verb(
        module="build",
        attribute="build",
        reaches=True,
        help="Generate an image's definition, build it, run its %test, and note what came out.",
    ),
    "push": Verb(
        module="push",
        attribute="push",
        reaches=True,
        help="Publish an image over ORAS, and print the reference that nobody can move: oras://...@sha256:...",
    ),
    "workflow": Verb(
        module="workflow",
        attribute="workflow",
        help="Print the GitHub Actions workflow that builds, tests and publishes the project's images, "
        "or write it to a file.",
    ),
    "run": Verb(
        module="here",
        attribute="run",
        takes_command=True,
        help="Run a job's command, or an image, on this machine now; its exit code is ours. (Jobs on a "
        "cluster: submit, runs.)",
    ),
    "shell": Verb(
        module="here",
        attribute="shell",
        help="Open a shell in an image, or in a job's, on this machine, with its environment active.",
    ),
    "instance": Verb(module="instance", attribute="app", help="Containers on this machine that go on by themselves."),
    "render": Verb(
        module="job",
        attribute="render",
        takes_command=True,
        help="Print the login-node script that would submit a job, and touch nothing: the very bytes "
        "that submit would send.",
    ),
    "submit": Verb(
        module="job",
        attribute="submit",
        reaches=True,
        takes_command=True,
        help="Submit a job, once: its image is made sure of, its run is noted, and a cut connection is "
        "answered by asking again.",
    ),
    "status": Verb(
        module="runs",
        attribute="status",
        reaches=True,
        help="Ask the clusters where runs are: one round trip a cluster, whatever the number of runs.",
    ),
    "runs": Verb(
        module="runs",
        attribute="list_runs",
        help="List the runs on record, as they were last known; nothing is asked of any cluster.",
    ),
    "wait": Verb(
        module="runs",
        attribute="wait",
        reaches=True,
        help="Wait until runs have ended; the exit code is the first one's that is not 0.",
    ),
    "watch": Verb(
        module="watch",
        attribute="watch",
        reaches=True,
        help="Show a table of runs and their tasks by state, drawn anew when something changes, until all have ended.",
    ),
    "logs": Verb(
        module="logs",
        attribute="logs",
        reaches=True,
        help="Print what a run's tasks wrote: their output on standard output, their errors on standard error.",
    ),
    "results": Verb(
        module="tasks",
        attribute="results",
        reaches=True,
        help="Show a run's tasks by their parameters: where each is, its exit code, how long it ran, and where.",
    ),
    "rerun": Verb(
        module="tasks",
        attribute="rerun",
        reaches=True,
        takes_command=True,
        help="Run the failed tasks of a run again, as a new run: with the project as it is now, and "
        "what these options change.",
    ),
    "fetch": Verb(
        module="runs",
        attribute="fetch",
        reaches=True,
        help="Bring home what a run wrote, its output and its logs; again: only what is not here yet, or has changed.",
    ),
    "cancel": Verb(module="runs", attribute="cancel", reaches=True, help="Cancel runs that have not ended."),
    "templates": Verb(
        module="templates",
        attribute="app",
        help="The templates that text is made from, and the project's own in their place.",
    ),
    "lab": Verb(module="lab", attribute="app", help="A whole cluster on this machine, for the demo and the tests."),
}
"""In the order in which ``--help`` lists them."""


class NobodyReadsError(Exception):
    """Whoever read our output has read enough (``head``, ``less``); under its own name click would make it exit code 1."""


class Verbs(TyperGroup):
    """The group of all verbs; a new one is a line of `VERBS`."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - what typer hands to a group
        """Know every name, for what was probably meant by a wrong one; nothing is imported."""
        super().__init__(**attributes)
        self.commands = {name: Command(name, help=verb.help) for name, verb in VERBS.items()}
        self._listing = False

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer brings its own click and its types
        """Write the help text, out of what the table says."""
        self._listing = True
        super().format_help(ctx, formatter)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer brings its own click and its types
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise NobodyReadsError from error

    def list_commands(self, _ctx: Any) -> list[str]:  # noqa: ANN401 - typer brings its own click and its types
        """Return the names in their order."""
        return list(VERBS)

    def get_command(self, _ctx: Any, cmd_name: str) -> Command | None:  # noqa: ANN401 - the same
        """Import the verb, or return None where there is none of that name."""
        verb = VERBS.get(cmd_name)
        if verb is None or self._listing:
            return self.commands.get(cmd_name)
        found = getattr(import_module(f"hpcdeploy.cli.{verb.module}"), verb.attribute)
        if isinstance(found, typer.Typer):
            group = get_group(found)
            group.name = cmd_name
            return group
        alone = typer.Typer(add_completion=False)
        alone.command(cmd_name, cls=WithCommand if verb.takes_command else None)(found)
        command = get_command(alone)
        if verb.reaches:
            command.params.append(_trust_option())
        return command


def _trust_option() -> Option:
    """Make the option of every verb that may connect to a cluster; what it says is done before the verb runs."""

    def given(_context: object, _option: object, value: object) -> None:
        if value:
            trust_project()

    return Option([OPTION], is_flag=True, expose_value=False, callback=given, help=HELP)
