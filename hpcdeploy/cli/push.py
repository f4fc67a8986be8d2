"""Implement ``push``: push built images to registries."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import show
from hpcdeploy.cli.image_options import ImageSelection, check_file, download_image, file_of
from hpcdeploy.cli.options import AsJson, spread

if TYPE_CHECKING:
    from hpcdeploy.cli.place import Place
    from hpcdeploy.flows.push import Pushed, Refused
    from hpcdeploy.image import BuiltImage, ImageSettings

Repositories = Annotated[
    list[str] | None,
    typer.Option(
        "--repository",
        metavar="HOST/PATH",
        help="Repository to push to instead of the configured ones; may be repeated.",
        show_default=False,
    ),
]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", help="Tag to use instead of those from git; may be repeated.", show_default=False),
]


@spread
def push(
    selection: ImageSelection,
    repository: Repositories = None,
    tag: Tags = None,
    json: AsJson = False,
) -> None:
    """Push an image to a registry and print its immutable reference.

    Each image is pushed to each of its repositories. A failure does not stop the others.
    The exit code is that of the first failure.
    """
    from hpcdeploy.cli import many
    from hpcdeploy.cli.place import here
    from hpcdeploy.cli.trust import confirm_ahead
    from hpcdeploy.config.resolution import choose_images
    from hpcdeploy.errors import ConfigError
    from hpcdeploy.flows import push as flow
    from hpcdeploy.registry.lookup import registry_of
    from hpcdeploy.tags import read_git_facts

    place = here()
    chosen = choose_images(place.project, selection.images or (), every=selection.every)
    if len(chosen) > 1:
        if repository:
            raise ConfigError(
                f"--repository needs one image, but {len(chosen)} images are selected, which would get the same tags in "
                "this repository; select one image"
            )
        flow.refuse_same_tags(chosen, tag or ())
        latest = (place.store.latest_build(place.project.root, settings.name) for settings in chosen)
        confirm_ahead(place.project.clusters, [built.built_on for built in latest if built])
        many.push({settings.name: many.option("--tag", tag) for settings in chosen}, jobs=selection.jobs, json=json)
        return
    [settings] = chosen
    git = None if tag else read_git_facts(place.project.root)
    # The destinations are checked before the image is downloaded from its cluster, because the download takes long.
    to = flow.destinations(
        settings, git, repositories=repository or (), tags=tag or (), images=list(place.project.images.values())
    )
    built = _built(place, settings)
    with show.transfer("pushing") as progress:
        done = flow.push(built, to, place.store, registry_of, git=git, warn=show.say, progress=progress)
    _print_results(done, json=json)


def _print_results(done: "Sequence[Pushed | Refused]", *, json: bool) -> None:
    """Print the results of pushes of one image to its repositories.

    Raises:
        HpcdeployError: A repository rejected the image. With one repository, the error of the push is raised. With several
            repositories, an error of the same type as the first error lists the repositories that rejected the image.
    """
    from hpcdeploy.flows.push import Refused

    refused = [one for one in done if isinstance(one, Refused)]
    if refused and len(done) == 1:
        raise refused[0].error
    if json:
        show.as_json([_plain(one) for one in done])
    for one in done:
        if isinstance(one, Refused):
            show.say(f"{one.repository}: {one.error}")
        elif not json:
            show.say(f"{one.image.repository}: {', '.join(one.tags)}")
            show.put(one.image.reference)
    if refused:
        where = ", ".join(one.repository for one in refused)
        raise type(refused[0].error)(f"{len(refused)} of {len(done)} repositories rejected the image: {where}")


def _built(place: "Place", settings: "ImageSettings") -> "BuiltImage":
    from hpcdeploy.errors import ConfigError

    built = place.store.latest_build(place.project.root, settings.name)
    if built is None:
        raise ConfigError(f"the image {settings.name!r} was not built yet; run 'hpcdeploy build' first")
    if built.built_on:
        file = file_of(place, settings)
        advice = f"to download it to another file, run hpcdeploy build --on {built.built_on} -o OTHER.sif"
        check_file(file, force=False, advice=advice)
        built = download_image(place, built, file)
        place.store.built(place.project.root, built)
    return built


def _plain(one: "Pushed | Refused") -> dict[str, object]:
    from hpcdeploy.flows.push import Pushed

    if isinstance(one, Pushed):
        return {**asdict(one.image), "reference": one.image.reference, "tags": one.tags}
    return {"repository": one.repository, "error": str(one.error), "exit_code": one.error.exit_code}
