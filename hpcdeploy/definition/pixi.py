"""Render the definition of a Pixi environment: ``defs/pixi.def`` with validated values."""

import posixpath
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from hpcdeploy import templates
from hpcdeploy.definition import guard
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.parts import base_image, build_arguments, copy_pair, required_secrets, values_of
from hpcdeploy.environments.pixi_activation import SURROUNDINGS, Started
from hpcdeploy.frozen import frozen
from hpcdeploy.image import ImageSettings

WORKSPACE = "/app"
"""Path of the workspace in every stage. All stages use the same path, because an environment contains its own path."""

BESIDE, MORE = "beside/app", "more/app"
"""Folders of the build's context. ``%files`` copies them to ``/``, which merges their content into `WORKSPACE`.

For this, their last component must be that of `WORKSPACE`.
"""


@frozen
class OwnPackage:
    """A package that is installed from the workspace's own source.

    Attributes:
        name: The package's name.
        place: The source's folder or file, relative to the workspace (``.``: the workspace itself).
        editable: Whether the package is used from its source, so that the final image needs the source too.
        installed: Whether this environment installs the package. If only another environment installs the package, Pixi
            still reads the package's metadata from the source.
    """

    name: str
    place: str
    editable: bool = False
    installed: bool = True

    @property
    def destination(self) -> str:
        """Return the path of the source in the image."""
        return str(PurePosixPath(WORKSPACE) / self.place)


@frozen
class Activation:
    """The files and variables that the activation of an environment needs. All paths are relative to the workspace.

    Attributes:
        beside: Files in the same folders as the activation scripts: in one of `folders`, or in the workspace itself.
        folders: Folders that contain activation scripts.
        more: Files and folders that only the build stage needs.
        started: Variables that are evaluated when a container starts.
        outside: Names of variables of the container's environment that the values of `started` use.
        surroundings: Names of variables that the scripts may depend on. The build changes these variables to find out
            whether the activation depends on them.
    """

    beside: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    started: tuple[Started, ...] = ()
    outside: tuple[str, ...] = ()
    surroundings: tuple[str, ...] = SURROUNDINGS


@frozen
class PixiRecipe:
    """The content of an image of a Pixi environment. The settings must have a base image.

    Attributes:
        settings: The image's settings.
        environment: The name of the environment.
        cuda: The minimum CUDA version of the driver; empty for none.
        workspace: The files that Pixi needs, relative to the workspace.
        lock_sha256: The checksum of the lock file.
        secrets: The names of the secrets that the installation may read.
        glibc: The minimum version of glibc; empty to skip the check in the build.
        own: Packages that are installed from source.
        activation: Files and variables of the activation.
        platform: The manifest's name of the platform to install if there are several; if empty, Pixi uses the only one.
        overrides: Variables besides ``CONDA_OVERRIDE_CUDA``. With them Pixi assumes that the build machine has the virtual
            packages for which the environment is locked.
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
    """Return the path, in the build's context, of a file that Pixi needs."""
    return f"workspace/{relative}"


def staged_beside(relative: str) -> str:
    """Return the path, in the build's context, of a file in the same folder as an activation script."""
    return f"{BESIDE}/{relative}"


def staged_more(relative: str) -> str:
    """Return the path, in the build's context, of a file or folder that only the build stage needs."""
    return posixpath.normpath(f"{MORE}/{relative}")


def staged_source(place: str) -> str:
    """Return the path, in the build's context, of a package's source.

    The path's last component is the last component of the source's path in the image (see `copy_pair`).
    """
    return f"source{PurePosixPath(WORKSPACE) / place}"


def outermost(packages: Iterable[OwnPackage]) -> tuple[OwnPackage, ...]:
    """Return the packages whose source is not inside the source of another one, and only one package per path.

    Copying the sources of these packages copies the sources of all packages.
    """
    kept: list[OwnPackage] = []
    for package in sorted(packages, key=lambda package: package.destination):
        if not any(PurePosixPath(package.destination).is_relative_to(other.destination) for other in kept):
            kept.append(package)
    return tuple(kept)


def render_pixi(recipe: PixiRecipe, *, overrides: Path | None = None) -> str:
    """Render the definition.

    Args:
        recipe: The content of the image.
        overrides: The project's folder. Its ``defs/pixi.def``, if present, replaces the built-in template.

    Raises:
        DefinitionError: A definition cannot express a value; the message has the reason.
        TemplateError: The template is broken.
    """
    settings, activation = recipe.settings, recipe.activation
    values = {
        **values_of(settings, pixi_arguments(recipe)),
        "environment": recipe.environment,
        "build": base_image(settings.base, "the base image"),
        "final": base_image(settings.final_base or settings.base, "the final base image"),
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
        **_activation_values(recipe),
        "glibc": guard.glibc_version(recipe.glibc),
        "install_secrets": required_secrets(settings, recipe.secrets, "the installation ('pixi')"),
        "lock_sha256": recipe.lock_sha256,
    }
    text = templates.render("defs/pixi.def", values, overrides=overrides)
    check_definition(text)
    return text


def render_activation(recipe: PixiRecipe) -> str:
    """Render the bash script that computes ``activate.sh`` without a container (``defs/pixi_activation.sh``)."""
    return templates.render("defs/pixi_activation.sh", _activation_values(recipe))


def _activation_values(recipe: PixiRecipe) -> dict[str, object]:
    """Return the values of ``defs/parts/pixi_activation.def``."""
    activation = recipe.activation
    return {
        "cuda": recipe.cuda,
        "started": tuple(
            {"name": one.name, "text": guard.word(one.text), "extends": one.extends} for one in activation.started
        ),
        "outside": activation.outside,
        "surroundings": activation.surroundings,
    }


def pixi_arguments(recipe: PixiRecipe) -> dict[str, str]:
    """Return the arguments for ``%arguments`` of each stage.

    Raises:
        DefinitionError: An argument, the CUDA version or the environment's name is invalid.
    """
    own = {"CUDA_VERSION": guard.cuda_version(recipe.cuda)} if recipe.cuda else {}
    own["ENVIRONMENT"] = guard.environment_name(recipe.environment)
    arguments = build_arguments(recipe.settings, own)
    if not recipe.cuda:
        arguments.pop("CUDA_VERSION", None)
    return arguments
