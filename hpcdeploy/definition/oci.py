"""Render the definition of an image that starts from an existing one (``defs/oci.def``).

Apptainer 1.4.5 loses parts of the base image's configuration, and the definition restores them. The tests in
tests/builds/test_oci_source.py show these losses:

- Apptainer's run script evaluates every argument in a shell a second time. Its start script ignores ENTRYPOINT and CMD.
- WORKDIR is ignored.
- If the host has a variable of the same name, a container gets the host's value.
- A backquote or a ``$`` in a variable's value is executed, or ends the script that sets all variables.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from hpcdeploy import templates
from hpcdeploy.definition import guard
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.parts import build_arguments, runs_in_apptainer, values_of
from hpcdeploy.errors import DefinitionError
from hpcdeploy.frozen import frozen
from hpcdeploy.image import ImageSettings
from hpcdeploy.source import OciConfig

ARCHIVES = ("oci-archive", "docker-archive")
"""Bootstrap agents whose source is a file."""

STAGED_ARCHIVE = "image/archive.tar"
"""Path of the archive in the build's context."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NOT_TAKEN_OVER = frozenset({"HOME", "PWD", "OLDPWD", "SHLVL", "PPID", "UID", "EUID", "GID", "IFS"})
"""Variables that are not taken over from a base image: they belong to the user, or a shell sets them itself."""

_HOST_FOLDERS = ("/tmp", "/var/tmp", "/home", "/root", "/dev", "/proc", "/sys")  # noqa: S108 - named, not used


@frozen
class OciRecipe:
    """The content of an image that starts from another image.

    Attributes:
        settings: The image's settings.
        config: The base image's own configuration.
        base: The values of the headers ``Bootstrap`` and ``From``.
        image: The reference as the user wrote it, with its registry; empty for an archive.
    """

    settings: ImageSettings
    config: OciConfig
    base: tuple[str, str]
    image: str = ""


def render_oci(recipe: OciRecipe, *, overrides: Path | None = None) -> str:
    """Render the definition.

    Args:
        recipe: The content of the image.
        overrides: The project's folder. Its ``defs/oci.def``, if present, replaces the built-in template.

    Raises:
        DefinitionError: A definition cannot express a value; the message has the reason.
        TemplateError: The template is broken.
    """
    settings, config = recipe.settings, recipe.config
    # `_variables` adds the settings' variables. `values_of` would reject PATH, which only an activation forbids.
    given = values_of(replace(settings, environment=()), oci_arguments(settings))
    taken = {name for name, _ in config.labels}
    labels = [guard.label(key, value) for key, value in settings.labels]
    values = {
        **given,
        "base": {"bootstrap": recipe.base[0], "source": recipe.base[1]},
        "image": recipe.image,
        "exports": tuple(f"export {name}={guard.sh_word(value)}" for name, value in _variables(config, settings)),
        "drop_variables": runs_in_apptainer(value for _, value in config.env),
        "workdir": guard.sh_word(_workdir(config)) if _workdir(config) != "/" else "",
        "entrypoint": _quoted(config.entrypoint),
        "command": _quoted(settings.command or config.cmd),
        "start": _quoted(settings.start or settings.command or config.cmd),
        "bind_points": tuple(guard.sh_word(str(guard.destination(place))) for place in settings.bind_points),
        "labels": tuple(f"{key} {value}" for key, value in labels if key not in taken and "{{" not in value),
        "winning_labels": tuple(guard.sh_word(f"{key} {value}") for key, value in labels if key in taken or "{{" in value),
    }
    text = templates.render("defs/oci.def", values, overrides=overrides)
    check_definition(text)
    return text


def oci_arguments(settings: ImageSettings) -> dict[str, str]:
    """Return the arguments for ``%arguments``, which all come from the settings.

    Raises:
        DefinitionError: An argument is invalid.
    """
    return build_arguments(settings, {})


def notes_of(config: OciConfig, settings: ImageSettings) -> tuple[str, ...]:
    """Return one note for each way in which a container will differ from Docker's container of the same image."""
    return tuple(_notes(config, settings))


def _notes(config: OciConfig, settings: ImageSettings) -> Iterator[str]:
    workdir = _workdir(config)
    if workdir != "/":
        yield (
            f"'apptainer run' and instances start in the image's WORKDIR {workdir}; 'exec' and 'shell' stay in the "
            "current folder"
        )
    if any(PurePosixPath(workdir).is_relative_to(place) for place in _HOST_FOLDERS):
        yield (
            f"WORKDIR {workdir} is in a folder that belongs to the host, or that only root may enter. If the WORKDIR cannot "
            "be entered, 'run' and instances print a message and stay in the current folder"
        )
    if config.user.partition(":")[0] not in ("", "0", "root"):
        yield (
            f"the image's USER {config.user} has no effect: every program runs as you, possibly without that user's access "
            "to files in the image"
        )
    if config.volumes:
        yield (
            f"VOLUME {' '.join(config.volumes)}: the image is read-only; bind one of your folders to that path: "
            f"--bind DIR:{config.volumes[0]}"
        )
    if config.ports:
        yield (
            f"EXPOSE {' '.join(config.ports)}: a container uses the host's network, where another program may already use "
            "that port, and where ports below 1024 may be forbidden"
        )
    if config.health_check:
        yield "HEALTHCHECK: Apptainer never runs health checks"
    if config.stop_signal:
        yield f"STOPSIGNAL: stop instances with 'apptainer instance stop --signal {config.stop_signal} NAME'"
    left = [name for name, _ in config.env if not _is_set(name)]
    if left:
        yield f"the image's variables {', '.join(left)} are omitted: they belong to the user, or are not valid in a shell"
    if not (config.entrypoint or config.cmd or settings.command):
        yield "the image has no command: pass one to 'apptainer run', or set 'command'"


def _variables(config: OciConfig, settings: ImageSettings) -> Iterator[tuple[str, str]]:
    """Yield the image's variables, then those of the settings."""
    yield from ((name, value) for name, value in config.env if _is_set(name))
    for name, value in settings.environment:
        if not _NAME.fullmatch(name):
            raise DefinitionError(f"the variable's name {name!r} must contain only letters, digits and '_'")
        yield name, value


def _is_set(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and name not in _NOT_TAKEN_OVER


def _workdir(config: OciConfig) -> str:
    return str(PurePosixPath("/") / config.workdir)


def _quoted(words: tuple[str, ...]) -> str:
    return " ".join(map(guard.sh_word, words))
