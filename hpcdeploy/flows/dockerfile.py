"""From an image's settings to a Dockerfile with its ``.dockerignore``, and both into files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hpcdeploy.definition.guard import argument
from hpcdeploy.definition.pixi_dockerfile import DockerText, render_pixi_dockerfile
from hpcdeploy.errors import DefinitionError
from hpcdeploy.flows.sources.contract import Request, no_registry
from hpcdeploy.flows.sources.own_code import NOT_SOURCE
from hpcdeploy.flows.sources.pixi import answered
from hpcdeploy.flows.sources.staging import LEFT_OUT
from hpcdeploy.image import ImageSettings
from hpcdeploy.regular_file import LARGEST_TEXT, UnsuitableFileError, read_regular
from hpcdeploy.source import ImageConfigOf, PixiSource
from hpcdeploy.whole_file import write_whole

_OURS = "# Made by hpcdeploy: "


def dockerfile_of(
    settings: ImageSettings,
    project: Path,
    *,
    image_config: ImageConfigOf = no_registry,
    build_args: Sequence[tuple[str, str]] = (),
) -> DockerText:
    """Make the Dockerfile of one image of the project in the folder `project`, which is the build's context.

    Raises `DefinitionError` for an image that is not made from a Pixi workspace, and what its preparation raises.
    """
    if not isinstance(settings.source, PixiSource):
        raise DefinitionError(
            f"the image {settings.name!r} is not made from a Pixi workspace, and only from one a Dockerfile is written; "
            "for this image there is the format 'definition'"
        )
    given = dict(argument(name, value) for name, value in build_args)
    request = Request(
        settings=settings, source=settings.source, project=project, build_args=given, image_config=image_config
    )
    recipe, chosen = answered(request)
    text = render_pixi_dockerfile(
        recipe,
        workspace=settings.source.workspace,
        left_out=tuple(NOT_SOURCE if recipe.own else LEFT_OUT),
        overrides=project,
    )
    return replace(text, notes=(*chosen, *text.notes))


def write_dockerfile(text: DockerText, target: Path, project: Path) -> tuple[Path, Path]:
    """Write the Dockerfile to `target`, and what it leaves out; return both paths.

    The latter is the project's ``.dockerignore`` for the project's ``Dockerfile``, unless somebody wrote one: then, and for
    every other name, it is ``NAME.dockerignore`` beside the Dockerfile, which Docker prefers (Docker documentation, "Build
    context", section ".dockerignore files").
    """
    common = project / ".dockerignore"
    ours = not common.exists() or _is_ours(common)
    is_main = target.resolve() == (project / "Dockerfile").resolve()
    ignore = common if is_main and ours else target.with_name(f"{target.name}.dockerignore")
    for path, content in ((ignore, text.ignore), (target, text.dockerfile)):
        write_whole(path, content)
    return target, ignore


def _is_ours(ignore: Path) -> bool:
    """Tell whether a ``.dockerignore`` is one that was written here."""
    try:
        return read_regular(ignore, LARGEST_TEXT).startswith(_OURS.encode())
    except UnsuitableFileError:
        return False
