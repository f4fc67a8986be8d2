"""The verbs of the command line by name, each imported when it is asked for: importing is most of what a short one costs."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from click import Command
from typer.core import TyperGroup
from typer.main import get_command, get_group

from hpcdeploy.cli.command_line import WithCommand


@dataclass(frozen=True, kw_only=True)
class Verb:
    """Where a verb stands: a module of `hpcdeploy.cli` and its function, or its app where there are verbs under the verb.

    ``takes_command`` says that the words after ``--`` are a program's (`WithCommand`).
    """

    module: str
    attribute: str
    takes_command: bool = False


VERBS = {
    "init": Verb(module="init", attribute="init"),
    "inspect": Verb(module="inspect", attribute="inspect"),
    "generate": Verb(module="generate", attribute="generate"),
    "build": Verb(module="build", attribute="build"),
    "push": Verb(module="push", attribute="push"),
    "workflow": Verb(module="workflow", attribute="workflow"),
    "run": Verb(module="here", attribute="run", takes_command=True),
    "shell": Verb(module="here", attribute="shell"),
    "instance": Verb(module="instance", attribute="app"),
    "render": Verb(module="job", attribute="render", takes_command=True),
    "submit": Verb(module="job", attribute="submit", takes_command=True),
    "status": Verb(module="runs", attribute="status"),
    "runs": Verb(module="runs", attribute="list_runs"),
    "wait": Verb(module="runs", attribute="wait"),
    "watch": Verb(module="watch", attribute="watch"),
    "logs": Verb(module="logs", attribute="logs"),
    "results": Verb(module="tasks", attribute="results"),
    "rerun": Verb(module="tasks", attribute="rerun", takes_command=True),
    "fetch": Verb(module="runs", attribute="fetch"),
    "cancel": Verb(module="runs", attribute="cancel"),
    "templates": Verb(module="templates", attribute="app"),
    "lab": Verb(module="lab", attribute="app"),
}
"""In the order in which ``--help`` lists them."""


class Verbs(TyperGroup):
    """The group of all verbs; a new one is a line of `VERBS`."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - what typer hands to a group
        """Know every name, for what was probably meant by a wrong one; nothing is imported."""
        super().__init__(**attributes)
        self.commands = {name: Command(name) for name in VERBS}

    def list_commands(self, _ctx: Any) -> list[str]:  # noqa: ANN401 - typer brings its own click and its types
        """Return the names in their order."""
        return list(VERBS)

    def get_command(self, _ctx: Any, cmd_name: str) -> Command | None:  # noqa: ANN401 - the same
        """Import the verb, or return None where there is none of that name."""
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        found = getattr(import_module(f"hpcdeploy.cli.{verb.module}"), verb.attribute)
        if isinstance(found, typer.Typer):
            group = get_group(found)
            group.name = cmd_name
            return group
        alone = typer.Typer(add_completion=False)
        alone.command(cmd_name, cls=WithCommand if verb.takes_command else None)(found)
        return get_command(alone)
