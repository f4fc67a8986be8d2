"""The verbs that make images: ``generate``, ``build``, ``push``."""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import show

if TYPE_CHECKING:
    from hpcdeploy.apptainer.progress import BuildEvent
    from hpcdeploy.cli.place import Place
    from hpcdeploy.image import BuiltImage, Definition, ImageSettings

ImageName = Annotated[
    str | None, typer.Argument(metavar="[IMAGE]", help="An image of the project; none: its only one.", show_default=False)
]
BuildArgs = Annotated[
    list[str] | None,
    typer.Option("--build-arg", metavar="K=V", help="A value for %arguments; again for more.", show_default=False),
]
BuildArgFile = Annotated[
    Path | None,
    typer.Option("--build-arg-file", help="A file of K=V lines, as apptainer reads it.", exists=True, show_default=False),
]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Where to write.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def generate(
    image: ImageName = None, output: Output = None, build_arg: BuildArgs = None, build_arg_file: BuildArgFile = None
) -> None:
    """Print the Apptainer definition of an image, or write it to a file."""
    from hpcdeploy.cli.place import here

    place = here()
    _, definition = _definition(place, image, build_arg, build_arg_file)
    if output is None:
        print(definition.text, end="")
        return
    part = output.with_name(f".{output.name}.part")
    part.write_text(definition.text, encoding="utf-8")
    part.replace(output)
    show.say(f"wrote {output}")


def build(
    image: ImageName = None,
    on: Annotated[
        str | None, typer.Option("--on", metavar="CLUSTER", help="Build on a cluster's login node.", show_default=False)
    ] = None,
    output: Output = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Bring home what was built on a cluster.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Build again though the same inputs were built before.")] = False,
    build_arg: BuildArgs = None,
    build_arg_file: BuildArgFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the definition, as generate does, and build nothing.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Generate an image's definition, build it, run its %test, and note what came out."""
    from hpcdeploy.cli.place import here

    place = here()
    settings, definition = _definition(place, image, build_arg, build_arg_file)
    if dry_run:
        print(definition.text, end="")
        return
    target = output or _file_of(place, settings)
    built = _build_on(place, on, definition, force=force) if on else _build_here(definition, target, force=force)
    if on and (fetch or output):
        built = _bring_home(place, built, target)
    place.store.built(place.project.root, built)
    if json:
        show.as_json(asdict(built))
    else:
        print(f"{built.path}  sha256:{built.sha256}  {built.size / 1e6:.0f} MB  ({built.apptainer})")


def push(
    image: ImageName = None,
    repository: Annotated[
        list[str] | None,
        typer.Option(
            "--repository", metavar="HOST/PATH", help="Instead of the settings' own; again for more.", show_default=False
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", help="Instead of the tags that git gives; again for more.", show_default=False),
    ] = None,
    json: AsJson = False,
) -> None:
    """Publish an image over ORAS, and print the reference that nobody can move: oras://...@sha256:..."""
    from hpcdeploy.cli.place import here
    from hpcdeploy.config.resolution import choose_image
    from hpcdeploy.errors import ConfigError
    from hpcdeploy.flows import push as flow
    from hpcdeploy.registry.asking import registry_of
    from hpcdeploy.tags import read_git_facts

    place = here()
    settings = choose_image(place.project, image)
    built = place.store.latest_build(place.project.root, settings.name)
    if built is None:
        raise ConfigError(f"the image {settings.name!r} was not built yet; run 'hpcdeploy build' first")
    if built.built_on:
        built = _bring_home(place, built, _file_of(place, settings))
        place.store.built(place.project.root, built)
    git = None if tag else read_git_facts(place.project.root)
    with show.transfer("pushing") as progress:
        done = flow.push(
            built,
            settings,
            place.store,
            registry_of,
            git=git,
            warn=show.say,
            repositories=repository or (),
            tags=tag or (),
            progress=progress,
        )
    if json:
        show.as_json([{**asdict(one.image), "reference": one.image.reference, "tags": one.tags} for one in done])
        return
    for one in done:
        show.say(f"{one.image.repository}: {', '.join(one.tags)}")
        print(one.image.reference)


def _definition(
    place: "Place", image: str | None, build_args: Sequence[str] | None, file: Path | None
) -> "tuple[ImageSettings, Definition]":
    from hpcdeploy.config.resolution import choose_image
    from hpcdeploy.flows.generate import generate as flow

    settings = choose_image(place.project, image)
    lines = [*(file.read_text(encoding="utf-8").splitlines() if file else ()), *(build_args or ())]
    return settings, flow(settings, place.project.root, build_args=list(map(_build_arg, filter(None, lines))))


def _build_arg(words: str) -> tuple[str, str]:
    from hpcdeploy.errors import ConfigError

    name, sign, value = words.partition("=")
    if not sign:
        raise ConfigError(
            f"the build argument {words!r} has no '='; expected NAME=VALUE, as apptainer build --build-arg does"
        )
    return name.strip(), value.strip()


def _file_of(place: "Place", settings: "ImageSettings") -> Path:
    """Say where an image's file lies if nobody says: in the project's folder, by the image's name or else the folder's."""
    from hpcdeploy.config.project import ONLY_IMAGE

    name = place.project.root.name if settings.name == ONLY_IMAGE else settings.name
    return place.project.root / f"{name}.sif"


def _build_here(definition: "Definition", target: Path, *, force: bool) -> "BuiltImage":
    from hpcdeploy.flows.build import build_here

    state = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hpcdeploy" / "builds"
    return build_here(definition, target, work=state, force=force, report=_show_event)


def _build_on(place: "Place", name: str, definition: "Definition", *, force: bool) -> "BuiltImage":
    from hpcdeploy.cli.place import connections
    from hpcdeploy.flows.build import build_on

    cluster = place.cluster(name)
    with connections() as open_connections, show.transfer("sending files") as progress:
        return build_on(
            definition,
            cluster,
            open_connections.to(cluster),
            force=force,
            report=_show_event,
            progress=progress,
            overrides=place.project.root,
        )


def _bring_home(place: "Place", built: "BuiltImage", target: Path) -> "BuiltImage":
    from hpcdeploy.cli.place import connections
    from hpcdeploy.flows.build import fetch_built

    cluster = place.cluster(built.built_on)
    with connections() as open_connections, show.transfer(f"fetching the image from {cluster.name}") as progress:
        fetched = fetch_built(built, open_connections.to(cluster), target, progress=progress)
    return replace(fetched, built_on="")


def _show_event(event: "BuildEvent") -> None:
    """Show a step with the time since the start; on a terminal the lines in between too."""
    if event.is_step:
        show.say(f"[{event.elapsed:5.0f} s] {event.text}")
    elif sys.stderr.isatty():
        show.say(f"          {event.text}")
