"""The verb ``generate``: definitions as text."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import show
from hpcdeploy.cli.image_options import All, BuildArgFile, BuildArgs, ImageNames, build_args_of, definition_of

if TYPE_CHECKING:
    from hpcdeploy.cli.place import Place
    from hpcdeploy.image import ImageSettings


class Format(StrEnum):
    """What an image's text is for: Apptainer, or Docker."""

    definition = "definition"
    dockerfile = "dockerfile"


def generate(
    images: ImageNames = None,
    every: All = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Where to write; with several images a folder, NAME.def each.", show_default=False
        ),
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="An Apptainer definition, or a Dockerfile with its .dockerignore.")
    ] = Format.definition,
    build_arg: BuildArgs = None,
    build_arg_file: BuildArgFile = None,
) -> None:
    """Print the Apptainer definition of an image, or its Dockerfile; or write it to a file."""
    from hpcdeploy.cli.place import here
    from hpcdeploy.config.resolution import choose_images
    from hpcdeploy.errors import ConfigError
    from hpcdeploy.whole_file import write_whole

    place = here()
    chosen = choose_images(place.project, images or (), every=every)
    several = len(chosen) > 1
    if form is Format.dockerfile:
        _dockerfiles(place, chosen, output, build_arg, build_arg_file)
        return
    if several and output is None:
        raise ConfigError(f"{len(chosen)} definitions do not go into one text; say -o FOLDER: each becomes FOLDER/NAME.def")
    # All of them before the first is written: either all are new, or none is.
    texts = {settings.name: definition_of(place, settings, build_arg, build_arg_file).text for settings in chosen}
    if output is None:
        print(*texts.values(), end="")
        return
    for name, text in texts.items():
        path = output / f"{name}.def" if several else output
        write_whole(path, text)
        show.say(f"wrote {path}")


def _dockerfiles(
    place: "Place", chosen: "Sequence[ImageSettings]", output: Path | None, build_args: BuildArgs, file: BuildArgFile
) -> None:
    from hpcdeploy.errors import ConfigError
    from hpcdeploy.flows.dockerfile import dockerfile_of, write_dockerfile
    from hpcdeploy.registry.asking import image_config

    several = len(chosen) > 1
    if several and output is None:
        raise ConfigError(
            f"{len(chosen)} Dockerfiles do not go into one text; say -o FOLDER: each becomes FOLDER/NAME.Dockerfile"
        )
    given = build_args_of(build_args, file)
    root = place.project.root
    texts = {one.name: dockerfile_of(one, root, image_config=image_config, build_args=given) for one in chosen}
    for name, text in texts.items():
        show.notes(text.notes)
        if output is None:
            print(text.dockerfile, end="")
            continue
        path = output / f"{name}.Dockerfile" if several else output
        written, ignore = write_dockerfile(text, path, root)
        show.say(f"wrote {written} and {ignore}; the context is {root}")
