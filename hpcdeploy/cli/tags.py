"""Implement ``tags``: list the tags of an image's repositories, or of any repository."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import completion, show
from hpcdeploy.cli.columns import Column
from hpcdeploy.cli.options import AsJson
from hpcdeploy.plain_text import written

if TYPE_CHECKING:
    from hpcdeploy.flows.tags import Listed
    from hpcdeploy.registry.tag_details import TagDetails


def tags(
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="[IMAGE]",
            help="Image of the project, or a repository: HOST/PATH, oras://..., docker://...; default: the only image.",
            show_default=False,
            autocompletion=completion.images,
        ),
    ] = None,
    last: Annotated[int, typer.Option("-n", "--last", help="Number of tags to list, newest first; 0: all.", min=0)] = 0,
    json: AsJson = False,
) -> None:
    """List tags with digest, date and size, newest first.

    For a reference with a tag, only this tag is listed. For a reference with a digest, only the tags of this digest are
    listed.
    """
    from hpcdeploy.flows.tags import list_tags
    from hpcdeploy.registry.lookup import repository_of

    listed = [list_tags(repository_of(repository)) for repository in _repositories(image)]
    if json:
        show.as_json([_plain(one.repository, tag) for one in listed for tag in one.tags[: last or None]])
    for one in listed:
        if not json:
            if len(listed) > 1:
                show.say(f"{one.repository}:")
            print_tags(one, last)
        if one.undescribed:
            show.warn(
                f"{one.repository} has {len(one.tags)} tags; date, size and digest were looked up for the highest "
                f"{len(one.tags) - one.undescribed} versions only, so a newer tag may be among the others; "
                "to look up another tag, use HOST/PATH:TAG"
            )


def _repositories(image: str | None) -> tuple[str, ...]:
    """Return the repositories of an image of the project; a repository or reference in `image` is returned unchanged."""
    from hpcdeploy.cli.place import here
    from hpcdeploy.config.resolution import choose_image
    from hpcdeploy.flows.push import repositories_of

    if image is not None and ("/" in image or "://" in image):
        return (image,)
    return repositories_of(choose_image(here().project, image), ())


def print_tags(listed: "Listed", last: int) -> None:
    """Print the tags of a repository as a table, at most `last` (0: all)."""
    shown = listed.tags[: last or None]
    if not shown:
        show.say(f"{listed.repository} has no tags to list")
        return
    rows = [(one.tag, _date(one.created), written(one.size), one.digest or "?") for one in shown]
    show.table((Column("TAG", whole=True), "CREATED", "SIZE", Column("DIGEST", whole=True)), rows)


def _date(created: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(created)) if created else "?"


def _plain(repository: str, tag: "TagDetails") -> dict[str, object]:
    """Return a tag as values for JSON; unknown values are null."""
    return {
        "repository": repository,
        "tag": tag.tag,
        "digest": tag.digest or None,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(tag.created)) if tag.created else None,
        "size": tag.size,
    }
