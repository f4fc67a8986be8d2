"""Prepare the values and texts that the templates of all definitions share."""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath

from hpcdeploy import __version__
from hpcdeploy.architecture import AMD64
from hpcdeploy.definition import guard
from hpcdeploy.definition.grammar import split_stages
from hpcdeploy.errors import DefinitionError
from hpcdeploy.image import ImageSettings, Secret

_SECTION = re.compile(r"^[ \t]*%", re.MULTILINE)
_MOUNT_POINT = """%setup
    # Apptainer can mount secrets only onto an existing folder. This one is empty except while a step reads a secret.
    rootfs=${APPTAINER_ROOTFS:-$SINGULARITY_ROOTFS}
    [ -L "$rootfs/run" ] || mkdir -p "$rootfs/run/secrets"

"""


def with_mount_point(text: str) -> str:
    """Return a definition in which every stage creates the folder ``/run/secrets``, because a bind applies to all stages.

    Apptainer 1.4.5 aborts a build if a bind has no destination ("destination /run/secrets doesn't exist in container").
    Only ``%setup``, which runs on the build host, runs before this check. If the image's ``/run`` is a link, the link might
    lead to a folder of the host, so ``%setup`` then creates nothing.
    """

    def stage(part: str) -> str:
        if not part.lower().startswith("bootstrap:"):
            return part
        section = _SECTION.search(part)
        if section is None:
            return part.rstrip("\n") + "\n\n" + _MOUNT_POINT
        return part[: section.start()] + _MOUNT_POINT + part[section.start() :]

    return "".join(map(stage, split_stages(text)))


_RUN_BY_APPTAINER = frozenset("`$")


def values_of(settings: ImageSettings, arguments: Mapping[str, str]) -> dict[str, object]:
    """Return the values that all templates of definitions use.

    Args:
        settings: The image's settings.
        arguments: The arguments in ``%arguments``.

    Raises:
        DefinitionError: A definition cannot express a value; the message has the reason.
    """
    return {
        "version": __version__,
        "name": guard.label("name", settings.name)[1],
        # These are empty for amd64, whose definitions are older than the choice of an architecture.
        "machine": "" if settings.architecture == AMD64 else settings.architecture.machine,
        "platform_label": settings.architecture.platform,
        "arguments": tuple(arguments.items()),
        "files": tuple(_copy_line(settings, number) for number in range(len(settings.files))),
        "exports": tuple(guard.word(guard.export(name, value)) for name, value in settings.environment),
        "labels": tuple(guard.word(" ".join(guard.label(key, value))) for key, value in settings.labels),
        "setup": tuple(
            {
                "lines": guard.shell_lines((step.run,), "setup", arguments),
                "secrets": required_secrets(settings, step.secrets, "a step of 'setup'"),
            }
            for step in settings.setup
        ),
        "test": guard.shell_lines(settings.test, "test", arguments),
        "command": " ".join(map(guard.word, settings.command)),
        "start": " ".join(map(guard.word, settings.start or settings.command)),
        "check": "",
        "ports": settings.ports,
        "bind_points": tuple(guard.word(str(guard.destination(place))) for place in settings.bind_points),
    }


def runs_in_apptainer(values: Iterable[str]) -> bool:
    """Tell whether Apptainer would execute part of one of these values of a base image's ENV.

    Apptainer before 1.5.0 quotes each value twice when it writes the image's file of variables (``insertEnv`` in
    internal/pkg/build/sources/conveyorPacker_oci.go). Then every start of a container reports an error, and one such value
    can remove all variables. A definition that sets all of these variables itself empties the file
    (``defs/parts/known_variables.def``); other definitions correct the file (``defs/parts/base_variables.def``).
    """
    return any(_RUN_BY_APPTAINER & set(value) for value in values)


def base_image(image: str, what: str) -> dict[str, str]:
    """Return the header values of a stage that starts from `image`.

    Raises:
        DefinitionError: The address is invalid; the message names the setting `what`.
    """
    bootstrap, source = guard.header(image, what)
    return {"bootstrap": bootstrap, "source": source}


def build_arguments(settings: ImageSettings, fixed: Mapping[str, str]) -> dict[str, str]:
    """Return the arguments for ``%arguments``: first `fixed`, then the settings' arguments whose names are not in `fixed`.

    Raises:
        DefinitionError: An argument of the settings is invalid.
    """
    given = dict(guard.argument(name, value) for name, value in settings.build_args)
    return {**fixed, **{name: value for name, value in given.items() if name not in fixed}}


def required_secrets(settings: ImageSettings, names: Collection[str], what: str) -> tuple[Secret, ...]:
    """Return the secrets with the given names; `what` is the step that uses them, for the message.

    Raises:
        DefinitionError: The settings define no secret with one of the names.
    """
    known = {secret.name: secret for secret in settings.secrets}
    for name in names:
        if name not in known:
            raise DefinitionError(
                f"{what} uses the secret {name!r}, which 'secrets' does not define (defined: "
                f"{', '.join(known) or 'none'}); add {name!r} to 'secrets'"
            )
    return tuple(known[name] for name in dict.fromkeys(names))


def staged_copy(settings: ImageSettings, number: int) -> str:
    """Return the path of ``settings.files[number]`` in the build's context.

    The path and the destination have the same last component, and ``%files`` copies to the parent of the destination.
    With the destination itself, ``cp``, which Apptainer uses, would copy a folder *into* an existing destination folder.

    Raises:
        DefinitionError: The destination is invalid.
    """
    return f"files/{number}/{guard.destination(settings.files[number].destination).name}"


def copy_pair(staged: str, destination: PurePosixPath) -> tuple[str, str]:
    """Return the two words of a ``%files`` line that copies `staged` to `destination`.

    Both paths must have the same last component (see `staged_copy`).
    """
    return guard.file_word(staged), guard.file_word(destination.parent, folder=True)


def _copy_line(settings: ImageSettings, number: int) -> tuple[str, str]:
    return copy_pair(staged_copy(settings, number), guard.destination(settings.files[number].destination))
