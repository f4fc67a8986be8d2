"""Prompt before a project's settings run commands to reach a cluster, or name files outside of the project's folder.

The answer yes is stored, so that there is only one prompt for the same commands and files.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdeploy.errors import ConfigError
from hpcdeploy.plain_text import one_line

if TYPE_CHECKING:
    from hpcdeploy.cluster import Cluster
    from hpcdeploy.config.named_files import Admit, NamedFile
    from hpcdeploy.flows.trust import Command
    from hpcdeploy.image import ImageSettings, Secret

VARIABLE = "HPCDEPLOY_TRUST_PROJECT"
OPTION = "--trust-project"
HELP = f"Allow the commands and outside files in the project's settings (or {VARIABLE}=1)."

_ADVICE_ON_COMMANDS = "describe the cluster in your own settings"
_YES = frozenset({"1", "true", "yes", "on"})
_refused: "set[tuple[Cluster, tuple[Command, ...]]]" = set()
"""Commands that the user rejected in this process; there is no second prompt for them."""


def trust_project() -> None:
    """Apply the option ``--trust-project`` to this command and its child processes, by setting the variable."""
    os.environ[VARIABLE] = "1"


def admit(cluster: "Cluster") -> None:
    """Check that `cluster` may be used, and prompt if the project's settings run commands to reach it.

    The answer yes is stored for the project, the cluster and these commands.

    Raises:
        ConfigError: The user rejected the commands, there is no terminal for the prompt, or other users can write the
            stored answers.
    """
    if _trusts_all():
        return
    from hpcdeploy.flows.trust import commands_of, is_remembered, remember

    commands = commands_of(cluster)
    if not commands or is_remembered(cluster, commands):
        return
    use = f"runs commands to reach the cluster {cluster.name}"
    _ask_about(
        cluster,
        commands,
        f"{use}, before you submit anything",
        lambda why: _refusal(cluster.project, f"{use} ({_listed(commands)})", why, _ADVICE_ON_COMMANDS),
    )
    remember(cluster, commands)


def admit_on(cluster: "Cluster", root: Path) -> "Admit":
    """Return a function that prompts before files outside of the project `root` are sent to `cluster`."""
    return partial(_admit_files, replace(cluster, project=str(root)), "file", f"sends to the cluster {cluster.name}")


def admit_here(root: Path) -> "Admit":
    """Return a function that prompts before a container on this machine can read files outside of the project `root`."""
    return partial(_admit_files, _this_machine(root), "file", "shows to its container on this machine")


def admit_build(root: Path, on: "Cluster | None") -> "Admit":
    """Return a function that prompts before a build reads files outside of the project `root` as secrets.

    `on` is the cluster of the build; None for a build on this machine.
    """
    where = f"on the cluster {on.name}" if on else "on this machine"
    cluster = replace(on, project=str(root)) if on else _this_machine(root)
    return partial(_admit_files, cluster, "secret", f"reads as secrets of a build {where}")


def confirm_ahead_of_builds(
    images: "Iterable[ImageSettings]", given: "Iterable[Secret]", root: Path, on: "Cluster | None"
) -> None:
    """Prompt for files of secrets of `images` outside of the project `root`, before builds start as child processes.

    There is no prompt for the secrets in `given`, whose source the user named on the command line. If the user rejects a
    file, the build that needs it reports the error.
    """
    from hpcdeploy.config.named_files import files_of_secrets, outside

    overridden = {secret.name for secret in given}
    for image in images:
        names = {secret.name for secret in image.secrets} - overridden
        if files := outside(files_of_secrets(image.secrets, names, root), root):
            with suppress(ConfigError):
                admit_build(root, on)(files)


def _admit_files(cluster: "Cluster", kind: str, use: str, files: "tuple[NamedFile, ...]") -> None:
    """Check that the user allows the project to use each of `files`, and prompt for the files that are new.

    The answer yes is stored for each file separately.

    Args:
        cluster: The cluster that gets the files. Its field ``project`` is the project's folder.
        kind: The kind of use, which is a part of the stored answer: ``file`` or ``secret``.
        use: How the project uses the files, as a verb phrase for the prompt, such as "reads as secrets of a build".
        files: The files.

    Raises:
        ConfigError: The user rejected the files, there is no terminal for the prompt, or other users can write the
            stored answers.
    """
    if _trusts_all():
        return
    from hpcdeploy.flows.trust import files_as_commands, is_remembered, remember

    new = tuple(one for one in files_as_commands(cluster, kind, files) if not is_remembered(cluster, one.remembered))
    if not new:
        return
    shown = tuple(one.shown for one in new)
    _ask_about(
        cluster,
        shown,
        f"{use} files outside of its folder",
        lambda why: _refusal(
            cluster.project, f"{use} files outside of its folder ({_listed(shown)})", why, "name them in the command"
        ),
    )
    for one in new:
        remember(cluster, one.remembered)


def _trusts_all() -> bool:
    return os.environ.get(VARIABLE, "").lower() in _YES


def _this_machine(root: Path) -> "Cluster":
    """Return a `Cluster` that represents this machine in stored answers. Its name is empty, as that of no real cluster."""
    from hpcdeploy.cluster import Cluster

    return Cluster(name="", project=str(root))


def _ask_about(cluster: "Cluster", commands: "tuple[Command, ...]", use: str, refusal: "Callable[[str], str]") -> None:
    """Prompt whether the project may use `commands`.

    Args:
        cluster: The cluster. Its field ``project`` is the project's folder.
        commands: The commands or files to show.
        use: How the project uses the commands or files, as a verb phrase for the prompt.
        refusal: A function that returns the error message, given the reason for the refusal.

    Raises:
        ConfigError: The user rejected the commands or files, or there is no terminal for the prompt.
    """
    from hpcdeploy.transport.prompts import terminal_ask

    ask = terminal_ask()
    if ask is None or (cluster, commands) in _refused:
        raise ConfigError(refusal("there is no terminal" if ask is None else "you did not allow it"))
    lines = "".join(f"  {one_line(command.text)}\n" for command in commands)
    answer = ask(
        f"The project {one_line(cluster.project)} {use}:\n{lines}Allow this until one of these lines changes? [y/N] ", True
    )
    if answer.strip().lower() not in ("y", "yes"):
        _refused.add((cluster, commands))
        raise ConfigError(refusal("you did not allow it"))


def confirm_ahead(clusters: "Mapping[str, Cluster]", names: Iterable[str]) -> None:
    """Prompt for the clusters `names` now, because no prompt can be shown later, such as in child processes.

    If the user rejects the commands of a cluster, the error is reported when the cluster is used.
    """
    for name in dict.fromkeys(names):
        if name in clusters:
            with suppress(ConfigError):
                admit(clusters[name])


def _listed(commands: "tuple[Command, ...]") -> str:
    texts = [one_line(command.text) for command in commands]
    return "; ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")


def _refusal(project: str, use: str, why: str, advice: str) -> str:
    return (
        f"the project {one_line(project)} {use}, but {why}. To allow this, run the same command in a terminal,"
        f" or with {OPTION} ({VARIABLE}=1 for scripts); or {advice}"
    )
