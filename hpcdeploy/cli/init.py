"""Implement ``init``: write a first settings file."""

from pathlib import Path
from typing import Annotated

import typer

from hpcdeploy.cli import show
from hpcdeploy.cli.paths import folder as existing_folder


def init(
    folder: Annotated[Path, typer.Argument(help="Project folder.", parser=existing_folder, metavar="[FOLDER]")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing hpcdeploy.toml.")] = False,
) -> None:
    """Write a commented hpcdeploy.toml for a project.

    It is made from the files of the folder: pixi.toml, spack.yaml, a Dockerfile, and git's origin.
    """
    from hpcdeploy.flows.init import init as write

    path = write(folder, force=force)
    show.put(f"wrote {path}; next: read it, then hpcdeploy generate")
