"""Implement ``inspect``: show the content of an image that is built, published or not built yet."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import completion, show
from hpcdeploy.cli.options import AsJson, Overwrite
from hpcdeploy.cli.paths import expanded, path

if TYPE_CHECKING:
    from hpcdeploy.cli.place import Place
    from hpcdeploy.flows.inspect.report import PublishedReport, Report


def inspect(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[TARGET]",
            help="Image of the project, folder, pixi.lock, .def, .sif, or oras:// reference; default: every image.",
            show_default=False,
            autocompletion=completion.images,
        ),
    ] = None,
    environment: Annotated[
        str | None,
        typer.Option("-e", "--environment", metavar="NAME", help="Environment of the workspace.", show_default=False),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="OTHER",
            help="Lock file, folder or git revision to compare with; default: the last build.",
            show_default=False,
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write a chart of the sizes to a .svg or .html file.", parser=path, show_default=False
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Packages to list per image; 0: all.", show_default="20, or 5 for several images"
        ),
    ] = None,
    force: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Show an image's packages, sizes, requirements and changes.

    The image may be built, published, or not built yet. Labels and tests are shown too.
    """
    from hpcdeploy.cli import inspect_text
    from hpcdeploy.cli.place import here
    from hpcdeploy.flows.inspect.target import inspect as look

    place = here()
    target, against = (words and expanded(words) for words in (target, against))
    reports = look(target, place.project, place.store, _describe, environment=environment, against=against)
    if picture:
        _draw(reports, picture, place, force=force)
    if json:
        values = [{"type": type(report).__name__.removesuffix("Report").lower(), **asdict(report)} for report in reports]
        show.as_json(values if target is None else values[0])
        return
    shown = (20 if len(reports) == 1 else 5) if top is None else top
    for number, report in enumerate(reports):
        show.put("\n" * bool(number), end="")
        inspect_text.tell(report, top=shown)


def _describe(reference: str) -> "PublishedReport":
    from hpcdeploy.flows.inspect.report import PublishedReport
    from hpcdeploy.registry.lookup import registry_of

    image, annotations = registry_of(reference).describe()
    return PublishedReport(image=image, annotations=annotations)


def _draw(reports: "list[Report]", target: Path, place: "Place", *, force: bool) -> None:
    from hpcdeploy.cli.inspect_text import facts_of, title_of
    from hpcdeploy.errors import ConfigError
    from hpcdeploy.flows.inspect.report import SourceReport
    from hpcdeploy.generated_file import write_generated
    from hpcdeploy.picture import draw

    if target.suffix not in (".svg", ".html"):
        raise ConfigError(f"--picture {target}: expected a name that ends in .svg or .html")
    sized = [report for report in reports if isinstance(report, SourceReport) and any(item.size for item in report.items)]
    if len(sized) != 1:
        raise ConfigError(
            f"found {len(sized)} images or folders with known sizes; expected exactly one for --picture: name it as TARGET"
        )
    [report] = sized
    text = draw(
        title_of(report), report.items, page=target.suffix == ".html", facts=facts_of(report), overrides=place.project.root
    )
    write_generated({target: text}, force=force, record=place.store)
    show.say(f"wrote {target}")
