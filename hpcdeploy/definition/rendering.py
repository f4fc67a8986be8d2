"""A Pixi recipe as the text of a definition file: ``defs/pixi.def`` filled with values that passed the guard."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy import __version__, templates
from hpcdeploy.definition import guard
from hpcdeploy.definition.grammar import read_definition, substitute
from hpcdeploy.errors import DefinitionError
from hpcdeploy.image import ImageSettings

WORKSPACE = "/app"
"""Where the workspace lies in the image: environments hold their own path, so it is the same in every stage."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What an image is to hold, all questions answered.

    ``workspace`` are the files that Pixi needs, as places relative to the workspace; ``cuda`` is empty for none.
    ``lock_sha256`` is that of the lock file.
    """

    settings: ImageSettings
    environment: str
    cuda: str
    workspace: tuple[str, ...]
    lock_sha256: str


def staged_workspace_file(relative: str) -> str:
    """Return where a file of the workspace lies in the build's context."""
    return f"workspace/{relative}"


def staged_copy(settings: ImageSettings, number: int) -> str:
    """Return where the file or folder of ``settings.files[number]`` lies in the build's context.

    Its last name is that of its destination: ``cp``, which Apptainer uses, would put a folder *into* one that is there.
    """
    return f"files/{number}/{guard.destination(settings.files[number].destination).name}"


def render_definition(recipe: Recipe, *, overrides: Path | None = None) -> str:
    """Render the definition; `DefinitionError` for what cannot be said in one, with the reason.

    ``overrides`` is the project's folder, whose own ``defs/pixi.def`` wins.
    """
    settings = recipe.settings
    arguments = default_arguments(recipe)
    values = {
        "version": __version__,
        "name": guard.label("name", settings.name)[1],
        "environment": recipe.environment,
        "build": _header(settings.base, "the base image"),
        "final": _header(settings.final_base or settings.base, "the final base image"),
        "arguments": tuple(arguments.items()),
        "cuda": recipe.cuda,
        "workspace": tuple(
            (guard.file_word(staged_workspace_file(name)), guard.file_word(guard.destination(f"{WORKSPACE}/{name}")))
            for name in recipe.workspace
        ),
        "files": tuple(_copy_line(settings, number) for number in range(len(settings.files))),
        "exports": tuple(guard.word(guard.export(name, value)) for name, value in settings.environment),
        "labels": tuple(guard.word(" ".join(guard.label(key, value))) for key, value in settings.labels),
        "setup": guard.shell_lines(settings.setup, "setup", arguments),
        "test": guard.shell_lines(settings.test, "test", arguments),
        "command": " ".join(map(guard.word, settings.command)),
        "lock_sha256": recipe.lock_sha256,
    }
    text = templates.render("defs/pixi.def", values, overrides=overrides)
    check_definition(text)
    return text


def default_arguments(recipe: Recipe) -> dict[str, str]:
    """Return what ``%arguments`` says in each stage."""
    arguments = {"CUDA_VERSION": guard.cuda_version(recipe.cuda)} if recipe.cuda else {}
    arguments["ENVIRONMENT"] = guard.environment_name(recipe.environment)
    own = dict(guard.argument(name, value) for name, value in recipe.settings.build_args)
    return arguments | {name: value for name, value in own.items() if name not in ("CUDA_VERSION", "ENVIRONMENT")}


def check_definition(text: str, build_args: Mapping[str, str] | None = None) -> None:
    """Read a definition as Apptainer will, templates replaced and not; `DefinitionError` where it would refuse."""
    before = read_definition(text)
    after = read_definition(substitute(text, build_args or {}))
    if [stage.header.get("stage") for stage in before] != [stage.header.get("stage") for stage in after] or not after:
        raise DefinitionError("a build argument's value changes the definition's stages; leave line breaks out of it")


def _header(image: str, what: str) -> dict[str, str]:
    bootstrap, source = guard.header(image, what)
    return {"bootstrap": bootstrap, "source": source}


def _copy_line(settings: ImageSettings, number: int) -> tuple[str, str]:
    place = guard.destination(settings.files[number].destination)
    return guard.file_word(staged_copy(settings, number)), guard.file_word(place.parent, folder=True)
