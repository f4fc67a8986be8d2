"""``hpcdeploy init``: a first settings file."""

from pathlib import Path
from typing import Annotated

import typer

from hpcdeploy.cli import show


def init(
    folder: Annotated[Path, typer.Argument(help="The project's folder.", exists=True, file_okay=False)] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a hpcdeploy.toml that is there.")] = False,
) -> None:
    """Write a commented hpcdeploy.toml from what a folder holds: pixi.toml, spack.yaml, a Dockerfile, git's origin."""
    from hpcdeploy.flows.init import init as write

    path = write(folder, force=force)
    show.put(f"wrote {path}; next: read it, then hpcdeploy generate")
