"""A Pixi environment as the text of a definition file: ``defs/pixi.def`` filled with values that passed the guard."""

from dataclasses import dataclass
from pathlib import Path

from hpcdeploy import templates
from hpcdeploy.definition import guard
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.parts import asked_for, base_image, build_arguments, values_of
from hpcdeploy.image import ImageSettings

WORKSPACE = "/app"
"""Where the workspace lies in the image: environments hold their own path, so it is the same in every stage."""

DEFAULT_BASE = "ghcr.io/prefix-dev/pixi:noble"


@dataclass(frozen=True, kw_only=True)
class PixiRecipe:
    """What an image of a Pixi environment is to hold, all questions answered.

    ``workspace`` are the files that Pixi needs, as places relative to the workspace; ``cuda`` is empty for none.
    ``lock_sha256`` is that of the lock file. ``secrets`` are the names of those that the installation may read.
    """

    settings: ImageSettings
    environment: str
    cuda: str
    workspace: tuple[str, ...]
    lock_sha256: str
    secrets: tuple[str, ...] = ()


def staged_workspace_file(relative: str) -> str:
    """Return where a file of the workspace lies in the build's context."""
    return f"workspace/{relative}"


def render_pixi(recipe: PixiRecipe, *, overrides: Path | None = None) -> str:
    """Render the definition; `DefinitionError` for what cannot be said in one, with the reason.

    ``overrides`` is the project's folder, whose own ``defs/pixi.def`` wins.
    """
    settings = recipe.settings
    base = settings.base or DEFAULT_BASE
    values = {
        **values_of(settings, pixi_arguments(recipe)),
        "environment": recipe.environment,
        "build": base_image(base, "the base image"),
        "final": base_image(settings.final_base or base, "the final base image"),
        "cuda": recipe.cuda,
        "workspace": tuple(
            (guard.file_word(staged_workspace_file(name)), guard.file_word(guard.destination(f"{WORKSPACE}/{name}")))
            for name in recipe.workspace
        ),
        "install_secrets": asked_for(settings, recipe.secrets, "the installation ('pixi')"),
        "lock_sha256": recipe.lock_sha256,
    }
    text = templates.render("defs/pixi.def", values, overrides=overrides)
    check_definition(text)
    return text


def pixi_arguments(recipe: PixiRecipe) -> dict[str, str]:
    """Return what ``%arguments`` says in each stage."""
    own = {"CUDA_VERSION": guard.cuda_version(recipe.cuda)} if recipe.cuda else {}
    own["ENVIRONMENT"] = guard.environment_name(recipe.environment)
    arguments = build_arguments(recipe.settings, own)
    if not recipe.cuda:
        arguments.pop("CUDA_VERSION", None)
    return arguments
