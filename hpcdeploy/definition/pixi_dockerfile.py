"""A Pixi environment as a Dockerfile: ``defs/pixi.dockerfile`` and ``defs/pixi.dockerignore`` filled with quoted values.

The build's context is the project's folder. Rules of quoting: `hpcdeploy.definition.dockerfile.words`, which reads back what
is written here.
"""

import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy import __version__, templates
from hpcdeploy.definition import guard
from hpcdeploy.definition.grammar import TEMPLATE
from hpcdeploy.definition.parts import asked_for
from hpcdeploy.definition.pixi import WORKSPACE, Activation, PixiRecipe, outermost, pixi_arguments
from hpcdeploy.errors import DefinitionError
from hpcdeploy.image import Secret

_SPECIAL = re.compile(r"""([\\"'$])""")
_WILDCARD = re.compile(r"([*?\[])")
_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_.,:@+=/-]*")
_PLAIN_STEP = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_.,:@+/-]*(?: [A-Za-z0-9_.,:@+=/-]+)*")
_BASH = ("/bin/bash", "-euo", "pipefail", "-c")
_IN_QUOTES = re.compile(r'([\\"$])')


@dataclass(frozen=True, kw_only=True)
class DockerText:
    """A Dockerfile, the ``.dockerignore`` that belongs to it, and what a person should know of both."""

    dockerfile: str
    ignore: str
    notes: tuple[str, ...]


def render_pixi_dockerfile(
    recipe: PixiRecipe, *, workspace: str = ".", left_out: Sequence[str] = (), overrides: Path | None = None
) -> DockerText:
    """Render both; `DefinitionError` for what a Dockerfile cannot say, with the reason.

    `workspace` is the workspace's folder, relative to the project's; `left_out` are names that no copied folder brings
    along. ``overrides`` is the project's folder, whose own templates win.
    """
    settings, arguments = recipe.settings, pixi_arguments(recipe)
    own = [(posixpath.normpath(f"{workspace}/{package.place}"), package.destination) for package in outermost(recipe.own)]
    editable = [package.destination for package in outermost(one for one in recipe.own if one.editable)]
    needed = _places(workspace, recipe.workspace)
    sourced, kept = _sourced(recipe.activation, workspace)
    files = [(posixpath.normpath(copy.source), copy.destination) for copy in settings.files]
    values: dict[str, object] = {
        "version": __version__,
        "name": guard.label("name", settings.name)[1],
        "arguments": [(name, quoted(value, f"the argument {name}")) for name, value in arguments.items()],
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
        "install_mounts": _mounts(install := asked_for(settings, recipe.secrets, "the installation ('pixi')")),
        "install_variables": "".join(f"{word} " for word in _variables(install)),
        "files": [_copy(*pair) for pair in files],
        "bind_points": _run(["mkdir", "-p", *(str(guard.destination(place)) for place in settings.bind_points)])
        if settings.bind_points
        else "",
        "environment": [_pair(guard.export(name, "") and name, value) for name, value in settings.environment],
        "labels": [_pair(*guard.label(key, value)) for key, value in settings.labels],
        "setup": [
            {
                "mounts": _mounts(asked := asked_for(settings, step.secrets, "a step of 'setup'")),
                "words": _step(_filled(step.run, arguments), asked),
            }
            for step in settings.setup
        ],
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
    """Quote a value of ARG, ENV or LABEL; `DefinitionError` for a line break, which none of them can hold."""
    if "\n" in text or "\r" in text or "\0" in text:
        raise DefinitionError(f"{what} is {text!r}, but no value in a Dockerfile can hold a line break; leave it out")
    return '"' + _IN_QUOTES.sub(r"\\\1", text) + '"'


def ignore_pattern(path: str) -> str:
    """Write a path of the project as a pattern of ``.dockerignore`` that means nothing else (``**`` for the project)."""
    return "**" if path == "." else _WILDCARD.sub(r"\\\1", path)


def _pair(name: str, value: str) -> str:
    return f"{name if re.fullmatch(r'[A-Za-z0-9_./-]+', name) else quoted(name, 'a name')}={quoted(value, name)}"


def _array(words: Sequence[str]) -> str:
    """Write a JSON array on one line, as the exec form takes it."""
    return json.dumps(list(words), ensure_ascii=False)


def _run(words: Sequence[str]) -> str:
    return " ".join(words) if all(map(_PLAIN.fullmatch, words[2:])) else _array(words)


def _copy(source: str, destination: str) -> str:
    """Write the words of a COPY from the context: escapes are undone by the words' rules, then by the pattern's."""
    if "\\" in source or "\n" in source:
        raise DefinitionError(f"{source!r} holds a backslash or a line break, which COPY reads otherwise; rename it")
    pattern = _WILDCARD.sub(r"[\1]", source)
    return _words(pattern, str(guard.destination(destination)))


def _places(workspace: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return where things of the workspace lie, each in the project and in the image."""
    return [(posixpath.normpath(f"{workspace}/{name}"), posixpath.normpath(f"{WORKSPACE}/{name}")) for name in names]


def _sourced(activation: Activation, workspace: str) -> tuple[list[str], list[str]]:
    """Write the words of the COPYs of what activation scripts may source: into the build stage, and from there.

    The entry point sources the scripts whenever a container starts, so all of it stays in the image.
    """
    whole = _places(workspace, (*activation.folders, *activation.more))
    inside = [name for name in activation.beside if any(name.startswith(f"{folder}/") for folder in activation.folders)]
    top = _places(workspace, [name for name in activation.beside if name not in inside])
    given = [*(_copy(*pair) for pair in whole), *_copy_several([place for place, _ in top])]
    kept = [*(_between(place) for _, place in whole), *_copy_several([place for _, place in top])]
    return given, kept


def _copy_several(sources: Sequence[str]) -> Iterator[str]:
    """Write the words of one COPY of files into the workspace's own folder, where there are some."""
    for source in sources:
        _copy(source, WORKSPACE)  # refuses what COPY cannot name
    if sources:
        yield _words(*(_WILDCARD.sub(r"[\1]", source) for source in sources), f"{WORKSPACE}/")


def _between(place: str) -> str:
    """Write the words of a COPY from the build stage to the same place."""
    word = str(guard.destination(place))
    return _words(word, word)


def _words(*paths: str) -> str:
    """Write the words of a COPY, as an array where one of them is not plain: the rules for quotes and ``$`` hold in both."""
    if all(_PLAIN.fullmatch(path) for path in paths):
        return " ".join(paths)
    return _array([_SPECIAL.sub(r"\\\1", path) for path in paths])


def _step(text: str, secrets: Sequence[Secret]) -> str:
    """Write a step that runs with the environment active; plain words stay as they are written."""
    variables = "".join(f"export {word}\n" for word in _variables(secrets))
    if not variables and _PLAIN_STEP.fullmatch(text):
        return f"{WORKSPACE}/entrypoint.sh {text}"
    return _array([f"{WORKSPACE}/entrypoint.sh", *_BASH, variables + text])


def _variables(secrets: Sequence[Secret]) -> list[str]:
    """Write the assignments of secrets that are variables; the option ``env=`` of a mount is newer than many engines."""
    return [f'{secret.name}="$(cat /run/secrets/{secret.name})"' for secret in secrets if secret.env]


def _mounts(secrets: Sequence[Secret]) -> str:
    """Write the options that give a RUN its secrets, each at ``/run/secrets/NAME``; ``docker build --secret id=NAME``."""
    return "".join(
        f"--mount=type=secret,id={secret.name},target=/run/secrets/{secret.name},required=true " for secret in secrets
    )


def _image(text: str, what: str) -> str:
    bootstrap, source = guard.header(text, f"'{what}'")
    if bootstrap != "docker":
        raise DefinitionError(f"'{what}' is {text!r}, but a Dockerfile starts from container images of a registry only")
    if "$" in source:
        raise DefinitionError(f"'{what}' is {text!r}, in which Docker would replace what follows the '$'; write it out")
    return source


def _filled(text: str, arguments: Mapping[str, str]) -> str:
    """Put the arguments' values into a step, as Apptainer does with ``{{ NAME }}``: Docker has nothing like it."""
    guard.shell_lines((text,), "setup", arguments)
    return TEMPLATE.sub(lambda match: arguments[match[1]], text)


def _notes(recipe: PixiRecipe) -> tuple[str, ...]:
    settings = recipe.settings
    notes = []
    if settings.test:
        notes.append("'test' has no place in a Dockerfile: only the Apptainer image tests itself")
    if settings.start:
        notes.append("'start' has no place in a Dockerfile: Docker's containers run the command")
    if any(TEMPLATE.search(step.run) for step in settings.setup):
        notes.append("arguments in 'setup' ({{ NAME }}) were replaced now: docker build --build-arg does not reach them")
    if names := [secret.name for secret in settings.secrets]:
        notes.append(
            f"give the secrets to the build: {' '.join(f'--secret id={name}' for name in names)} (docker build --help)"
        )
    return tuple(notes)
