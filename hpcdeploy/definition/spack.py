"""A Spack environment as the text of a definition file: ``defs/spack.def`` filled with values that passed the guard."""

import keyword
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from hpcdeploy import templates
from hpcdeploy.definition import guard
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.parts import asked_for, base_image, build_arguments, copy_pair, values_of
from hpcdeploy.environments.spack_container import SYSTEMS, Container, System
from hpcdeploy.environments.spack_view import DEFAULT_VIEW
from hpcdeploy.image import ImageSettings, Secret
from hpcdeploy.source import SpackSource

ENVIRONMENT = "/opt/spack-environment"
"""Where the environment lies in both stages; with /opt/software and /opt/view, the places of Spack's own containerize."""

BUILD = "/opt/hpcdeploy"
"""What only the build stage needs."""

CHECK = "/opt/environment-check"
DEFAULT_BASE = "docker.io/spack/ubuntu-noble:1.2.2"
DEFAULT_FINAL_BASE = "docker.io/ubuntu:24.04"
RECIPES_NAMESPACE = "hpcdeploy_recipes"
INSTALL_TREE = "config:install_tree:root:/opt/software"


@dataclass(frozen=True, kw_only=True)
class SpackRecipe:
    """What an image of a Spack environment is to hold, all questions answered.

    ``shipped`` are the places in the build stage of files and folders that it needs (see `staged_place`); ``repos`` those of
    package repositories, ``recipes`` packages, each with the folder of its ``package.py``. ``credentials`` are variables
    that mirrors are read and written with. ``options`` are values of ``spack -c``; an empty ``lock_sha256`` is no lock file.
    ``environment`` is the folder of ``spack.yaml``, `ENVIRONMENT` or one in it. ``view`` is whether there is the view that
    the container's environment leads to, ``view_in_manifest`` whether it is written into ``spack.yaml`` (else an option
    names it); ``views`` are the places of others.
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
    """Return where the file or folder of a place in the build stage lies in the build's context."""
    return f"image{guard.destination(destination)}"


def render_spack(recipe: SpackRecipe, *, overrides: Path | None = None) -> str:
    """Render the definition; `DefinitionError` for what cannot be said in one, with the reason.

    ``overrides`` is the project's folder, whose own ``defs/spack.def`` wins.
    """
    source, container = recipe.source, recipe.container or Container(strip=False)
    labels = {**dict(container.labels), **dict(recipe.settings.labels)}
    compilers = tuple((name, path) for name, path in (("CC", source.cc), ("CXX", source.cxx)) if path)
    settings = replace(recipe.settings, labels=tuple(labels.items()), environment=(*compilers, *recipe.settings.environment))
    arguments = spack_arguments(recipe)
    build, final = bases(recipe.settings, recipe.container)
    values = {
        **values_of(settings, arguments),
        "build": base_image(build, "the base image"),
        "final": base_image(final, "the final base image"),
        "environment": guard.word(recipe.environment),
        "views": _views(recipe),
        "view": recipe.view,
        "view_in_manifest": recipe.view_in_manifest,
        "environment_files": tuple(copy_pair(staged_place(path), PurePosixPath(path)) for path in recipe.shipped),
        "repos": tuple(map(guard.word, recipe.repos)),
        "recipes": tuple(
            {"package": package, "module": module_name(package), "folder": guard.word(folder)}
            for package, folder in recipe.recipes
        ),
        "recipes_namespace": guard.word(recipe.recipes_namespace),
        "configuration": tuple(map(guard.word, (INSTALL_TREE, *recipe.options))),
        "install_secrets": _as_variables(
            asked_for(settings, source.secrets, "the installation ('spack')"), recipe.credentials
        ),
        "locked": bool(recipe.lock_sha256),
        "lock_sha256": recipe.lock_sha256,
        "jobs": source.jobs,
        "push_cache": guard.word(source.push_cache) if source.push_cache else "",
        "strip": container.strip,
        "manager": container.manager,
        "update_lists": container.update,
        "build_packages": " ".join(map(guard.word, container.build_packages)),
        "final_packages": " ".join(map(guard.word, container.final_packages)),
        "container_test": guard.shell_lines((container.test,), "container.singularity.test", arguments)
        if container.test
        else (),
        "check": CHECK if source.check else "",
        "check_file": (copy_pair(staged_place(CHECK), PurePosixPath(CHECK)),) if source.check else (),
        "compilers": tuple((name, guard.word(str(guard.destination(path)))) for name, path in compilers),
        "user": _user(source),
        "target": guard.label("target", recipe.target)[1],
    }
    text = templates.render("defs/spack.def", values, overrides=overrides)
    check_definition(text)
    return text


def spack_arguments(recipe: SpackRecipe) -> dict[str, str]:
    """Return what ``%arguments`` says in each stage: those of the settings."""
    return build_arguments(recipe.settings, {})


def bases(settings: ImageSettings, container: Container | None) -> tuple[str, str]:
    """Return the images that the two stages start from: the settings', else ``spack.yaml``'s, else Ubuntu 24.04.

    The final image of a build image that Spack's project makes is that one's own system.
    """
    build = settings.base or (container.build if container else "") or DEFAULT_BASE
    if settings.final_base:
        return build, settings.final_base
    if container and container.final:
        return build, container.final
    system = spack_system(build)
    return build, system.final if system else DEFAULT_FINAL_BASE


def spack_system(image: str) -> System | None:
    """Return the system of `image` where it is one of Spack's own images, by whatever tag or digest."""
    return next((system for system in SYSTEMS.values() if _repository(image) == _repository(system.build)), None)


def module_name(package: str) -> str:
    """Return the folder of a package in a repository of Spack's package API 2: a name of Python.

    Source: ``pkg_name_to_pkg_dir`` in ``lib/spack/spack/util/naming.py`` of Spack 1.
    """
    name = package.replace("-", "_")
    return f"_{name}" if name[0].isdigit() or keyword.iskeyword(name) else name


def _repository(image: str) -> str:
    path = image.removeprefix("docker://").partition("@")[0].removeprefix("docker.io/")
    head, slash, last = path.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _as_variables(secrets: tuple[Secret, ...], credentials: tuple[str, ...]) -> tuple[Secret, ...]:
    """Make those secrets variables that Spack reads as such, also where they come from a file."""
    return tuple(replace(one, env=one.name, file="") if one.name in credentials else one for one in secrets)


def _views(recipe: SpackRecipe) -> tuple[dict[str, object], ...]:
    """Describe each view: its root, the folder beside it that holds it, which bears its name, and where that is noted.

    The folder is ``._NAME`` (``ViewDescriptor._next_root`` in ``lib/spack/spack/environment/environment.py`` of Spack).
    """
    views: list[dict[str, object]] = []
    for number, place in enumerate(((DEFAULT_VIEW,) if recipe.view else ()) + recipe.views):
        root = guard.destination(place)
        held = root.parent / f"._{root.name}"
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


def _user(source: SpackSource) -> dict[str, object] | None:
    if source.user is None:
        return None
    home = guard.destination(source.user.home or f"/opt/{source.user.name}")
    log = guard.word(f"/var/log/{source.user.name}")
    return {
        "name": guard.word(source.user.name),
        "uid": source.user.uid,
        "gid": source.user.gid,
        "home": guard.word(str(home)),
        "log": log,
    }
