"""Parse a Pixi workspace's manifest (``pixi.toml``, or ``[tool.pixi]`` in ``pyproject.toml``) into plain values.

Only the parts that an image needs are read: names, platforms, environments with their features, system requirements (CUDA,
glibc), activation scripts, and folders of source packages. Sources: Pixi's manifest reference, its page on system
requirements, and prefix-dev/pixi 0.77, ``crates/pixi_manifest/src``: ``toml/environment.rs`` (inline environments, 0.74 and
later), ``features_ext.rs`` (the platforms of an environment).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from hpcdeploy.environments.pixi_package import BYTE_ORDER_MARK, Table, feature_places
from hpcdeploy.environments.pixi_package import items as _list
from hpcdeploy.environments.pixi_package import table as _table
from hpcdeploy.environments.pixi_package import text as _text
from hpcdeploy.environments.pixi_platform import (
    LINUX,
    Platform,
    cuda_of,
    glibc_of,
    highest,
    other_platform,
    platform_names,
    read_platform,
    selects,
)
from hpcdeploy.environments.pixi_tasks import Task, tasks_of
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.frozen import frozen
from hpcdeploy.plain_text import nearest
from hpcdeploy.toml import TomlError, UnusableTomlError, load_toml

_OWN_KEYS = ("features", "solve-group", "no-default-feature")
"""Keys that the table of an environment may have and the table of a feature may not."""

_OF_ALL_PLATFORMS = ("name", "platforms", "cuda", "glibc", "targets")
"""Fields of a feature to which ``[target]`` adds nothing. The other fields are tuples to which ``[target]`` may add."""


@frozen
class Feature:
    """A feature; ``default`` is the manifest's top level.

    Attributes:
        name: The feature's name.
        platforms: The names or subfolders of its platforms; None for all platforms.
        cuda: The required CUDA version; empty for none.
        glibc: The required glibc version; empty for none.
        scripts: The activation scripts.
        editable: PyPI packages in the workspace's own folders that are used from their source.
        variables: The variables of ``[activation.env]`` in the manifest's order; the last of a name wins.
        sources: Conda packages that are built from source, or whose dependencies ``[dev]`` uses. Each has the package's
            name, and the path of its folder relative to the manifest.
        tasks: The tasks that a job can run.
        targets: Parts that only apply to some platforms, each with its selector; `on` adds them.
    """

    name: str
    platforms: tuple[str, ...] | None = None
    cuda: str = ""
    glibc: str = ""
    scripts: tuple[str, ...] = ()
    editable: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    sources: tuple[tuple[str, str], ...] = ()
    tasks: tuple[Task, ...] = ()
    targets: tuple[tuple[str, "Feature"], ...] = ()

    def on(self, platform: Platform) -> "Feature":
        """Return the feature with the parts of each ``[target]`` that applies to `platform`."""
        held = [self, *(part for selector, part in self.targets if selects(selector, platform))]
        added = [field.name for field in fields(self) if field.name not in _OF_ALL_PLATFORMS]
        merged: dict[str, Any] = {name: tuple(one for part in held for one in getattr(part, name)) for name in added}
        return replace(self, targets=(), **merged)


@frozen
class Environment:
    """An environment and its features, highest precedence first.

    These are its own settings, the features that it names, and the default feature unless the manifest excludes it.
    """

    name: str
    features: tuple[Feature, ...]

    @property
    def variables(self) -> dict[str, str]:
        """The variables of ``[activation.env]``. Features with higher precedence replace values."""
        return {name: value for feature in reversed(self.features) for name, value in feature.variables}

    @property
    def tasks(self) -> dict[str, Task]:
        """The tasks by name. Features with higher precedence replace tasks."""
        return {task.name: task for feature in reversed(self.features) for task in feature.tasks}

    def on(self, platform: Platform) -> "Environment":
        """Return the environment on `platform`."""
        return replace(self, features=tuple(feature.on(platform) for feature in self.features))


@frozen
class Workspace:
    """The content of a Pixi manifest.

    Attributes:
        file: The manifest's name, for messages.
        name: The workspace's name; empty if it has none.
        platforms: All platforms of the workspace, in the manifest's order.
        environments: All environments, including ``default``.
        reads: Other files that Pixi reads, relative to the manifest.
        version: The workspace's version; empty if it has none.
    """

    file: str
    name: str
    platforms: tuple[Platform, ...]
    environments: tuple[Environment, ...]
    reads: tuple[str, ...] = ()
    version: str = ""

    def environment(self, name: str) -> Environment:
        """Return an environment by name.

        Raises:
            EnvironmentFileError: The manifest has no environment of this name; the message has the nearest name.
        """
        names = tuple(environment.name for environment in self.environments)
        if name not in names:
            raise EnvironmentFileError(f"{self.file} has no environment {name!r}; {nearest(name, names)}")
        return self.environments[names.index(name)]

    def platforms_for(self, environment: Environment, subdir: str = LINUX) -> tuple[Platform, ...]:
        """Return the platforms of one conda subfolder that `environment` supports, in the manifest's order.

        The environment supports a platform if every feature that lists platforms lists the platform's name or subfolder. If
        a feature lists a platform of the subfolder by its name, only platforms that are listed by name are returned
        (prefix-dev/pixi#6493). The returned platforms include the ``[system-requirements]`` of the features.

        Raises:
            EnvironmentFileError: The environment supports no platform of the subfolder.
        """
        narrowed = [feature.platforms for feature in environment.features if feature.platforms is not None]
        exact = {name for names in narrowed for name in names}
        allowed = [
            platform
            for platform in self.platforms
            if platform.subdir == subdir and all(platform.name in names or subdir in names for names in narrowed)
        ]
        kept = [platform for platform in allowed if platform.name in exact] or allowed
        if not kept:
            raise EnvironmentFileError(
                f"{self.file}: the environment {environment.name!r} does not support {subdir}, which the image needs; "
                f"add {subdir!r} to its platforms and run 'pixi lock'{other_platform(subdir, self.platforms)}"
            )
        cuda = highest(feature.cuda for feature in environment.features)
        glibc = highest(feature.glibc for feature in environment.features)
        return tuple(
            replace(platform, cuda=highest((platform.cuda, cuda)), glibc=highest((platform.glibc, glibc)))
            for platform in kept
        )


def is_manifest(text: str, file: str) -> bool:
    """Tell whether a file is a Pixi manifest; a ``pyproject.toml`` is one only if it has ``[tool.pixi]``.

    Raises:
        EnvironmentFileError: A ``pyproject.toml`` is not valid TOML.
    """
    return Path(file).name != "pyproject.toml" or "pixi" in _table(_load(text, file).get("tool"), f"{file}: tool")


def read_manifest(text: str, file: str = "pixi.toml") -> Workspace:
    """Parse a manifest. `file` is its name; a ``pyproject.toml`` has another structure than ``pixi.toml``.

    Raises:
        EnvironmentFileError: The manifest is malformed.
    """
    top: Table = _load(text, file)
    where, fallback, version = file, "", ""
    if Path(file).name == "pyproject.toml":
        project = _table(top.get("project"), f"{file}: project")
        fallback = _text(project.get("name"), f"{file}: project.name")
        version = _text(project.get("version"), f"{file}: project.version")
        tool = _table(top.get("tool"), f"{file}: tool")
        if "pixi" not in tool:
            raise EnvironmentFileError(f"{file} has no [tool.pixi], so it is not a Pixi manifest; use a workspace's folder")
        where = f"{file}: tool.pixi"
        top = _table(tool["pixi"], where)
    head = _table(top.get("workspace", top.get("project")), f"{where}: workspace")
    if "workspace" not in top and "project" not in top:
        raise EnvironmentFileError(f"{where} has no [workspace] table; check that it is a Pixi manifest")
    shared = _table(head.get("dependencies"), f"{where}: workspace.dependencies")
    features = {"default": _feature("default", top, f"{where}: [top level]", shared)}
    for name, table in _table(top.get("feature"), f"{where}: feature").items():
        features[name] = _feature(name, _table(table, f"{where}: feature.{name}"), f"{where}: feature.{name}", shared)
    environments = dict.fromkeys(("default",), _environment("default", {}, features, where, shared))
    for name, value in _table(top.get("environments"), f"{where}: environments").items():
        environments[name] = _environment(name, value, features, where, shared)
    platforms = _platforms(head.get("platforms"), f"{where}: workspace.platforms")
    return Workspace(
        file=file,
        name=_text(head.get("name"), f"{where}: workspace.name") or fallback,
        platforms=_declared(platforms, environments.values(), where),
        environments=tuple(environments.values()),
        reads=tuple(_reads(head, f"{where}: workspace")),
        version=_text(head.get("version"), f"{where}: workspace.version") or version,
    )


def _platforms(value: object, key: str) -> list[Platform]:
    """Parse the workspace's platforms; raise `EnvironmentFileError` if two different ones have the same name."""
    platforms: dict[str, Platform] = {}
    for one in _list(value, key):
        platform = read_platform(one, key)
        if platforms.setdefault(platform.name, platform) != platform:
            raise EnvironmentFileError(f"{key} has two platforms with the name {platform.name!r}; give one another 'name'")
    return list(platforms.values())


def _reads(head: Table, key: str) -> Iterator[str]:
    """Yield the paths of build variants, and of mappings from conda's to PyPI's names."""
    for path in _list(head.get("build-variants-files"), f"{key}.build-variants-files"):
        yield _text(path, f"{key}.build-variants-files")
    mapping = head.get("conda-pypi-map")
    for value in mapping.values() if isinstance(mapping, dict) else ():
        location = value.get("location") if isinstance(value, dict) else value
        if isinstance(location, str) and "://" not in location:
            yield location


def _declared(platforms: list[Platform], environments: Iterable[Environment], where: str) -> tuple[Platform, ...]:
    """Return the workspace's platforms, and check that they include all platforms that features name.

    If all platforms of the workspace are plain subfolders, missing platforms of features are added, as in Pixi
    (``extend_originals_with_referenced_subdirs`` in ``crates/pixi_manifest/src/toml/manifest.rs``).

    Raises:
        EnvironmentFileError: A platform is missing, and was not added.
    """
    names = tuple(platform.name for platform in platforms)
    bare = all(platform.name == platform.subdir for platform in platforms)
    added: dict[str, Platform] = {}
    for feature in (feature for environment in environments for feature in environment.features):
        for name in feature.platforms or ():
            if name in names:
                continue
            if not bare:
                raise EnvironmentFileError(
                    f"{where}: {feature.name} has the platform {name!r}, which the workspace does not declare; "
                    f"{nearest(name, names)}"
                )
            added[name] = Platform(name=name, subdir=name)
    return (*platforms, *added.values())


def _load(text: str, file: str) -> dict[str, object]:
    try:
        return load_toml(text.removeprefix(BYTE_ORDER_MARK))
    except (TomlError, UnusableTomlError) as error:
        raise EnvironmentFileError(f"{file} is not valid TOML: {error}; correct that line") from error


def _environment(name: str, value: object, features: Mapping[str, Feature], where: str, shared: Table) -> Environment:
    key = f"{where}: environments.{name}"
    table: Table = {"features": value} if isinstance(value, list) else _table(value, key)
    names = [_text(item, f"{key}.features") for item in _list(table.get("features"), f"{key}.features")]
    for feature in names:
        if feature not in features:
            raise EnvironmentFileError(f"{key} has the unknown feature {feature!r}; {nearest(feature, tuple(features))}")
    if not table.get("no-default-feature"):
        names.append("default")
    named = tuple(features[feature] for feature in dict.fromkeys(names))
    inline = {word: content for word, content in table.items() if word not in _OWN_KEYS}
    # Pixi 0.74 and later treats settings in the environment's own table as a feature that precedes all others.
    own = (_feature(f"environments.{name}", inline, key, shared),) if inline else ()
    return Environment(name=name, features=(*own, *named))


def _feature(name: str, table: Table, key: str, shared: Table) -> Feature:
    """Parse a feature; `shared` is ``[workspace.dependencies]``, which ``{ workspace = true }`` refers to."""
    requirements = _table(table.get("system-requirements"), f"{key}.system-requirements")
    targets = _table(table.get("target"), f"{key}.target")
    return Feature(
        name=name,
        platforms=platform_names(table.get("platforms"), f"{key}.platforms"),
        cuda=cuda_of(requirements.get("cuda"), f"{key}.system-requirements.cuda"),
        glibc=glibc_of(requirements.get("libc"), f"{key}.system-requirements.libc"),
        scripts=tuple(_scripts(table, key)),
        editable=tuple(_editable(table, key)),
        variables=tuple(_variables(table, key)),
        sources=tuple(feature_places(table, key, shared)),
        tasks=tuple(tasks_of(table)),
        targets=tuple(
            (selector, _feature(name, _table(inner, f"{key}.target.{selector}"), f"{key}.target.{selector}", shared))
            for selector, inner in targets.items()
        ),
    )


def _scripts(table: Table, key: str) -> Iterable[str]:
    activation = _table(table.get("activation"), f"{key}.activation")
    return (_text(s, f"{key}.activation.scripts") for s in _list(activation.get("scripts"), f"{key}.activation.scripts"))


def _variables(table: Table, key: str) -> Iterable[tuple[str, str]]:
    activation = _table(table.get("activation"), f"{key}.activation")
    values = _table(activation.get("env"), f"{key}.activation.env")
    return ((name, _text(value, f"{key}.activation.env.{name}")) for name, value in values.items())


def _editable(table: Table, key: str) -> Iterable[str]:
    packages = _table(table.get("pypi-dependencies"), f"{key}.pypi-dependencies")
    for name, value in packages.items():
        if isinstance(value, dict) and value.get("editable") is True:
            yield normal_name(name)


def normal_name(name: str) -> str:
    """Return the normalised name of a Python package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
