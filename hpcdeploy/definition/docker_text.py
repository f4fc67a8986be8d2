"""Write the parts that all generated Dockerfiles share: quoted values, copies, steps, secrets.

`hpcdeploy.definition.dockerfile.words` has the quoting rules, and can parse the Dockerfiles that hpcdeploy writes.
"""

import json
import posixpath
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from hpcdeploy import __version__
from hpcdeploy.architecture import AMD64
from hpcdeploy.definition import guard
from hpcdeploy.definition.grammar import TEMPLATE
from hpcdeploy.definition.parts import required_secrets
from hpcdeploy.errors import DefinitionError
from hpcdeploy.frozen import frozen
from hpcdeploy.image import ImageSettings, Secret

_SPECIAL = re.compile(r"""([\\"'$])""")
_WILDCARD = re.compile(r"([*?\[])")
_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_.,:@+=/-]*")
_PLAIN_STEP = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_.,:@+/-]*(?: [A-Za-z0-9_.,:@+=/-]+)*")
_STEP = ("/bin/bash", "-eo", "pipefail", "-c")
"""The shell of a step of ``setup``. As in a definition, it does not stop at a variable that is not set."""

_SCRIPT = ("/bin/bash", "-euo", "pipefail", "-c")
_OF_APPTAINER = re.compile(r"\$\{?((?:APPTAINER|SINGULARITY)_(?:ENVIRONMENT|LABELS|ROOTFS))\b(?!:?[-+])")
_IN_QUOTES = re.compile(r'([\\"$])')


@frozen
class DockerText:
    """A Dockerfile, its ``.dockerignore``, and notes about both for the user."""

    dockerfile: str
    ignore: str
    notes: tuple[str, ...]


def quoted(text: str, what: str) -> str:
    """Quote the value `what` of ARG, ENV or LABEL.

    Raises:
        DefinitionError: The value contains a line break, a carriage return or a NUL character, which none of these
            instructions can hold.
    """
    if "\n" in text or "\r" in text or "\0" in text:
        raise DefinitionError(f"{what} is {text!r}, but a value in a Dockerfile must be one line without NUL; change it")
    return '"' + _IN_QUOTES.sub(r"\\\1", text) + '"'


def ignore_pattern(path: str) -> str:
    """Return the pattern of ``.dockerignore`` that matches only this path of the project (``**`` for the project)."""
    return "**" if path == "." else _WILDCARD.sub(r"\\\1", path)


def hidden_places(places: Iterable[str], left_out: Collection[str]) -> list[str]:
    """Return the patterns of ``.dockerignore`` for the `places` that the names in `left_out` would exclude.

    A user may copy such a folder, as in ``files = { ".pixi/cache" = "/opt/cache" }``.
    """
    return [ignore_pattern(place) for place in places if not set(left_out).isdisjoint(place.split("/"))]


def shared_values(settings: ImageSettings, arguments: Mapping[str, str], entrypoint: str) -> dict[str, object]:
    """Return the values that the templates of all Dockerfiles use.

    Args:
        settings: The image's settings.
        arguments: The build arguments with their default values.
        entrypoint: The path in the image of the script that activates the environment and runs its arguments.

    Raises:
        DefinitionError: A Dockerfile cannot express a value; the message has the reason.
    """
    steps: list[dict[str, object]] = []
    for step in settings.setup:
        secrets = required_secrets(settings, step.secrets, "a step of 'setup'")
        steps.append({"mounts": mounts(secrets), "words": _step(_filled(step.run, arguments), secrets, entrypoint)})
    points = [str(guard.destination(place)) for place in settings.bind_points]
    return {
        "version": __version__,
        "name": guard.label("name", settings.name)[1],
        "from_platform": "" if settings.architecture == AMD64 else f"--platform={settings.architecture.platform} ",
        "arguments": [(name, quoted(value, f"the argument {name}")) for name, value in arguments.items()],
        "files": [copy(*one) for one in copied_files(settings)],
        "environment": [pair(guard.export(name, "") and name, value) for name, value in settings.environment],
        "labels": [pair(*guard.label(key, value)) for key, value in settings.labels],
        "setup": steps,
        "bind_points": _plain_run(["mkdir", "-p", *points]) if points else "",
        "ports": settings.ports,
        "command": array(settings.command or ("/bin/bash",)),
    }


def copied_files(settings: ImageSettings) -> list[tuple[str, str]]:
    """Return the pairs of the setting ``files``: a path in the build context, and a path in the image."""
    return [(posixpath.normpath(one.source), one.destination) for one in settings.files]


def script(text: str, *words: str) -> str:
    """Return the arguments of a RUN that runs the lines `text` with bash, or the command `words` with bash and these lines.

    The result is an array (exec form) for two reasons. The base image may set another shell, as Spack's images do. And
    Podman 4.3 of Debian 12 does not support here-documents. The array has one line for each line of the script. A line
    with only a comment becomes a comment of the Dockerfile, which all engines remove.

    With `words`, which activate the environment, a variable that is not set is no error, as in a step of ``setup``.
    """
    lines = []
    for line in text.split("\n"):
        bare = line.strip()
        if bare:
            lines.append(bare if bare.startswith("#") else f"{json.dumps(line, ensure_ascii=False)[1:-1]}\\n\\")
    return "\n".join((f'{array((*words, *(_STEP if words else _SCRIPT)))[:-1]}, "\\', *lines, '"]'))


def pair(name: str, value: str) -> str:
    """Return one ``NAME=VALUE`` of ENV or LABEL.

    Raises:
        DefinitionError: The name or the value has a line break or a NUL character.
    """
    return f"{name if re.fullmatch(r'[A-Za-z0-9_./-]+', name) else quoted(name, 'a name')}={quoted(value, name)}"


def array(words: Sequence[str]) -> str:
    """Return a JSON array on one line, for the exec form."""
    return json.dumps(list(words), ensure_ascii=False)


def _plain_run(words: Sequence[str]) -> str:
    """Return the arguments of a RUN of one command: plain words if no shell would change them, else an array."""
    return " ".join(words) if all(map(_PLAIN.fullmatch, words[2:])) else array(words)


def copy(source: str, destination: str) -> str:
    """Return the arguments of a COPY from the context.

    Docker applies the rules for words first and those for patterns afterwards. Both remove backslashes, so a source with a
    backslash is rejected.

    Raises:
        DefinitionError: COPY would change the source's name, or the destination is invalid.
    """
    if "\\" in source or "\n" in source:
        raise DefinitionError(f"{source!r} contains a backslash or a line break, which COPY would change; rename the file")
    return paths_of_copy(literal(source), str(guard.destination(destination)))


def literal(source: str) -> str:
    """Return the pattern of COPY that matches only the path `source`."""
    return _WILDCARD.sub(r"[\1]", source)


def between(place: str) -> str:
    """Return the arguments of a COPY from the build stage to the same path.

    Raises:
        DefinitionError: The path is invalid.
    """
    word = str(guard.destination(place))
    return paths_of_copy(word, word)


def paths_of_copy(*paths: str) -> str:
    """Return the arguments of a COPY: plain words, or a JSON array if a path has special characters.

    Docker removes quotes and expands ``$`` in both forms, so these characters are escaped in the array.
    """
    if all(_PLAIN.fullmatch(path) for path in paths):
        return " ".join(paths)
    return array([_SPECIAL.sub(r"\\\1", path) for path in paths])


def _step(text: str, secrets: Sequence[Secret], entrypoint: str) -> str:
    """Return the arguments of a RUN with an active environment: a plain command as it is written, else an array for bash."""
    variables = "".join(f"{word}\nexport {word.partition('=')[0]}\n" for word in secret_variables(secrets))
    if not variables and _PLAIN_STEP.fullmatch(text):
        return f"{entrypoint} {text}"
    return array([entrypoint, *_STEP, variables + text])


def secret_variables(secrets: Sequence[Secret]) -> list[str]:
    """Return the assignments for secrets that a step reads as variables.

    They read the secret's file, because many engines do not yet support the mount option ``env=``.
    """
    return [f'{secret.name}="$(cat /run/secrets/{secret.name})"' for secret in secrets if secret.env]


def mounts(secrets: Sequence[Secret]) -> str:
    """Return the options that mount secrets into a RUN at ``/run/secrets/NAME`` (``docker build --secret id=NAME``)."""
    return "".join(
        f"--mount=type=secret,id={secret.name},target=/run/secrets/{secret.name},required=true " for secret in secrets
    )


def base_image(text: str, what: str) -> str:
    """Return the image of a FROM; `what` is the setting with this image, for messages.

    Raises:
        DefinitionError: FROM cannot express the image.
    """
    bootstrap, source = guard.header(text, f"'{what}'")
    if bootstrap != "docker":
        raise DefinitionError(f"'{what}' is {text!r}, but a Dockerfile can only start from an image in a registry")
    if "$" in source:
        raise DefinitionError(f"'{what}' is {text!r}, in which Docker would expand the '$'; use a literal address")
    return source


def _filled(text: str, arguments: Mapping[str, str]) -> str:
    """Replace ``{{ NAME }}`` in a step by the value of the argument, as Apptainer does; Docker has no equivalent.

    Raises:
        DefinitionError: A definition could not contain the step, or the step uses a file that only Apptainer's builds have.
    """
    guard.shell_lines((text,), "setup", arguments)
    if found := _OF_APPTAINER.search(text):
        raise DefinitionError(
            f"a step of 'setup' uses {found[1]}, which is set only in a build by Apptainer; in a Dockerfile, set variables "
            "with 'environment' and labels with 'labels', or use the format 'definition'"
        )
    return TEMPLATE.sub(lambda match: arguments[match[1]], text)


def settings_notes(settings: ImageSettings, *, tests: bool) -> tuple[str, ...]:
    """Return notes on settings that have another effect in a Dockerfile; `tests`: there are tests to run."""
    notes = []
    if tests:
        notes.append("'test' has no effect in the Dockerfile: only Apptainer runs tests")
    if settings.start:
        notes.append("'start' is not in the Dockerfile: Docker's containers run the command")
    if settings.compression != "zstd":
        notes.append("'compression' has no effect in the Dockerfile: the program that builds the image chooses")
    if any(TEMPLATE.search(step.run) for step in settings.setup):
        notes.append("arguments in 'setup' ({{ NAME }}) are already replaced: docker build --build-arg does not change them")
    if names := [secret.name for secret in settings.secrets]:
        notes.append(
            f"pass the secrets to the build: {' '.join(f'--secret id={name}' for name in names)} (docker build --help)"
        )
    return tuple(notes)
