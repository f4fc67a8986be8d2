"""Read values of a Pixi manifest with checked types, and find the local paths of packages."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import cast

from hpcdeploy.environments.channel_address import without_credentials
from hpcdeploy.environments.yaml_text import YamlError, load_yaml
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.toml import TomlError, UnusableTomlError, load_toml

Table = Mapping[str, object]

BYTE_ORDER_MARK = "\ufeff"
"""Byte order mark of Windows editors; Pixi skips it (``Tokenizer::new`` in EmbarkStudios/toml-span)."""

_SHOWN = 60
"""Maximum length of a value in a message, in characters."""


def table(value: object, key: str) -> Table:
    """Return a table; empty for None.

    Raises:
        EnvironmentFileError: `value` is not a table; the message begins with `key`.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise EnvironmentFileError(f"{key} is {shown(value)}; expected a table")
    return cast("Table", value)


def items(value: object, key: str) -> list[object]:
    """Return a list; empty for None.

    Raises:
        EnvironmentFileError: `value` is not a list; the message begins with `key`.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise EnvironmentFileError(f"{key} is {shown(value)}; expected a list")
    return value


def text(value: object, key: str) -> str:
    """Return a text; numbers are converted, and None is empty.

    Raises:
        EnvironmentFileError: `value` is not a text; the message begins with `key`.
    """
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise EnvironmentFileError(f"{key} is {shown(value)}; expected a text")
    return str(value)


def shown(value: object) -> str:
    """Return a value of a project's file for a message: shortened, and without credentials in URLs."""
    plain = without_credentials(value if isinstance(value, str) else repr(value))
    plain = plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]}..."
    return repr(plain) if isinstance(value, str) else plain


MANIFESTS = ("pixi.toml", "pyproject.toml")
"""Files that may have ``[package]``, in Pixi's search order; in ``pyproject.toml`` it is ``[tool.pixi.package]``."""

RECIPES = ("recipe.yaml", "recipe.yml")
"""Files that the backend pixi-build-rattler-build reads."""

_KINDS = ("run-dependencies", "host-dependencies", "build-dependencies")


def package_places(content: str, file: str) -> tuple[tuple[str, str], ...]:
    """Return the local paths that a package's manifest or recipe names, each after a description for messages.

    The paths are relative to the file's folder.

    Raises:
        EnvironmentFileError: The file is not valid TOML or YAML, or a value has the wrong type.
    """
    if PurePosixPath(file).name in RECIPES:
        return tuple(("a source", path) for path in _recipe_sources(content, file))
    try:
        top: Table = load_toml(content.removeprefix(BYTE_ORDER_MARK))
    except (TomlError, UnusableTomlError) as error:
        raise EnvironmentFileError(f"{file} is not valid TOML: {error}; correct that line") from error
    if PurePosixPath(file).name == "pyproject.toml":
        top = table(table(top.get("tool"), f"{file}: tool").get("pixi"), f"{file}: tool.pixi")
    shared = table(table(top.get("workspace"), f"{file}: workspace").get("dependencies"), f"{file}: workspace.dependencies")
    return tuple(_of_package(table(top.get("package"), f"{file}: package"), f"{file}: package", shared))


def feature_places(feature: Table, key: str, shared: Table) -> Iterator[tuple[str, str]]:
    """Yield the name and path of each package with a path: in a feature's dependencies, ``[dev]``, and inline packages.

    A path is relative to the manifest. `shared` is ``[workspace.dependencies]``, to which ``{ workspace = true }`` refers.
    """
    yield from _places(feature, ("dependencies", "host-dependencies", "build-dependencies", "dev"), key, shared)
    for name, spec in table(feature.get("dependencies"), f"{key}.dependencies").items():
        if isinstance(spec, dict) and "package" in spec:
            inner = f"{key}.dependencies.{name}.package"
            yield from _of_package(table(spec["package"], inner), inner, {})


def _of_package(package: Table, key: str, shared: Table) -> Iterator[tuple[str, str]]:
    build = table(package.get("build"), f"{key}.build")
    for word in ("source", "backend"):
        place = build.get(word)
        if isinstance(place, dict) and "path" in place:
            yield f"the {word} of {key}", text(place["path"], f"{key}.build.{word}.path")
    yield from _places(package, _KINDS, key, shared)
    for selector, inner in table(package.get("target"), f"{key}.target").items():
        yield from _places(table(inner, f"{key}.target.{selector}"), _KINDS, f"{key}.target.{selector}", shared)


def _places(tables: Table, kinds: Iterable[str], key: str, shared: Table) -> Iterator[tuple[str, str]]:
    """Yield the packages with a path in the tables `kinds`; a key such as ``if(...)`` contains a table of the same form."""
    for kind in kinds:
        for name, spec in table(tables.get(kind), f"{key}.{kind}").items():
            if name.startswith("if("):
                yield from _places({kind: spec}, (kind,), f"{key}.{kind}.{name}", shared)
                continue
            wanted = shared.get(name) if isinstance(spec, dict) and spec.get("workspace") is True else spec
            if isinstance(wanted, dict) and "path" in wanted:
                yield name, text(wanted["path"], f"{key}.{kind}.{name}.path")


def _recipe_sources(content: str, file: str) -> Iterator[str]:
    try:
        recipe = load_yaml(content)
    except YamlError as error:
        raise EnvironmentFileError(f"{file} is not valid YAML: {error}; correct the file") from error
    if isinstance(recipe, dict):
        yield from _paths(recipe.get("source"))


def _paths(source: object) -> Iterator[str]:
    """Yield the paths in a recipe's ``source``, which is a table, a list of tables, or a condition with tables.

    A path with ``${{ }}`` is skipped, because only the backend can evaluate it.
    """
    if isinstance(source, list):
        for one in source:
            yield from _paths(one)
    elif isinstance(source, Mapping):
        path = source.get("path")
        if isinstance(path, str) and not re.search(r"\$\{\{", path):
            yield path
        for branch in ("then", "else"):
            yield from _paths(source.get(branch))
