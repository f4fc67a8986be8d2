"""The verb ``workflow``: images built and published by GitHub Actions."""

from pathlib import Path
from typing import Annotated

import typer

from hpcdeploy.cli import show

DEFAULT = ".github/workflows/images.yaml"


def workflow(
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help=f"Output file, such as {DEFAULT}.", show_default=False),
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
) -> None:
    """Print a GitHub Actions workflow that builds and pushes images.

    With --output the text is written to a file.
    """
    from hpcdeploy.cli.place import here
    from hpcdeploy.flows.installed import requirement
    from hpcdeploy.flows.workflow import Workflow, render_workflow
    from hpcdeploy.flows.workflow_paths import repository_root, watched_paths
    from hpcdeploy.registry.asking import image_config
    from hpcdeploy.tags import read_git_facts
    from hpcdeploy.whole_file import write_whole

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
    write_whole(output, text)
    show.say(f"wrote {output}")
