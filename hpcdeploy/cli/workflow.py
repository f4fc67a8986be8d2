"""Implement ``workflow``: print a GitHub Actions workflow that builds and pushes images."""

from pathlib import Path
from typing import Annotated

import typer

from hpcdeploy.cli import show
from hpcdeploy.cli.options import Overwrite
from hpcdeploy.cli.paths import path

DEFAULT = ".github/workflows/images.yaml"


def workflow(
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help=f"Output file, such as {DEFAULT}.", parser=path, metavar="PATH", show_default=False
        ),
    ] = None,
    install: Annotated[
        str | None,
        typer.Option(
            "--install",
            metavar="REQUIREMENT",
            help="Requirement that pip installs; default: this version of hpcdeploy.",
            show_default=False,
        ),
    ] = None,
    force: Overwrite = False,
) -> None:
    """Print a GitHub Actions workflow that builds and pushes images.

    With --output the text is written to a file. A file that hpcdeploy did not write is kept, unless --force is given.
    """
    from hpcdeploy.cli.place import here
    from hpcdeploy.flows.workflow import Workflow, render_workflow, repository_root, requirement, watched_paths
    from hpcdeploy.generated_file import write_generated
    from hpcdeploy.registry.asking import image_config
    from hpcdeploy.tags import read_git_facts

    project = here().project
    top = repository_root(project.root)
    own = output.resolve() if output else top / DEFAULT
    git = read_git_facts(project.root)
    subfolder = project.root.resolve().relative_to(top).as_posix()
    text = render_workflow(
        Workflow(
            images=tuple(project.images.values()),
            paths=watched_paths(
                project,
                own.relative_to(top).as_posix() if own.is_relative_to(top) else DEFAULT,
                image_config=image_config,
            ),
            branch=(git.default_branch if git else "") or "main",
            install=install or requirement(),
            subfolder="" if subfolder == "." else subfolder,
        ),
        overrides=project.root,
    )
    if output is None:
        show.exact(text)
        return
    write_generated({output: text}, force=force)
    show.say(f"wrote {output}")
