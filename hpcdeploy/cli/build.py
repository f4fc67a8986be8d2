"""Implement ``build``: build images from definitions, here or on a cluster's login node."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import completion, show
from hpcdeploy.cli.image_options import (
    GivenArguments,
    ImageSelection,
    build_args_of,
    definition_of,
    download_image,
    file_of,
    show_event,
)
from hpcdeploy.cli.options import AsJson, spread
from hpcdeploy.cli.paths import path
from hpcdeploy.frozen import frozen
from hpcdeploy.plain_text import written

if TYPE_CHECKING:
    from hpcdeploy.cli.image_options import BuildArguments
    from hpcdeploy.cli.place import Place
    from hpcdeploy.flows.builders import Builder
    from hpcdeploy.flows.freshness import BuildInputs
    from hpcdeploy.image import BuiltImage, Definition, ImageSettings, Secret
    from hpcdeploy.known_files import KnownFiles
    from hpcdeploy.secret import SecretValue

    Secrets = Mapping[str, SecretValue]

On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="CLUSTER",
        help="Build on the login node of a cluster.",
        show_default=False,
        autocompletion=completion.clusters,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        help="Output file; with several images a folder for NAME.sif files.",
        parser=path,
        metavar="PATH",
        show_default=False,
    ),
]
Fetch = Annotated[bool, typer.Option("--fetch", help="Download the image that was built on a cluster.")]
Force = Annotated[bool, typer.Option("--force", help="Build even if no input has changed, and overwrite the output file.")]
SecretPlaces = Annotated[
    list[str] | None,
    typer.Option(
        "--secret",
        metavar="id=NAME[,env=VAR][,src=FILE]",
        help="Source of a secret for this build; may be repeated.",
        show_default=False,
    ),
]


class Builders(StrEnum):
    """The builders of an image."""

    apptainer = "apptainer"
    direct = "direct"


BuilderName = Annotated[
    Builders | None,
    typer.Option(
        "--builder",
        help="Builder: apptainer, or direct to build without Apptainer; default: chosen automatically.",
        show_default=False,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the definition as generate does; build nothing.")]


@frozen
class Target:
    """The options that set where an image is built and stored."""

    on: On = None
    output: Output = None
    fetch: Fetch = False
    builder: BuilderName = None


@spread
def build(
    selection: ImageSelection,
    target: Target,
    arguments: GivenArguments,
    force: Force = False,
    secret: SecretPlaces = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Build and test an image, here or on a cluster.

    With several images, a failure does not stop the others. The exit code is that of the first failure.
    """
    from hpcdeploy.apptainer.build_record import check_output
    from hpcdeploy.cli import many
    from hpcdeploy.cli.place import here
    from hpcdeploy.cli.trust import admit_build
    from hpcdeploy.config.resolution import choose_cluster, choose_images
    from hpcdeploy.errors import ConfigError
    from hpcdeploy.flows.secrets import check_given, parse_given, read_secrets

    place, on = here(), target.on
    if on and target.builder == Builders.direct:
        raise ConfigError("--builder direct builds on this machine; remove --on, or use --builder apptainer")
    chosen = choose_images(place.project, selection.images or (), every=selection.every)
    given = {words: parse_given(words) for words in secret or ()}
    check_given(tuple(given.values()), chosen)
    if len(chosen) > 1:
        if dry_run:
            raise ConfigError("--dry-run prints one definition; 'hpcdeploy generate -o FOLDER' writes several")
        options = _common_options(target, arguments, force=force)
        _ask_ahead(place, chosen, tuple(given.values()), on)
        many.build(
            {one.name: [*options, *_own_options(one, given, target.output)] for one in chosen},
            jobs=selection.jobs,
            json=json,
        )
        return
    [settings] = chosen
    cluster = choose_cluster(place.project, on) if on else None
    definition, inputs, known = _define(place, settings, build_args_of(arguments), cluster.mirrors if cluster else ())
    if dry_run:
        show.exact(definition.text)
        return
    file = target.output or file_of(place, settings)
    admit = admit_build(place.project.root, cluster)
    secrets = read_secrets(settings, definition.secrets, place.project.root, os.environ, tuple(given.values()), admit=admit)
    if on:
        if target.fetch or target.output:
            check_output(file, force=force)
        built = _build_on(place, on, definition, secrets, force=force)
        built = download_image(place, built, file) if target.fetch or target.output else built
    else:
        built = _build_here(place, settings, definition, file, secrets, force=force, builder=target.builder)
    _record(place, definition, built, inputs, known)
    if json:
        show.as_json(asdict(built))
    else:
        show.put(f"{built.path}  sha256:{built.sha256}  {written(built.size)}  ({built.apptainer})")


def _common_options(target: Target, arguments: GivenArguments, *, force: bool) -> list[str]:
    """Return the options that are passed to the build of every image, if there are several images."""
    from hpcdeploy.cli import many

    common = {
        "--on": target.on,
        "--fetch": target.fetch,
        "--builder": target.builder,
        "--force": force,
        "--build-arg": arguments.build_arg,
        "--build-arg-file": arguments.build_arg_file,
    }
    return [word for name, value in common.items() for word in many.option(name, value)]


def _ask_ahead(place: "Place", images: "Sequence[ImageSettings]", given: "Sequence[Secret]", on: str | None) -> None:
    """Prompt once before several builds: for the project's commands on the cluster `on`, and for files of secrets."""
    from hpcdeploy.cli.trust import confirm_ahead, confirm_ahead_of_builds

    if on:
        confirm_ahead(place.project.clusters, [on])
    confirm_ahead_of_builds(images, given, place.project.root, place.project.clusters.get(on or ""))


def _define(
    place: "Place", settings: "ImageSettings", build_args: "BuildArguments", mirrors: "Sequence[tuple[str, str]]"
) -> "tuple[Definition, BuildInputs, KnownFiles]":
    """Generate the definition of an image, and determine the inputs of its build.

    Args:
        place: The project.
        settings: The settings of the image.
        build_args: Names and values of build arguments.
        mirrors: Mirrors that the base image is read from instead of its registry.

    Returns:
        The definition, the inputs, and the checksums of the files that were read.
    """
    from hpcdeploy.flows.freshness import inputs_of
    from hpcdeploy.known_files import KnownFiles, remembering

    with remembering(KnownFiles()) as known:
        definition = definition_of(place, settings, build_args, mirrors)
        return definition, inputs_of(definition, settings, place.project.root, known), known


def _record(
    place: "Place", definition: "Definition", built: "BuiltImage", inputs: "BuildInputs", known: "KnownFiles"
) -> None:
    """Record a built image, the lock file that it was built from, and the inputs of the build."""
    from hpcdeploy.flows.freshness import note_build
    from hpcdeploy.flows.inspect.against import lock_of

    place.store.built(place.project.root, built)
    if lock := lock_of(definition):
        place.store.locked(place.project.root, built, lock)
    note_build(place.store, place.project.root, built, inputs, known)


def _own_options(settings: "ImageSettings", given: Mapping[str, "Secret"], folder: Path | None) -> list[str]:
    from hpcdeploy.cli import many

    described = {secret.name for secret in settings.secrets}
    secrets = [words for words, secret in given.items() if secret.name in described]
    return [*many.option("--secret", secrets), *many.option("--output", folder and folder / f"{settings.name}.sif")]


def _build_here(
    place: "Place",
    settings: "ImageSettings",
    definition: "Definition",
    target: Path,
    secrets: "Secrets",
    *,
    force: bool,
    builder: Builders | None,
) -> "BuiltImage":
    from hpcdeploy.flows.build import LocalBuilds, build_here
    from hpcdeploy.flows.builders import choose_builder
    from hpcdeploy.folders import cache_folder

    cache = cache_folder(os.environ)
    wanted: Builder | None = None if builder is None else "direct" if builder == Builders.direct else "apptainer"
    direct = choose_builder(settings, place.project.root, definition, wanted=wanted, downloads=cache / "downloads")
    return build_here(
        definition,
        target,
        LocalBuilds(work=cache / "builds", direct=direct),
        is_recorded=place.store.has_built,
        force=force,
        secrets=secrets,
        report=show_event,
    )


def _build_on(place: "Place", name: str, definition: "Definition", secrets: "Secrets", *, force: bool) -> "BuiltImage":
    from hpcdeploy.flows.build import build_on

    cluster = place.cluster(name)
    with place.connections() as open_connections:
        return build_on(
            definition,
            open_connections.to(cluster),
            force=force,
            secrets=secrets,
            report=show_event,
            carrying=show.transfer,
        )
