"""Render a Pixi environment as a Dockerfile: ``defs/pixi.dockerfile`` and ``defs/pixi.dockerignore`` with quoted values.

The build's context is the project's folder. `hpcdeploy.definition.dockerfile.words` has the quoting rules, and can
parse the Dockerfiles that this module writes.
"""

import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hpcdeploy import __version__, templates
from hpcdeploy.architecture import AMD64
from hpcdeploy.definition import guard
from hpcdeploy.definition.grammar import TEMPLATE
from hpcdeploy.definition.parts import required_secrets
from hpcdeploy.definition.pixi import WORKSPACE, Activation, PixiRecipe, outermost, pixi_arguments
from hpcdeploy.errors import DefinitionError
from hpcdeploy.frozen import frozen
from hpcdeploy.image import ImageSettings, Secret

_SPECIAL = re.compile(r"""([\\"'$])""")
_WILDCARD = re.compile(r"([*?\[])")
_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_.,:@+=/-]*")
_PLAIN_STEP = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_.,:@+/-]*(?: [A-Za-z0-9_.,:@+=/-]+)*")
_BASH = ("/bin/bash", "-euo", "pipefail", "-c")
_IN_QUOTES = re.compile(r'([\\"$])')


@frozen
class DockerText:
    """A Dockerfile, its ``.dockerignore``, and notes about both for the user."""

    dockerfile: str
    ignore: str
    notes: tuple[str, ...]


def render_pixi_dockerfile(
    recipe: PixiRecipe, *, workspace: str = ".", left_out: Sequence[str] = (), overrides: Path | None = None
) -> DockerText:
    """Render the Dockerfile and its ``.dockerignore``.

    Args:
        recipe: The content of the image.
        workspace: The workspace's folder, relative to the project's.
        left_out: Names of files and folders to exclude from every copied folder.
        overrides: The project's folder. Its templates in ``defs``, if present, replace the built-in ones.

    Raises:
        DefinitionError: A Dockerfile cannot express a value; the message has the reason.
        TemplateError: A template is broken.
    """
    settings, arguments = recipe.settings, pixi_arguments(recipe)
    own = [(posixpath.normpath(f"{workspace}/{package.place}"), package.destination) for package in outermost(recipe.own)]
    editable = [package.destination for package in outermost(one for one in recipe.own if one.editable)]
    install = required_secrets(settings, recipe.secrets, "the installation ('pixi')")
    needed = _places(workspace, recipe.workspace)
    sourced, kept = _sourced(recipe.activation, workspace)
    files = [(posixpath.normpath(copy.source), copy.destination) for copy in settings.files]
    values: dict[str, object] = {
        "version": __version__,
        "name": guard.label("name", settings.name)[1],
        "arguments": [(name, quoted(value, f"the argument {name}")) for name, value in arguments.items()],
        "from_platform": "" if settings.architecture == AMD64 else f"--platform={settings.architecture.platform} ",
        "build": _image(settings.base, "base"),
        "final": _image(settings.final_base or settings.base, "final-base"),
        "cuda": recipe.cuda,
        "platform": guard.platform_name(recipe.platform),
        "overrides": [_pair(*guard.override(*pair)) for pair in recipe.overrides],
        "needed": [_copy(*pair) for pair in needed],
        "sourced": sourced,
        "own": [_copy(*pair) for pair in own],
        "kept": [*(_between(place) for _, place in needed), *kept, *map(_between, editable)],
        "editable_workspace": WORKSPACE in editable,
        "install_mounts": _mounts(install),
        "install_variables": "".join(f"{word} " for word in _variables(install)),
        "files": [_copy(*pair) for pair in files],
        "bind_points": _run(["mkdir", "-p", *(str(guard.destination(place)) for place in settings.bind_points)])
        if settings.bind_points
        else "",
        "environment": [_pair(guard.export(name, "") and name, value) for name, value in settings.environment],
        "labels": [_pair(*guard.label(key, value)) for key, value in settings.labels],
        "setup": _setup(settings, arguments),
        "ports": settings.ports,
        "command": _array(settings.command or ("/bin/bash",)),
    }
    allowed = {
        "folders": [ignore_pattern(place) for place, _ in (*own, *_places(workspace, recipe.activation.more), *files)],
        "needed": [ignore_pattern(place) for place, _ in (*needed, *_places(workspace, recipe.activation.beside))],
        "left_out": sorted(left_out),
        **{key: values[key] for key in ("name", "version")},
    }
    return DockerText(
        dockerfile=templates.render("defs/pixi.dockerfile", values, overrides=overrides),
        ignore=templates.render("defs/pixi.dockerignore", allowed, overrides=overrides),
        notes=_notes(recipe),
    )


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


def _setup(settings: ImageSettings, arguments: Mapping[str, str]) -> list[dict[str, object]]:
    """Return the template values of the steps of ``setup``: the mounts of their secrets, and their arguments."""
    steps: list[dict[str, object]] = []
    for step in settings.setup:
        secrets = required_secrets(settings, step.secrets, "a step of 'setup'")
        steps.append({"mounts": _mounts(secrets), "words": _step(_filled(step.run, arguments), secrets)})
    return steps


def _pair(name: str, value: str) -> str:
    return f"{name if re.fullmatch(r'[A-Za-z0-9_./-]+', name) else quoted(name, 'a name')}={quoted(value, name)}"


def _array(words: Sequence[str]) -> str:
    """Return a JSON array on one line, for the exec form."""
    return json.dumps(list(words), ensure_ascii=False)


def _run(words: Sequence[str]) -> str:
    return " ".join(words) if all(map(_PLAIN.fullmatch, words[2:])) else _array(words)


def _copy(source: str, destination: str) -> str:
    """Return the arguments of a COPY from the context.

    Docker applies the rules for words first and those for patterns afterwards. Both remove backslashes, so a source with a
    backslash is rejected.
    """
    if "\\" in source or "\n" in source:
        raise DefinitionError(f"{source!r} contains a backslash or a line break, which COPY would change; rename the file")
    pattern = _WILDCARD.sub(r"[\1]", source)
    return _arguments(pattern, str(guard.destination(destination)))


def _places(workspace: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of a path in the project and a path in the image for files or folders of the workspace."""
    return [(posixpath.normpath(f"{workspace}/{name}"), posixpath.normpath(f"{WORKSPACE}/{name}")) for name in names]


def _sourced(activation: Activation, workspace: str) -> tuple[list[str], list[str]]:
    """Return the arguments of COPY for the files that activation scripts may source.

    The entry point sources the scripts at every start of a container, so the final image needs these files too.

    Returns:
        The arguments for copying from the context into the build stage, and from the build stage into the final stage.
    """
    folders = _places(workspace, (*activation.folders, *activation.more))
    inside = [name for name in activation.beside if any(name.startswith(f"{folder}/") for folder in activation.folders)]
    top = _places(workspace, [name for name in activation.beside if name not in inside])
    given = [*(_copy(*pair) for pair in folders), *_copy_several([place for place, _ in top])]
    kept = [*(_between(place) for _, place in folders), *_copy_several([place for _, place in top])]
    return given, kept


def _copy_several(sources: Sequence[str]) -> Iterator[str]:
    """Yield the arguments of one COPY of all `sources` into the workspace's folder; yield nothing without `sources`."""
    for source in sources:
        _copy(source, WORKSPACE)  # raises for names that COPY cannot express
    if sources:
        yield _arguments(*(_WILDCARD.sub(r"[\1]", source) for source in sources), f"{WORKSPACE}/")


def _between(place: str) -> str:
    """Return the arguments of a COPY from the build stage to the same path."""
    word = str(guard.destination(place))
    return _arguments(word, word)


def _arguments(*paths: str) -> str:
    """Return the arguments of a COPY: plain words, or a JSON array if a path has special characters.

    Docker removes quotes and expands ``$`` in both forms, so these characters are escaped in the array.
    """
    if all(_PLAIN.fullmatch(path) for path in paths):
        return " ".join(paths)
    return _array([_SPECIAL.sub(r"\\\1", path) for path in paths])


def _step(text: str, secrets: Sequence[Secret]) -> str:
    """Return the arguments of a RUN with an active environment: a plain command as it is written, else an array for bash."""
    variables = "".join(f"export {word}\n" for word in _variables(secrets))
    if not variables and _PLAIN_STEP.fullmatch(text):
        return f"{WORKSPACE}/entrypoint.sh {text}"
    return _array([f"{WORKSPACE}/entrypoint.sh", *_BASH, variables + text])


def _variables(secrets: Sequence[Secret]) -> list[str]:
    """Return the assignments for secrets that a step reads as variables.

    They read the secret's file, because many engines do not yet support the mount option ``env=``.
    """
    return [f'{secret.name}="$(cat /run/secrets/{secret.name})"' for secret in secrets if secret.env]


def _mounts(secrets: Sequence[Secret]) -> str:
    """Return the options that mount secrets into a RUN at ``/run/secrets/NAME`` (``docker build --secret id=NAME``)."""
    return "".join(
        f"--mount=type=secret,id={secret.name},target=/run/secrets/{secret.name},required=true " for secret in secrets
    )


def _image(text: str, what: str) -> str:
    bootstrap, source = guard.header(text, f"'{what}'")
    if bootstrap != "docker":
        raise DefinitionError(f"'{what}' is {text!r}, but a Dockerfile can only start from an image in a registry")
    if "$" in source:
        raise DefinitionError(f"'{what}' is {text!r}, in which Docker would expand the '$'; use a literal address")
    return source


def _filled(text: str, arguments: Mapping[str, str]) -> str:
    """Replace ``{{ NAME }}`` in a step by the value of the argument, as Apptainer does; Docker has no equivalent."""
    guard.shell_lines((text,), "setup", arguments)
    return TEMPLATE.sub(lambda match: arguments[match[1]], text)


def _notes(recipe: PixiRecipe) -> tuple[str, ...]:
    settings = recipe.settings
    notes = []
    if settings.test:
        notes.append("'test' has no effect in the Dockerfile: only Apptainer runs tests")
    if settings.start:
        notes.append("'start' is not in the Dockerfile: Docker's containers run the command")
    if any(TEMPLATE.search(step.run) for step in settings.setup):
        notes.append("arguments in 'setup' ({{ NAME }}) are already replaced: docker build --build-arg does not change them")
    if names := [secret.name for secret in settings.secrets]:
        notes.append(
            f"pass the secrets to the build: {' '.join(f'--secret id={name}' for name in names)} (docker build --help)"
        )
    return tuple(notes)
