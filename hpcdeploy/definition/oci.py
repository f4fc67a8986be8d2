"""An image that exists as the text of a definition: ``defs/oci.def``, with what Apptainer loses of the image put back.

What Apptainer 1.4.5 loses was seen by running it (tests/builds/test_oci_source.py): its run script evaluates every word in
a shell once more, its start script ignores ENTRYPOINT and CMD, WORKDIR is not read at all, a variable of the image gives way
to the host's, and a backquote or a ``$`` in a value is run, or ends the file that sets all of them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from hpcdeploy import templates
from hpcdeploy.definition import guard
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.parts import build_arguments, runs_in_apptainer, values_of
from hpcdeploy.errors import DefinitionError
from hpcdeploy.image import ImageSettings
from hpcdeploy.source import OciConfig

ARCHIVES = ("oci-archive", "docker-archive")
"""Bootstrap agents that take a file."""

STAGED_ARCHIVE = "image/archive.tar"
"""Where an archive lies in the build's folder."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_OWN = frozenset({"HOME", "PWD", "OLDPWD", "SHLVL", "PPID", "UID", "EUID", "GID", "IFS"})
"""Variables that are the person's, or that a shell keeps for itself."""

_NOT_THE_IMAGE_S = ("/tmp", "/var/tmp", "/home", "/root", "/dev", "/proc", "/sys")  # noqa: S108 - named, not used


@dataclass(frozen=True, kw_only=True)
class OciRecipe:
    """What an image is to hold that starts from another one.

    ``base`` are the header's words, ``bootstrap`` and ``source``; ``image`` is the reference that a person wrote, with its
    registry, or empty for an archive. ``config`` is what the image says of itself.
    """

    settings: ImageSettings
    config: OciConfig
    base: tuple[str, str]
    image: str = ""


def render_oci(recipe: OciRecipe, *, overrides: Path | None = None) -> str:
    """Render the definition; `DefinitionError` for what cannot be said in one, with the reason.

    ``overrides`` is the project's folder, whose own ``defs/oci.def`` wins.
    """
    settings, config = recipe.settings, recipe.config
    # There is no activation here that a PATH of the settings could take away.
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
        "entrypoint": _words(config.entrypoint),
        "command": _words(settings.command or config.cmd),
        "start": _words(settings.start or settings.command or config.cmd),
        "bind_points": tuple(guard.sh_word(str(guard.destination(place))) for place in settings.bind_points),
        "labels": tuple(f"{key} {value}" for key, value in labels if key not in taken and "{{" not in value),
        "winning_labels": tuple(guard.sh_word(f"{key} {value}") for key, value in labels if key in taken or "{{" in value),
    }
    text = templates.render("defs/oci.def", values, overrides=overrides)
    check_definition(text)
    return text


def oci_arguments(settings: ImageSettings) -> dict[str, str]:
    """Return what ``%arguments`` says: the settings' own."""
    return build_arguments(settings, {})


def notes_of(config: OciConfig, settings: ImageSettings) -> tuple[str, ...]:
    """Return what a container will do otherwise than with Docker, one sentence each."""
    return tuple(_notes(config, settings))


def _notes(config: OciConfig, settings: ImageSettings) -> Iterator[str]:
    workdir = _workdir(config)
    if workdir != "/":
        yield (
            f"'apptainer run' and instances begin in the image's WORKDIR {workdir}; 'exec' and 'shell' stay in your own "
            "folder"
        )
    if any(PurePosixPath(workdir).is_relative_to(place) for place in _NOT_THE_IMAGE_S):
        yield (
            f"WORKDIR {workdir} is in a folder that is the machine's own, or that only root may enter: where it cannot be "
            "entered, 'run' says so and stays in your folder"
        )
    if config.user.partition(":")[0] not in ("", "0", "root"):
        yield (
            f"the image's USER {config.user} does not count: every program runs as you, who may lack that user's rights to "
            "files in the image"
        )
    if config.volumes:
        yield (
            f"VOLUME {' '.join(config.volumes)}: nothing in the image can be written to; bind a folder of yours there: "
            f"--bind DIR:{config.volumes[0]}"
        )
    if config.ports:
        yield (
            f"EXPOSE {' '.join(config.ports)}: a container uses the machine's own network, where another program may have "
            "that port, and where yours may not listen below 1024"
        )
    if config.health_check:
        yield "HEALTHCHECK: Apptainer never runs it"
    if config.stop_signal:
        yield f"STOPSIGNAL: stop instances with 'apptainer instance stop --signal {config.stop_signal} NAME'"
    left = [name for name, _ in config.env if not _is_set(name)]
    if left:
        yield f"the image's variables {', '.join(left)} are left out: they are your own, or no shell can name them"
    if not (config.entrypoint or config.cmd or settings.command):
        yield "the image names no command: give one to 'apptainer run', or set 'command'"


def _variables(config: OciConfig, settings: ImageSettings) -> Iterator[tuple[str, str]]:
    """The image's variables, then the settings' own."""
    yield from ((name, value) for name, value in config.env if _is_set(name))
    for name, value in settings.environment:
        if not _NAME.fullmatch(name):
            raise DefinitionError(f"the variable's name {name!r} may hold only letters, digits and '_'")
        yield name, value


def _is_set(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and name not in _OWN


def _workdir(config: OciConfig) -> str:
    return str(PurePosixPath("/") / config.workdir)


def _words(words: tuple[str, ...]) -> str:
    return " ".join(map(guard.sh_word, words))
