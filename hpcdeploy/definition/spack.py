"""Render the definition of a Spack environment: ``defs/spack.def`` with validated values, which its Dockerfile shares."""

import keyword
from dataclasses import replace
from pathlib import Path, PurePosixPath

from hpcdeploy import templates
from hpcdeploy.definition import guard
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.parts import base_image, build_arguments, copy_pair, required_secrets, values_of
from hpcdeploy.environments.spack_container import SYSTEMS, Container, System
from hpcdeploy.environments.spack_view import DEFAULT_VIEW
from hpcdeploy.frozen import frozen
from hpcdeploy.image import ImageSettings, Secret
from hpcdeploy.source import SpackSource, User

ENVIRONMENT = "/opt/spack-environment"
"""Path of the environment in both stages. ``spack containerize`` uses the same path, and /opt/software and /opt/view."""

BUILD = "/opt/hpcdeploy"
"""Folder that only the build stage needs."""

CHECK = "/opt/environment-check"
DEFAULT_BASE = "docker.io/spack/ubuntu-noble:1.2.2"
DEFAULT_FINAL_BASE = "docker.io/ubuntu:24.04"
RECIPES_NAMESPACE = "hpcdeploy_recipes"
INSTALL_TREE = "config:install_tree:root:/opt/software"
NO_CONTAINER = Container(strip=False)
"""The content of a missing section ``container``."""


@frozen
class SpackRecipe:
    """The content of an image of a Spack environment.

    Attributes:
        settings: The image's settings.
        source: The settings of the Spack environment.
        target: The name of the microarchitecture for which packages are compiled.
        shipped: Paths, in the build stage, of the files and folders to copy from the context (see `staged_place`).
        options: Values of ``spack -c``.
        repos: Paths in the build stage of package repositories.
        recipes: Packages, each with the folder of its ``package.py``.
        recipes_namespace: The namespace of the packages in `recipes`.
        credentials: Variables for access to mirrors.
        container: The ``container`` section of ``spack.yaml``.
        lock_sha256: The checksum of the lock file; empty if there is none.
        environment: The folder of ``spack.yaml``: `ENVIRONMENT` or a folder in it.
        view: Whether the environment has the view `DEFAULT_VIEW`, which the container's environment uses.
        view_in_manifest: Whether the build writes this view into ``spack.yaml``; if false, `options` contain the view.
        views: Paths of the other views.
    """

    settings: ImageSettings
    source: SpackSource
    target: str
    shipped: tuple[str, ...]
    options: tuple[str, ...] = ()
    repos: tuple[str, ...] = ()
    recipes: tuple[tuple[str, str], ...] = ()
    recipes_namespace: str = RECIPES_NAMESPACE
    credentials: tuple[str, ...] = ()
    container: Container | None = None
    lock_sha256: str = ""
    environment: str = ENVIRONMENT
    view: bool = True
    view_in_manifest: bool = True
    views: tuple[str, ...] = ()


def staged_place(destination: str) -> str:
    """Return the path, in the build's context, of a file or folder that the build stage has at `destination`.

    Raises:
        DefinitionError: The destination is invalid.
    """
    return f"image{guard.destination(destination)}"


def render_spack(recipe: SpackRecipe, *, overrides: Path | None = None) -> str:
    """Render the definition.

    Args:
        recipe: The content of the image.
        overrides: The project's folder. Its ``defs/spack.def``, if present, replaces the built-in template.

    Raises:
        DefinitionError: A definition cannot express a value; the message has the reason.
        TemplateError: The template is broken.
    """
    arguments = spack_arguments(recipe)
    build, final = bases(recipe.settings, recipe.container)
    container = recipe.container or NO_CONTAINER
    values = {
        **values_of(whole_settings(recipe), arguments),
        **stage_values(recipe),
        "requested": True,
        "build": base_image(build, "the base image"),
        "final": base_image(final, "the final base image"),
        "environment_files": tuple(copy_pair(staged_place(path), PurePosixPath(path)) for path in recipe.shipped),
        "container_test": guard.shell_lines((container.test,), "container.singularity.test", arguments)
        if container.test
        else (),
        "check_file": (copy_pair(staged_place(CHECK), PurePosixPath(CHECK)),) if recipe.source.check else (),
    }
    text = templates.render("defs/spack.def", values, overrides=overrides)
    check_definition(text)
    return text


def whole_settings(recipe: SpackRecipe) -> ImageSettings:
    """Return the image's settings with the labels of ``spack.yaml``, and with the compilers as variables."""
    labels = {**dict((recipe.container or NO_CONTAINER).labels), **dict(recipe.settings.labels)}
    environment = (*_compilers(recipe.source), *recipe.settings.environment)
    return replace(recipe.settings, labels=tuple(labels.items()), environment=environment)


def stage_values(recipe: SpackRecipe) -> dict[str, object]:
    """Return the values of the shell text that a definition and a Dockerfile share (``defs/parts/spack_*.def``).

    Raises:
        DefinitionError: The shell text cannot express a value; the message has the reason.
    """
    source, container = recipe.source, recipe.container or NO_CONTAINER
    return {
        "environment": guard.word(recipe.environment),
        "views": _views(recipe),
        "view": recipe.view,
        "view_in_manifest": recipe.view_in_manifest,
        "repos": tuple(map(guard.word, recipe.repos)),
        "recipes": tuple(
            {"package": package, "module": module_name(package), "folder": guard.word(folder)}
            for package, folder in recipe.recipes
        ),
        "recipes_namespace": guard.word(recipe.recipes_namespace),
        "configuration": tuple(map(guard.word, (INSTALL_TREE, *recipe.options))),
        "install_secrets": install_secrets(recipe),
        "locked": bool(recipe.lock_sha256),
        "lock_sha256": recipe.lock_sha256,
        "jobs": source.jobs,
        "push_cache": guard.word(source.push_cache) if source.push_cache else "",
        "strip": container.strip,
        "manager": container.manager,
        "update_lists": container.update,
        "build_packages": " ".join(map(guard.word, container.build_packages)),
        "final_packages": " ".join(map(guard.word, container.final_packages)),
        "check": CHECK if source.check else "",
        "compilers": tuple((name, guard.word(str(guard.destination(path)))) for name, path in _compilers(source)),
        "user": _user(source),
        "target": guard.label("target", recipe.target)[1],
    }


def install_secrets(recipe: SpackRecipe) -> tuple[Secret, ...]:
    """Return the secrets that the installation reads.

    Raises:
        DefinitionError: The settings do not define one of them.
    """
    secrets = required_secrets(recipe.settings, recipe.source.secrets, "the installation ('spack')")
    return _as_variables(secrets, recipe.credentials)


def spack_arguments(recipe: SpackRecipe) -> dict[str, str]:
    """Return the arguments for ``%arguments`` of each stage, which all come from the settings.

    Raises:
        DefinitionError: An argument is invalid.
    """
    return build_arguments(recipe.settings, {})


def bases(settings: ImageSettings, container: Container | None) -> tuple[str, str]:
    """Return the base images of the build stage and of the final stage.

    The settings have precedence over ``spack.yaml``. If neither sets the build image, it is `DEFAULT_BASE`. If neither sets
    the final image: the final image of a build image of Spack is a plain image of the same operating system; the final image
    of any other build image is `DEFAULT_FINAL_BASE`.
    """
    build = settings.base or (container.build if container else "") or DEFAULT_BASE
    if settings.final_base:
        return build, settings.final_base
    if container and container.final:
        return build, container.final
    system = spack_system(build)
    return build, system.final if system else DEFAULT_FINAL_BASE


def spack_system(image: str) -> System | None:
    """Return the operating system of `image` if it is one of Spack's own images, with any tag or digest."""
    return next((system for system in SYSTEMS.values() if _repository(image) == _repository(system.build)), None)


def module_name(package: str) -> str:
    """Return the folder of a package in a repository of Spack's package API 2, which is a valid Python name.

    Source: ``pkg_name_to_pkg_dir`` in ``lib/spack/spack/util/naming.py`` of Spack 1.
    """
    name = package.replace("-", "_")
    return f"_{name}" if name[0].isdigit() or keyword.iskeyword(name) else name


def _repository(image: str) -> str:
    path = image.removeprefix("docker://").partition("@")[0].removeprefix("docker.io/")
    head, slash, last = path.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _as_variables(secrets: tuple[Secret, ...], credentials: tuple[str, ...]) -> tuple[Secret, ...]:
    """Turn secrets that are named in `credentials` into variables, because Spack reads credentials from variables only."""
    return tuple(replace(one, env=one.name, file="") if one.name in credentials else one for one in secrets)


def _compilers(source: SpackSource) -> tuple[tuple[str, str], ...]:
    return tuple((name, path) for name, path in (("CC", source.cc), ("CXX", source.cxx)) if path)


def view_roots(recipe: SpackRecipe) -> tuple[PurePosixPath, ...]:
    """Return the paths of all views in the image."""
    return tuple(map(guard.destination, ((DEFAULT_VIEW,) if recipe.view else ()) + recipe.views))


def held_folder(root: PurePosixPath) -> PurePosixPath:
    """Return the folder with the files of the view `root`.

    The root is a link to a folder in ``._NAME``, which is in the same parent folder (``ViewDescriptor._next_root`` in
    ``lib/spack/spack/environment/environment.py`` of Spack).
    """
    return root.parent / f"._{root.name}"


def _views(recipe: SpackRecipe) -> tuple[dict[str, object], ...]:
    """Return the template values of each view: its root, the folder of its files, and the file that records that folder."""
    views: list[dict[str, object]] = []
    for number, root in enumerate(view_roots(recipe)):
        held = held_folder(root)
        views.append(
            {
                "root": guard.word(str(root)),
                "folder": guard.word(str(root.parent)),
                "held": guard.word(str(held)),
                "inner": guard.word(str(held / "view")),
                "copied": guard.file_word(held),
                "note": guard.word(f"{ENVIRONMENT}/.view{number or ''}"),
            }
        )
    return tuple(views)


def home_of(user: User) -> PurePosixPath:
    """Return the path of the home folder of the final image's user.

    Raises:
        DefinitionError: The path is invalid.
    """
    return guard.destination(user.home or f"/opt/{user.name}")


def _user(source: SpackSource) -> dict[str, object] | None:
    if source.user is None:
        return None
    home = home_of(source.user)
    log = guard.word(f"/var/log/{source.user.name}")
    return {
        "name": guard.word(source.user.name),
        "uid": source.user.uid,
        "gid": source.user.gid,
        "home": guard.word(str(home)),
        "log": log,
    }
