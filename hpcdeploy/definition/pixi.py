"""A Pixi environment as the text of a definition file: ``defs/pixi.def`` filled with values that passed the guard."""

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hpcdeploy import templates
from hpcdeploy.definition import guard
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.parts import asked_for, base_image, build_arguments, copy_pair, values_of
from hpcdeploy.environments.pixi_activation import SURROUNDINGS, Started
from hpcdeploy.image import ImageSettings

WORKSPACE = "/app"
"""Where the workspace lies in the image: environments hold their own path, so it is the same in every stage."""

BESIDE, MORE = "beside/app", "more/app"
"""Folders of the build's context with the last name of `WORKSPACE`: copying one to its parent merges the two."""


@dataclass(frozen=True, kw_only=True)
class OwnPackage:
    """A package that is installed from the workspace's own source.

    ``place`` is the source's folder or file, relative to the workspace (``.``: the workspace itself). An ``editable`` one is
    used from there, so the final image holds its source too. One that another environment installs is only looked at.
    """

    name: str
    place: str
    editable: bool = False
    installed: bool = True

    @property
    def destination(self) -> str:
        """Where the source lies in the image."""
        return str(PurePosixPath(WORKSPACE) / self.place)


@dataclass(frozen=True, kw_only=True)
class Activation:
    """What the activation of an environment needs, and what a container evaluates of it. All paths are in the workspace.

    ``beside`` are files beside the activation scripts, each in one of the ``folders`` or in the workspace's own; ``more``
    are files and folders for the build stage. ``started`` are variables that are evaluated when a container starts,
    by the variables ``outside``; ``surroundings`` are those that the scripts may depend on.
    """

    beside: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    started: tuple[Started, ...] = ()
    outside: tuple[str, ...] = ()
    surroundings: tuple[str, ...] = SURROUNDINGS


@dataclass(frozen=True, kw_only=True)
class PixiRecipe:
    """What an image of a Pixi environment is to hold, all questions answered.

    The settings name a base image. ``workspace`` are the files that Pixi needs, as places relative to the workspace;
    ``cuda`` is empty for none. ``lock_sha256`` is that of the lock file. ``secrets`` are the names of those that the
    installation may read. ``glibc`` is the oldest C library that the packages run on (empty: not checked), ``own`` what is
    installed from source. ``platform`` is the manifest's name of the one to install, where the environment has several
    (empty: Pixi finds the only one). ``overrides`` are variables with their values, besides ``CONDA_OVERRIDE_CUDA``, that
    describe to Pixi a machine that the environment can be installed on.
    """

    settings: ImageSettings
    environment: str
    cuda: str
    workspace: tuple[str, ...]
    lock_sha256: str
    secrets: tuple[str, ...] = ()
    glibc: str = ""
    own: tuple[OwnPackage, ...] = ()
    activation: Activation = Activation()
    platform: str = ""
    overrides: tuple[tuple[str, str], ...] = ()


def staged_workspace_file(relative: str) -> str:
    """Return where a file of the workspace lies in the build's context."""
    return f"workspace/{relative}"


def staged_beside(relative: str) -> str:
    """Return where a file beside an activation script lies in the build's context."""
    return f"{BESIDE}/{relative}"


def staged_more(relative: str) -> str:
    """Return where a file or folder that only the build stage needs lies in the build's context."""
    return posixpath.normpath(f"{MORE}/{relative}")


def staged_source(place: str) -> str:
    """Return where the source of an own package lies in the build's context; its last name is that in the image."""
    return f"source{PurePosixPath(WORKSPACE) / place}"


def outermost(packages: Iterable[OwnPackage]) -> tuple[OwnPackage, ...]:
    """Return the packages whose source does not lie in another's, each place once: copying these copies all."""
    kept: list[OwnPackage] = []
    for package in sorted(packages, key=lambda package: package.destination):
        if not any(PurePosixPath(package.destination).is_relative_to(other.destination) for other in kept):
            kept.append(package)
    return tuple(kept)


def render_pixi(recipe: PixiRecipe, *, overrides: Path | None = None) -> str:
    """Render the definition; `DefinitionError` for what cannot be said in one, with the reason.

    ``overrides`` is the project's folder, whose own ``defs/pixi.def`` wins.
    """
    settings, activation = recipe.settings, recipe.activation
    values = {
        **values_of(settings, pixi_arguments(recipe)),
        "environment": recipe.environment,
        "build": base_image(settings.base, "the base image"),
        "final": base_image(settings.final_base or settings.base, "the final base image"),
        "cuda": recipe.cuda,
        "platform": guard.platform_name(recipe.platform),
        "overrides": tuple(guard.override(*pair) for pair in recipe.overrides),
        "workspace": tuple(
            (guard.file_word(staged_workspace_file(name)), guard.file_word(guard.destination(f"{WORKSPACE}/{name}")))
            for name in recipe.workspace
        ),
        "own": tuple(
            copy_pair(staged_source(package.place), guard.destination(package.destination))
            for package in outermost(recipe.own)
        ),
        "editable": tuple(
            copy_pair(package.destination, guard.destination(package.destination))
            for package in outermost(package for package in recipe.own if package.editable)
        ),
        "editable_workspace": any(package.editable and package.destination == WORKSPACE for package in recipe.own),
        "beside": BESIDE if activation.beside else "",
        "more": MORE if activation.more else "",
        "started": tuple(
            {"name": one.name, "text": guard.word(one.text), "extends": one.extends} for one in activation.started
        ),
        "outside": activation.outside,
        "surroundings": activation.surroundings,
        "glibc": guard.glibc_version(recipe.glibc),
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
