"""Prompt once before a project's files run commands that the user did not submit."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from hpcdeploy.errors import ConfigError
from hpcdeploy.plain_text import one_line

if TYPE_CHECKING:
    from hpcdeploy.cluster import Cluster
    from hpcdeploy.flows.trust import Command

VARIABLE = "HPCDEPLOY_TRUST_PROJECT"
OPTION = "--trust-project"
HELP = f"Allow the project's files to run commands on clusters without confirmation (or {VARIABLE}=1)."

_YES = frozenset({"1", "true", "yes", "on"})
_refused: "set[tuple[Cluster, tuple[Command, ...]]]" = set()
"""Commands that the user rejected in this process, so that there is only one prompt."""


def trust_project() -> None:
    """Apply the option, for this command and its child processes."""
    os.environ[VARIABLE] = "1"


def admit(cluster: "Cluster") -> None:
    """Check that `cluster` may be used: the project's files run no commands for it, or the user allows them.

    The prompt is shown once for a project's cluster and its commands.

    Raises:
        ConfigError: The user rejected them, or there is no terminal.
    """
    if os.environ.get(VARIABLE, "").lower() in _YES:
        return
    from hpcdeploy.flows.trust import commands_of, is_remembered, remember
    from hpcdeploy.transport.asking import terminal_ask

    commands = commands_of(cluster)
    if not commands or is_remembered(cluster, commands):
        return
    ask = terminal_ask()
    if ask is None or (cluster, commands) in _refused:
        raise ConfigError(_refusal(cluster, commands, "there is no terminal" if ask is None else "you did not allow it"))
    lines = "".join(f"  {one_line(command.text)}\n" for command in commands)
    answer = ask(
        f"The project {one_line(cluster.project)} runs commands to reach the cluster {cluster.name}, before you submit"
        f" anything:\n{lines}Allow it, as long as these stay the same? [y/N] ",
        True,
    )
    if answer.strip().lower() not in ("y", "yes"):
        _refused.add((cluster, commands))
        raise ConfigError(_refusal(cluster, commands, "you did not allow it"))
    remember(cluster, commands)


def ask_ahead(clusters: "Mapping[str, Cluster]", names: Iterable[str]) -> None:
    """Prompt for those of `clusters` that will be used without a terminal, such as in child processes.

    A rejection is reported when the cluster is used.
    """
    for name in dict.fromkeys(names):
        if name in clusters:
            with suppress(ConfigError):
                admit(clusters[name])


def _refusal(cluster: "Cluster", commands: "tuple[Command, ...]", why: str) -> str:
    texts = [one_line(command.text) for command in commands]
    more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
    return (
        f"the project {one_line(cluster.project)} runs commands to reach the cluster {cluster.name}"
        f" ({'; '.join(texts[:3])}{more}), but {why}. Allow them once: run the same command in a terminal,"
        f" or with {OPTION} ({VARIABLE}=1 for scripts); or describe the cluster in your own settings"
    )
