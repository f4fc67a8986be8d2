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
    ShownBuild,
    build_args_of,
    check_file,
    definition_of,
    download_image,
    file_of,
)
from hpcdeploy.cli.options import AsJson, spread
from hpcdeploy.cli.paths import path
from hpcdeploy.frozen import frozen
from hpcdeploy.plain_text import written

if TYPE_CHECKING:
    from hpcdeploy.apptainer.build_progress import Report
    from hpcdeploy.cli.image_options import BuildArguments
    from hpcdeploy.cli.place import Place
    from hpcdeploy.cluster import Cluster
    from hpcdeploy.flows.build import LocalBuilds
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
CheckReproducible = Annotated[
    bool, typer.Option("--check-reproducible", help="Build twice on this machine, and list the files that differ.")
]
ExactTools = Annotated[
    bool, typer.Option("--exact-tools", help="Build again if the last build used other versions of the tools.")
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Use and keep no downloads of package managers.")]


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
    check_reproducible: CheckReproducible = False


@frozen
class Earlier:
    """The options that decide what is used of earlier builds."""

    force: Force = False
    exact_tools: ExactTools = False
    no_cache: NoCache = False


@spread
def build(
    selection: ImageSelection,
    target: Target,
    arguments: GivenArguments,
    earlier: Earlier,
    secret: SecretPlaces = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Build and test an image, here or on a cluster.

    With several images, a failure does not stop the others. The exit code is that of the first failure.
    """
    from hpcdeploy.cli import many
    from hpcdeploy.cli.place import here
    from hpcdeploy.cli.trust import admit_build
    from hpcdeploy.config.resolution import choose_cluster, choose_images
    from hpcdeploy.errors import ConfigError
    from hpcdeploy.flows.secrets import check_given, parse_given, read_secrets

    place, on = here(), _cluster_of(target)
    chosen = choose_images(place.project, selection.images or (), every=selection.every)
    given = {words: parse_given(words) for words in secret or ()}
    check_given(tuple(given.values()), chosen)
    if len(chosen) > 1:
        if dry_run:
            raise ConfigError("--dry-run prints one definition; 'hpcdeploy generate -o FOLDER' writes several")
        options = _common_options(target, arguments, earlier)
        _ask_ahead(place, chosen, tuple(given.values()), on)
        many.build(
            {one.name: [*options, *_own_options(one, given, target.output)] for one in chosen},
            jobs=selection.jobs,
            json=json,
        )
        return
    [settings] = chosen
    cluster = choose_cluster(place.project, on) if on else None
    mirrors = cluster.mirrors if cluster else ()
    definition, known = _define(place, settings, build_args_of(arguments), mirrors)
    if dry_run:
        show.exact(definition.text)
        return
    definition, inputs = _with_keys(place, settings, definition, known, cluster=cluster)
    file = target.output or file_of(place, settings)
    admit = admit_build(place.project.root, cluster)
    secrets = read_secrets(settings, definition.secrets, place.project.root, os.environ, tuple(given.values()), admit=admit)
    progress = ShownBuild()
    if on:
        if target.fetch or target.output:
            check_file(file, force=earlier.force)
        built = _build_on(place, on, definition, secrets, earlier, report=progress.report)
        built = download_image(place, built, file) if target.fetch or target.output else built
    else:
        built = _build_here(place, settings, definition, target, secrets, earlier, report=progress.report)
    _record(place, definition, built, inputs, known)
    if json:
        show.as_json({**asdict(built), "unchanged": progress.unchanged})
    else:
        show.put(f"{built.path}  sha256:{built.sha256}  {written(built.size)}  ({built.apptainer})")


def _cluster_of(target: Target) -> str | None:
    """Return the cluster of ``--on``; raise `ConfigError` if another option excludes it."""
    from hpcdeploy.errors import ConfigError

    if target.on and target.check_reproducible:
        raise ConfigError("--check-reproducible builds on this machine; use it without --on")
    if target.on and target.builder == Builders.direct:
        raise ConfigError("--builder direct builds on this machine; remove --on, or use --builder apptainer")
    return target.on


def _common_options(target: Target, arguments: GivenArguments, earlier: Earlier) -> list[str]:
    """Return the options that are passed to the build of every image, if there are several images."""
    from hpcdeploy.cli import many

    common = {
        "--on": target.on,
        "--fetch": target.fetch,
        "--builder": target.builder,
        "--force": earlier.force,
        "--exact-tools": earlier.exact_tools,
        "--no-cache": earlier.no_cache,
        "--check-reproducible": target.check_reproducible,
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
) -> "tuple[Definition, KnownFiles]":
    """Generate the definition of an image; return it with the checksums of the files that were read.

    Args:
        place: The project.
        settings: The settings of the image.
        build_args: Names and values of build arguments.
        mirrors: Mirrors that the base image is read from instead of its registry.
    """
    from hpcdeploy.known_files import KnownFiles, remembering

    with remembering(KnownFiles(place.store.known_files(place.project.root, settings.name))) as known:
        return definition_of(place, settings, build_args, mirrors), known


def _with_keys(
    place: "Place",
    settings: "ImageSettings",
    definition: "Definition",
    known: "KnownFiles",
    *,
    cluster: "Cluster | None",
) -> "tuple[Definition, BuildInputs]":
    """Look up the base images of a definition; return it with its keys, and the inputs of the build.

    Notes on what can change the image without changing its key are printed.
    """
    from hpcdeploy.build_keys import epoch_of
    from hpcdeploy.flows.bases import building_machine, find_bases, with_keys
    from hpcdeploy.flows.freshness import bases_before, inputs_of
    from hpcdeploy.known_files import remembering
    from hpcdeploy.registry.lookup import digest_by

    root = place.project.root
    with remembering(known):
        before = bases_before(place.store, root, settings.name)
        bases = find_bases(definition, digest_by(cluster.mirrors if cluster else ()), before=before, here=not cluster)
        show.notes(bases.notes)
        definition = with_keys(definition, bases.digests, machine=building_machine(cluster), epoch=epoch_of(os.environ))
        return definition, inputs_of(definition, settings, root, known)


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


def _local_builds(
    place: "Place", settings: "ImageSettings", definition: "Definition", builder: Builders | None, earlier: Earlier
) -> "LocalBuilds":
    """Choose the builder, and the folders of builds on this machine."""
    from hpcdeploy.apptainer.local_cache import LocalCache
    from hpcdeploy.flows.build import LocalBuilds
    from hpcdeploy.flows.builders import choose_builder
    from hpcdeploy.folders import cache_folder

    cache = LocalCache(root=cache_folder(os.environ))
    wanted: Builder | None = None if builder is None else "direct" if builder == Builders.direct else "apptainer"
    root = place.project.root
    return LocalBuilds(
        work=cache.builds,
        images=cache.images,
        verified=cache.verified,
        downloads=None if earlier.no_cache else cache.downloads_of(root, definition.name),
        project=str(root),
        direct=choose_builder(
            settings, root, definition, wanted=wanted, downloads=cache.direct_downloads, keep=not earlier.no_cache
        ),
    )


def _build_here(
    place: "Place",
    settings: "ImageSettings",
    definition: "Definition",
    target: Target,
    secrets: "Secrets",
    earlier: Earlier,
    *,
    report: "Report",
) -> "BuiltImage":
    from hpcdeploy.apptainer.build_record import check_output
    from hpcdeploy.apptainer.build_script import Repeating
    from hpcdeploy.flows.build import build_here

    file = target.output or file_of(place, settings)
    builds = _local_builds(place, settings, definition, target.builder, earlier)
    if target.check_reproducible:
        from hpcdeploy.flows.reproducible import build_twice

        check_output(file, force=earlier.force)
        return build_twice(definition, file, builds, secrets=secrets, report=report)
    return build_here(
        definition,
        file,
        builds,
        is_recorded=place.store.has_built,
        repeating=Repeating(force=earlier.force, exact_tools=earlier.exact_tools),
        secrets=secrets,
        report=report,
    )


def _build_on(
    place: "Place", name: str, definition: "Definition", secrets: "Secrets", earlier: Earlier, *, report: "Report"
) -> "BuiltImage":
    from hpcdeploy.apptainer.build_script import Repeating
    from hpcdeploy.apptainer.local_cache import downloads_name
    from hpcdeploy.flows.build import build_on

    cluster = place.cluster(name)
    with place.connections() as open_connections:
        return build_on(
            definition,
            open_connections.to(cluster),
            repeating=Repeating(
                force=earlier.force,
                exact_tools=earlier.exact_tools,
                downloads="" if earlier.no_cache else downloads_name(place.project.root, definition.name),
                project=str(place.project.root),
            ),
            secrets=secrets,
            report=report,
            carrying=show.transfer,
        )
