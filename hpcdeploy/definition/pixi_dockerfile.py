"""Render a Pixi environment as a Dockerfile: ``defs/pixi.dockerfile`` and ``defs/pixi.dockerignore`` with quoted values.

The build's context is the project's folder. `hpcdeploy.definition.dockerfile.words` has the quoting rules, and can
parse the Dockerfiles that this module writes.
"""

import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path

from hpcdeploy import templates
from hpcdeploy.definition import guard
from hpcdeploy.definition.docker_text import (
    DockerText,
    base_image,
    between,
    copied_files,
    copy,
    hidden_places,
    ignore_pattern,
    literal,
    mounts,
    pair,
    paths_of_copy,
    secret_variables,
    settings_notes,
    shared_values,
)
from hpcdeploy.definition.parts import required_secrets
from hpcdeploy.definition.pixi import WORKSPACE, Activation, PixiRecipe, outermost, pixi_arguments


def render_pixi_dockerfile(
    recipe: PixiRecipe, *, workspace: str = ".", left_out: Sequence[str] = (), overrides: Path | None = None
) -> DockerText:
    """Render the Dockerfile and its ``.dockerignore``.

    Args:
        recipe: The content of the image.
        workspace: The workspace's folder, relative to the project's.
        left_out: Names of files and folders to exclude from every copied folder.
        overrides: The project's folder. Its templates in ``defs``, if present, replace the built-in ones.

    Raises:
        DefinitionError: A Dockerfile cannot express a value; the message has the reason.
        TemplateError: A template is broken.
    """
    settings, arguments = recipe.settings, pixi_arguments(recipe)
    own = [(posixpath.normpath(f"{workspace}/{package.place}"), package.destination) for package in outermost(recipe.own)]
    editable = [package.destination for package in outermost(one for one in recipe.own if one.editable)]
    install = required_secrets(settings, recipe.secrets, "the installation ('pixi')")
    needed = _places(workspace, recipe.workspace)
    sourced, kept = _sourced(recipe.activation, workspace)
    values: dict[str, object] = {
        **shared_values(settings, arguments, f"{WORKSPACE}/entrypoint.sh"),
        "build": base_image(settings.base, "base"),
        "final": base_image(settings.final_base or settings.base, "final-base"),
        "cuda": recipe.cuda,
        "platform": guard.platform_name(recipe.platform),
        "overrides": [pair(*guard.override(*one)) for one in recipe.overrides],
        "needed": [copy(*one) for one in needed],
        "sourced": sourced,
        "own": [copy(*one) for one in own],
        "kept": [*(between(place) for _, place in needed), *kept, *map(between, editable)],
        "editable_workspace": WORKSPACE in editable,
        "install_mounts": mounts(install),
        "install_variables": "".join(f"{word} " for word in secret_variables(install)),
    }
    chosen = [place for place, _ in (*_places(workspace, recipe.activation.more), *copied_files(settings))]
    files = [place for place, _ in (*needed, *_places(workspace, recipe.activation.beside))]
    allowed = {
        "folders": [ignore_pattern(place) for place in (*(place for place, _ in own), *chosen)],
        "needed": [*hidden_places(chosen, left_out), *map(ignore_pattern, files)],
        "left_out": sorted(left_out),
        **{key: values[key] for key in ("name", "version")},
    }
    return DockerText(
        dockerfile=templates.render("defs/pixi.dockerfile", values, overrides=overrides),
        ignore=templates.render("defs/pixi.dockerignore", allowed, overrides=overrides),
        notes=settings_notes(settings, tests=bool(settings.test)),
    )


def _places(workspace: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of a path in the project and a path in the image for files or folders of the workspace."""
    return [(posixpath.normpath(f"{workspace}/{name}"), posixpath.normpath(f"{WORKSPACE}/{name}")) for name in names]


def _sourced(activation: Activation, workspace: str) -> tuple[list[str], list[str]]:
    """Return the arguments of COPY for the files that activation scripts may source.

    The entry point sources the scripts at every start of a container, so the final image needs these files too.

    Returns:
        The arguments for copying from the context into the build stage, and from the build stage into the final stage.
    """
    folders = _places(workspace, (*activation.folders, *activation.more))
    inside = [name for name in activation.beside if any(name.startswith(f"{folder}/") for folder in activation.folders)]
    top = _places(workspace, [name for name in activation.beside if name not in inside])
    given = [*(copy(*one) for one in folders), *_copy_several([place for place, _ in top])]
    kept = [*(between(place) for _, place in folders), *_copy_several([place for _, place in top])]
    return given, kept


def _copy_several(sources: Sequence[str]) -> Iterator[str]:
    """Yield the arguments of one COPY of all `sources` into the workspace's folder; yield nothing without `sources`."""
    for source in sources:
        copy(source, WORKSPACE)  # raises for names that COPY cannot express
    if sources:
        yield paths_of_copy(*map(literal, sources), f"{WORKSPACE}/")
