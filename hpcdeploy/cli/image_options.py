"""Define the common options of the verbs for images, and the steps that these verbs share."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import completion, show
from hpcdeploy.cli.paths import path
from hpcdeploy.frozen import frozen

if TYPE_CHECKING:
    from hpcdeploy.apptainer.build_progress import BuildEvent
    from hpcdeploy.cli.place import Place
    from hpcdeploy.image import BuiltImage, Definition, ImageSettings

ImageNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[IMAGE]...",
        help="Images of the project; default: the only image.",
        show_default=False,
        autocompletion=completion.images,
    ),
]
All = Annotated[bool, typer.Option("--all", help="Use all images of the project.")]
Jobs = Annotated[int, typer.Option("-j", "--jobs", metavar="N", min=1, help="Number of images to process at once.")]
BuildArgs = Annotated[
    list[str] | None,
    typer.Option("--build-arg", metavar="K=V", help="Build argument for %arguments; may be repeated.", show_default=False),
]
BuildArgFile = Annotated[
    Path | None,
    typer.Option(
        "--build-arg-file",
        help="File of K=V lines, as for apptainer build.",
        parser=path,
        metavar="PATH",
        show_default=False,
    ),
]


@frozen
class ImageSelection:
    """The options that select images, and how many are processed at once."""

    images: ImageNames = None
    every: All = False
    jobs: Jobs = 1


@frozen
class GivenArguments:
    """The options that set build arguments."""

    build_arg: BuildArgs = None
    build_arg_file: BuildArgFile = None


BuildArguments = list[tuple[str, str]]
"""Names and values of build arguments; if a name occurs several times, its last value is used."""


def definition_of(
    place: "Place", settings: "ImageSettings", given: BuildArguments, mirrors: Sequence[tuple[str, str]] = ()
) -> "Definition":
    """Generate the definition of an image, and print notes about it on standard error.

    `mirrors` are the mirrors of registries on the cluster that will build the image; empty for a build on this machine.
    """
    from hpcdeploy.flows.generate import generate
    from hpcdeploy.registry.lookup import image_config_by

    config = image_config_by(mirrors, settings.architecture)
    definition = generate(settings, place.project.root, image_config=config, build_args=given)
    show.notes(definition.notes)
    return definition


def build_args_of(given: GivenArguments) -> BuildArguments:
    """Parse the build arguments of the command.

    The arguments in the file come first, so that arguments on the command line replace arguments of the same name in the
    file.

    Raises:
        ConfigError: The file cannot be read, or an argument has no ``=``.
    """
    file = given.build_arg_file
    # Not str.splitlines, which also splits at other characters: for Apptainer only a line feed ends a line (Go's
    # bufio.ScanLines).
    lines = [*(_text(file).split("\n") if file else ()), *(given.build_arg or ())]
    return list(map(_build_arg, filter(None, (line.removesuffix("\r") for line in lines))))


def _text(file: Path) -> str:
    from hpcdeploy.errors import ConfigError
    from hpcdeploy.regular_file import LARGEST_TEXT, read_chosen

    try:
        return read_chosen(file, LARGEST_TEXT).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--build-arg-file {file} cannot be read as UTF-8 text: {error}") from error


def file_of(place: "Place", settings: "ImageSettings") -> Path:
    """Return the default path of an image: a ``.sif`` in the project's folder with the image's name.

    The only image of a project (``[image]``) has no name, so its file has the name of the project's folder.
    """
    from hpcdeploy.config.project import ONLY_IMAGE

    name = place.project.root.name if settings.name == ONLY_IMAGE else settings.name
    return place.project.root / f"{name}.sif"


def check_file(file: Path, *, force: bool, advice: str = "use -o, or overwrite it with --force") -> None:
    """Remove what an interrupted download left at `file`, and check that a download overwrites no other file.

    Raises:
        ConfigError: The file, or its record, is a file that hpcdeploy did not write; the message contains `advice`.
    """
    from hpcdeploy.apptainer.build_record import check_output
    from hpcdeploy.apptainer.local_cache import LocalCache
    from hpcdeploy.apptainer.placing import remove_unfinished, remove_unrecorded
    from hpcdeploy.folders import cache_folder

    remove_unfinished(file)
    remove_unrecorded(file, LocalCache(root=cache_folder(os.environ)).builds)
    check_output(file, force=force, advice=advice)


def download_image(place: "Place", built: "BuiltImage", target: Path) -> "BuiltImage":
    """Download an image from the cluster that built it to the file `target`; return it with its new path."""
    from hpcdeploy.apptainer.local_cache import LocalCache
    from hpcdeploy.flows.build import fetch_built
    from hpcdeploy.folders import cache_folder

    cluster = place.cluster(built.built_on)
    with place.connections() as open_connections, show.transfer(f"downloading the image from {cluster.name}") as progress:
        notes = LocalCache(root=cache_folder(os.environ)).builds
        return fetch_built(built, open_connections.to(cluster), target, notes, progress=progress)


class ShownBuild:
    """The progress of a build, as it is shown to the user.

    Attributes:
        unchanged: Whether nothing was built, because an image of these inputs exists, at its place or in the cache.
    """

    def __init__(self) -> None:
        self.unchanged = False

    def report(self, event: "BuildEvent") -> None:
        """Show a step with the time since the start; on a terminal, also show the output between the steps."""
        from hpcdeploy.apptainer.build_progress import FROM_CACHE, UNCHANGED

        if event.is_step:
            self.unchanged = event.text in (UNCHANGED, FROM_CACHE)
            show.say_indented(f"[{event.elapsed:5.0f} s] {event.text}", 10)
        elif sys.stderr.isatty():
            show.say(f"          {event.text}")


def _build_arg(words: str) -> tuple[str, str]:
    from hpcdeploy.errors import ConfigError

    name, sign, value = words.partition("=")
    if not sign:
        raise ConfigError(
            f"the build argument {words!r} has no '='; expected NAME=VALUE, as for apptainer build --build-arg"
        )
    return name.strip(), value.strip()
