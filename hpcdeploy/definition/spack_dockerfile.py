"""Render a Spack environment as a Dockerfile: ``defs/spack.dockerfile`` and ``defs/spack.dockerignore``.

The recipe is that of the definition, and so is the shell text of both stages (``defs/parts/spack_*.def``).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hpcdeploy import __version__, templates
from hpcdeploy.definition import guard
from hpcdeploy.definition.docker_text import (
    DockerText,
    array,
    base_image,
    between,
    copied_files,
    copy,
    hidden_places,
    ignore_pattern,
    mounts,
    pair,
    script,
    settings_notes,
    shared_values,
)
from hpcdeploy.definition.spack import (
    CHECK,
    ENVIRONMENT,
    NO_CONTAINER,
    SpackRecipe,
    bases,
    held_folder,
    home_of,
    install_secrets,
    spack_arguments,
    stage_values,
    view_roots,
    whole_settings,
)

ENTRYPOINT = f"{ENVIRONMENT}/entrypoint.sh"


def render_spack_dockerfile(
    recipe: SpackRecipe, places: Mapping[str, str], *, left_out: Sequence[str] = (), overrides: Path | None = None
) -> DockerText:
    """Render the Dockerfile and its ``.dockerignore``.

    Args:
        recipe: The content of the image.
        places: The path in the project of each path in ``recipe.shipped``, and of the check (`CHECK`).
        left_out: Names of files and folders to exclude from every copied folder.
        overrides: The project's folder. Its templates in ``defs``, if present, replace the built-in ones.

    Raises:
        DefinitionError: A Dockerfile cannot express a value; the message has the reason.
        TemplateError: A template is broken.
    """
    settings, container = whole_settings(recipe), recipe.container or NO_CONTAINER
    build, final = bases(recipe.settings, recipe.container)
    shared = shared_values(settings, spack_arguments(recipe), ENTRYPOINT)
    values: dict[str, object] = {
        **shared,
        **stage_values(recipe),
        "variables": shared["environment"],
        "requested": False,
        "build": base_image(build, "base"),
        "final": base_image(final, "final-base"),
        "environment_files": [copy(places[path], path) for path in recipe.shipped],
        "install_mounts": mounts(install_secrets(recipe)),
        "kept": [between(str(held_folder(root))) for root in view_roots(recipe)],
        "check_file": copy(places[CHECK], CHECK) if recipe.source.check else "",
        "readable": " ".join(guard.word(str(guard.destination(place))) for _, place in copied_files(settings)),
        "bind_points": shared["bind_points"],
        "own_labels": [pair(*one) for one in _labels(recipe)],
        "names": " ".join(name for name, _ in settings.environment),
        "entrypoint": array(_entrypoint(recipe)),
        "home": str(home_of(recipe.source.user)) if recipe.source.user else "",
    }
    folders = [*(places[path] for path in recipe.shipped), *(place for place, _ in copied_files(settings))]
    allowed = {
        "folders": [ignore_pattern(place) for place in folders],
        "needed": [*hidden_places(folders, left_out), *([ignore_pattern(places[CHECK])] if recipe.source.check else [])],
        "left_out": sorted(left_out),
        **{key: values[key] for key in ("name", "version")},
    }
    filters = {"script": script, "active_script": lambda text: script(text, ENTRYPOINT)}
    return DockerText(
        dockerfile=templates.render("defs/spack.dockerfile", values, filters=filters, overrides=overrides),
        ignore=templates.render("defs/spack.dockerignore", allowed, overrides=overrides),
        notes=settings_notes(settings, tests=bool(settings.test or container.test)),
    )


def _labels(recipe: SpackRecipe) -> list[tuple[str, str]]:
    """Return the labels that hpcdeploy adds, as in a definition; the ports are EXPOSE in a Dockerfile."""
    locked = [("io.github.hpcdeploy.lock", f"sha256:{recipe.lock_sha256}")] if recipe.lock_sha256 else []
    return [
        ("io.github.hpcdeploy.version", __version__),
        ("io.github.hpcdeploy.spack.target", guard.label("target", recipe.target)[1]),
        *locked,
    ]


def _entrypoint(recipe: SpackRecipe) -> list[str]:
    """Return the words of ENTRYPOINT. A check runs in the active environment, and the command only if it succeeds."""
    return [ENTRYPOINT, *(("/bin/bash", "-c", f'{CHECK} && exec "$@"', CHECK) if recipe.source.check else ())]
