"""Implement ``init``, ``generate`` and ``workflow``, which write settings, definitions and a workflow for a project."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import show
from hpcdeploy.cli.image_options import (
    All,
    BuildArguments,
    GivenArguments,
    ImageNames,
    build_args_of,
    definition_of,
)
from hpcdeploy.cli.options import Overwrite, spread
from hpcdeploy.cli.paths import folder as existing_folder
from hpcdeploy.cli.paths import path

if TYPE_CHECKING:
    from hpcdeploy.cli.place import Place
    from hpcdeploy.image import ImageSettings


def init(
    folder: Annotated[Path, typer.Argument(help="Project folder.", parser=existing_folder, metavar="[FOLDER]")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing hpcdeploy.toml.")] = False,
) -> None:
    """Write a commented hpcdeploy.toml for a project.

    The settings are derived from files of the folder (pixi.toml, spack.yaml, a Dockerfile) and from git's remote origin.
    Tasks of the Pixi workspace are added as commented jobs.
    """
    from hpcdeploy.flows.init import init as write

    written = write(folder, force=force)
    show.put(f"wrote {written}; next: check its settings, then run hpcdeploy generate")


class Format(StrEnum):
    """The format of the text that ``generate`` writes: a definition for Apptainer, or a Dockerfile."""

    definition = "definition"
    dockerfile = "dockerfile"


@spread
def generate(
    arguments: GivenArguments,
    images: ImageNames = None,
    every: All = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Output file; with several images a folder for NAME.def files.",
            parser=path,
            metavar="PATH",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="Apptainer definition, or Dockerfile with a .dockerignore.")
    ] = Format.definition,
    force: Overwrite = False,
) -> None:
    """Print an image's Apptainer definition or Dockerfile.

    With --output the text is written to a file. A file that hpcdeploy did not write is only overwritten with --force.
    """
    from functools import partial

    from hpcdeploy.cli import many
    from hpcdeploy.cli.place import here
    from hpcdeploy.config.resolution import choose_images
    from hpcdeploy.errors import ConfigError

    place = here()
    chosen = choose_images(place.project, images or (), every=every)
    write = partial(_dockerfile if form is Format.dockerfile else _definition, place, build_args_of(arguments), force=force)
    if len(chosen) == 1:
        write(chosen[0], output)
        return
    suffix = ".Dockerfile" if form is Format.dockerfile else ".def"
    if output is None:
        raise ConfigError(
            f"{len(chosen)} images cannot be printed as one text; use -o FOLDER to write each to FOLDER/NAME{suffix}"
        )
    many.generate({one.name: partial(write, one, output / f"{one.name}{suffix}") for one in chosen})


def _definition(
    place: "Place", build_args: BuildArguments, settings: "ImageSettings", target: Path | None, *, force: bool
) -> None:
    """Print the definition, or write it to `target`."""
    from hpcdeploy.generated_file import write_generated

    text = definition_of(place, settings, build_args).text
    if target is None:
        show.exact(text)
        return
    write_generated({target: text}, force=force, record=place.store)
    show.say(f"wrote {target}")


def _dockerfile(
    place: "Place", build_args: BuildArguments, settings: "ImageSettings", target: Path | None, *, force: bool
) -> None:
    """Print the Dockerfile; or write it to `target`, and its ignore file into the same folder."""
    from hpcdeploy.flows.generate import dockerfile_of, write_dockerfile
    from hpcdeploy.registry.lookup import image_config_by

    root = place.project.root
    config = image_config_by((), settings.architecture)
    text = dockerfile_of(settings, root, image_config=config, build_args=build_args)
    show.notes(text.notes)
    if target is None:
        show.exact(text.dockerfile)
        return
    written, ignore = write_dockerfile(text, target, root, force=force, record=place.store)
    show.say(f"wrote {written} and {ignore}; the build context is {root}")


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

    With --output the text is written to a file. A file that hpcdeploy did not write is only overwritten with --force.
    """
    from hpcdeploy.cli.place import here
    from hpcdeploy.flows.workflow import Workflow, render_workflow, repository_root, requirement, watched_paths
    from hpcdeploy.generated_file import write_generated
    from hpcdeploy.registry.lookup import image_config
    from hpcdeploy.tags import read_git_facts

    place = here()
    project = place.project
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
    write_generated({output: text}, force=force, record=place.store)
    show.say(f"wrote {output}")
