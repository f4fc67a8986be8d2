"""Implement ``generate``: print or write definitions."""

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
from hpcdeploy.cli.paths import path

if TYPE_CHECKING:
    from hpcdeploy.cli.place import Place
    from hpcdeploy.image import ImageSettings


class Format(StrEnum):
    """The format of an image's text: for Apptainer or Docker."""

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

    With --output the text is written to a file. A file that hpcdeploy did not write is kept, unless --force is given.
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
    write_generated({target: text}, force=force)
    show.say(f"wrote {target}")


def _dockerfile(
    place: "Place", build_args: BuildArguments, settings: "ImageSettings", target: Path | None, *, force: bool
) -> None:
    """Print the Dockerfile, or write it to `target` with its ignore file beside it."""
    from hpcdeploy.flows.generate import dockerfile_of, write_dockerfile
    from hpcdeploy.registry.asking import image_config

    root = place.project.root
    text = dockerfile_of(settings, root, image_config=image_config, build_args=build_args)
    show.notes(text.notes)
    if target is None:
        show.exact(text.dockerfile)
        return
    written, ignore = write_dockerfile(text, target, root, force=force)
    show.say(f"wrote {written} and {ignore}; the context is {root}")
