"""Implement the command ``hpcdeploy lab``, which runs a test cluster on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from hpcdeploy.cli import show
from hpcdeploy.cli.options import AsJson

app = typer.Typer(no_args_is_help=True, help="Run a complete test cluster on this machine.")


@app.command()
def up(
    accounting: Annotated[
        bool, typer.Option("--accounting/--no-accounting", help="Run slurmdbd and MariaDB, so that sacct works.")
    ] = True,
    slurm: Annotated[
        str,
        typer.Option(
            "--slurm",
            metavar="RELEASE",
            help="Slurm release: 22.05, 24.11, 26.05 or newest; default: 24.11.",
            show_default=False,
        ),
    ] = "",
) -> None:
    """Start the lab: Slurm, HTCondor, a registry and an SSH server, on loopback."""
    from hpcdeploy_lab import cluster
    from hpcdeploy_lab.settings import default_settings

    cluster.up(default_settings(accounting=accounting, slurm=slurm), show.put)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show whether the lab is running, and its addresses."""
    from hpcdeploy_lab import cluster

    found = cluster.status()
    if as_json:
        show.as_json(found)
        return
    show.put(f"lab: {found['state']}")
    for name, word in found.get("services", {}).items():
        show.put(f"  {name:<10} {word}")
    for key in ("slurm", "ssh_config", "host", "registry", "logs"):
        if key in found:
            show.put(f"{key}: {found[key]}")


@app.command(context_settings={"ignore_unknown_options": True})
def shell(
    command: Annotated[list[str] | None, typer.Argument(help="Command and its arguments; default: a shell.")] = None,
    root: Annotated[bool, typer.Option("--root", help="Run as root instead of the lab's user.")] = False,
) -> None:
    """Run a command or a shell on the lab's login node."""
    import os
    import shlex
    import sys

    from hpcdeploy.errors import LabError
    from hpcdeploy_lab import cluster
    from hpcdeploy_lab.inside import inside_argv

    lab = cluster.find()
    if lab is None:
        raise LabError("no lab runs; start one with: hpcdeploy lab up")
    words = command or ["bash", "--login"]
    if sys.stdin.isatty() and sys.stdout.isatty():
        words = [
            "script",
            "-qec",
            shlex.join(words),
            "/dev/null",
        ]  # creates a terminal inside the lab, where our terminal does not exist
    environment = {"TERM": os.environ.get("TERM", "dumb")}
    argv = inside_argv(lab, words, user="root" if root else lab.user, environment=environment)
    os.execvp(argv[0], argv)  # noqa: S606 - the exit status and the terminal must be the command's own


@app.command()
def down() -> None:
    """Stop the lab and keep its files, so that the next start is fast."""
    from hpcdeploy_lab import cluster

    cluster.down(report=show.put)
