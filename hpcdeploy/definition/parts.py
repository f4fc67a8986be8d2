"""What every template of a definition is given, whatever the image is made from: the settings' words, past the guard."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath

from hpcdeploy import __version__
from hpcdeploy.definition import guard
from hpcdeploy.errors import DefinitionError
from hpcdeploy.image import ImageSettings, Secret

_RUN_BY_APPTAINER = frozenset("`$")


def values_of(settings: ImageSettings, arguments: Mapping[str, str]) -> dict[str, object]:
    """Return the values that ``defs/parts`` and each template use; `arguments` are those that ``%arguments`` says.

    Raises `DefinitionError` for what cannot be said in a definition, with the reason.
    """
    return {
        "version": __version__,
        "name": guard.label("name", settings.name)[1],
        "arguments": tuple(arguments.items()),
        "files": tuple(_copy_line(settings, number) for number in range(len(settings.files))),
        "exports": tuple(guard.word(guard.export(name, value)) for name, value in settings.environment),
        "labels": tuple(guard.word(" ".join(guard.label(key, value))) for key, value in settings.labels),
        "setup": tuple(
            {
                "lines": guard.shell_lines((step.run,), "setup", arguments),
                "secrets": asked_for(settings, step.secrets, "a step of 'setup'"),
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
    """Tell whether Apptainer would run what stands in one of these values of a base image's ENV.

    Apptainer before 1.5.0 quotes them twice (``insertEnv`` in internal/pkg/build/sources/conveyorPacker_oci.go). Every start
    of a container then reports an error, and one such value can take all variables away. Where the values are known and
    set again, ``defs/parts/known_variables.def`` empties that file; else ``defs/parts/base_variables.def`` corrects it.
    """
    return any(_RUN_BY_APPTAINER & set(value) for value in values)


def base_image(image: str, what: str) -> dict[str, str]:
    """Return the header lines of a stage that starts from `image`."""
    bootstrap, source = guard.header(image, what)
    return {"bootstrap": bootstrap, "source": source}


def build_arguments(settings: ImageSettings, own: Mapping[str, str]) -> dict[str, str]:
    """Return what ``%arguments`` says: a template's `own` arguments, and those of the settings that are none of these."""
    given = dict(guard.argument(name, value) for name, value in settings.build_args)
    return {**own, **{name: value for name, value in given.items() if name not in own}}


def asked_for(settings: ImageSettings, names: Collection[str], what: str) -> tuple[Secret, ...]:
    """Return the secrets that `what` asks for by name; `DefinitionError` for one that the settings do not describe."""
    known = {secret.name: secret for secret in settings.secrets}
    for name in names:
        if name not in known:
            raise DefinitionError(
                f"{what} asks for the secret {name!r}, which 'secrets' does not describe (it describes "
                f"{', '.join(known) or 'none'}); add it there"
            )
    return tuple(known[name] for name in dict.fromkeys(names))


def staged_copy(settings: ImageSettings, number: int) -> str:
    """Return where the file or folder of ``settings.files[number]`` lies in the build's context.

    Its last name is that of its destination: ``cp``, which Apptainer uses, would put a folder *into* one that is there.
    """
    return f"files/{number}/{guard.destination(settings.files[number].destination).name}"


def copy_pair(staged: str, destination: PurePosixPath) -> tuple[str, str]:
    """Return the two words of a ``%files`` line that brings `staged`, which bears the same last name, to `destination`."""
    return guard.file_word(staged), guard.file_word(destination.parent, folder=True)


def _copy_line(settings: ImageSettings, number: int) -> tuple[str, str]:
    return copy_pair(staged_copy(settings, number), guard.destination(settings.files[number].destination))
