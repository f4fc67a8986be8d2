"""The verb ``generate``: definitions as text."""

from pathlib import Path
from typing import Annotated

import typer

from hpcdeploy.cli import show
from hpcdeploy.cli.image_options import All, BuildArgFile, BuildArgs, ImageNames, definition_of


def generate(
    images: ImageNames = None,
    every: All = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Where to write; with several images a folder, NAME.def each.", show_default=False
        ),
    ] = None,
    build_arg: BuildArgs = None,
    build_arg_file: BuildArgFile = None,
) -> None:
    """Print the Apptainer definition of an image, or write it to a file."""
    from hpcdeploy.cli.place import here
    from hpcdeploy.config.resolution import choose_images
    from hpcdeploy.errors import ConfigError

    place = here()
    chosen = choose_images(place.project, images or (), every=every)
    several = len(chosen) > 1
    if several and output is None:
        raise ConfigError(f"{len(chosen)} definitions do not go into one text; say -o FOLDER: each becomes FOLDER/NAME.def")
    # All of them before the first is written: either all are new, or none is.
    texts = {settings.name: definition_of(place, settings, build_arg, build_arg_file).text for settings in chosen}
    if output is None:
        print(*texts.values(), end="")
        return
    for name, text in texts.items():
        path = output / f"{name}.def" if several else output
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)
        show.say(f"wrote {path}")
