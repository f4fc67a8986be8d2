"""Read the parts of the manifest (``pixi.toml``, or ``[tool.pixi]`` in ``pyproject.toml``) that the stand-in needs."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomli

from hpcdeploy_lab.pixi_standin import StandInError, platforms
from hpcdeploy_lab.pixi_standin.machine import virtual_packages
from hpcdeploy_lab.pixi_standin.platforms import Platform

Table = Mapping[str, Any]
_ENVIRONMENT_KEYS = ("features", "solve-group", "no-default-feature")


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task.

    ``command`` is shell text, empty if the task only depends on other tasks. ``folder`` is relative to the workspace. A
    ``templated`` task takes arguments, or its command contains a MiniJinja template.
    """

    command: str
    depends_on: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    folder: str = ""
    templated: bool = False


@dataclass(frozen=True, kw_only=True)
class Environment:
    """An environment: the result of merging its features for one platform.

    ``platform`` is this platform, None if the environment has no platform for linux-64. ``declared`` are all platforms of
    the environment. ``cuda`` is the CUDA version that the driver must support; empty for no CUDA.
    """

    name: str
    declared: tuple[Platform, ...]
    platform: Platform | None
    channels: tuple[str, ...]
    dependencies: Mapping[str, str]
    pypi: tuple[str, ...]
    editable: tuple[str, ...]
    tasks: Mapping[str, Task]
    variables: Mapping[str, str]
    scripts: tuple[str, ...]
    cuda: str

    @property
    def platforms(self) -> tuple[str, ...]:
        """Return the names of the environment's platforms."""
        return tuple(platform.name for platform in self.declared)


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A workspace; ``manifest`` is the manifest's absolute path."""

    manifest: Path
    name: str
    version: str
    environments: Mapping[str, Environment]

    @property
    def root(self) -> Path:
        """Return the folder of the manifest."""
        return self.manifest.parent

    @property
    def lock(self) -> Path:
        """Return the path of the lock file."""
        return self.root / "pixi.lock"

    def environment(self, name: str) -> Environment:
        """Return the environment `name`.

        Raises:
            StandInError: The workspace has no environment of this name.
        """
        if name not in self.environments:
            raise StandInError(f"unknown environment '{name}'; {self.manifest} has: {', '.join(self.environments)}")
        return self.environments[name]

    def prefix(self, environment: str) -> Path:
        """Return the installation folder of an environment."""
        return self.root / ".pixi" / "envs" / environment


def find_manifest(given: str | None, folder: Path) -> Path | None:
    """Return the path of the manifest `given`, which is a file or its folder.

    If `given` is None, return the manifest in `folder` or in its nearest parent with a manifest; None if there is none.

    Raises:
        StandInError: There is no manifest at the path `given`, or a file is malformed.
    """
    if given is not None:
        path = Path(os.path.abspath(folder / given))  # noqa: PTH100 - as typed, without resolving links
        found = path if path.is_file() else _manifest_in(path)
        if found is None:
            raise StandInError(f"could not find pixi.toml or pyproject.toml at {path}")
        return found
    return next((found for place in (folder, *folder.parents) if (found := _manifest_in(place))), None)


def _manifest_in(folder: Path) -> Path | None:
    if (folder / "pixi.toml").is_file():
        return folder / "pixi.toml"
    project = folder / "pyproject.toml"
    return project if project.is_file() and "pixi" in _load(project).get("tool", {}) else None


def read_workspace(manifest: Path, platform: str | None = None) -> Workspace:
    """Read a manifest.

    Args:
        manifest: The file.
        platform: The name of the platform to read each environment for. If empty, the best platform for this machine; if
            None, the platform that the environment is installed for.

    Raises:
        StandInError: The file is not a manifest.
    """
    top: Table = _load(manifest)
    names: Table = {}
    if manifest.name == "pyproject.toml":
        names, top = top.get("project", {}), top.get("tool", {}).get("pixi", {})
    head = top.get("workspace", top.get("project"))
    if not isinstance(head, dict):
        raise StandInError(f"{manifest} has no [workspace] table")
    described = {"default": {}, **top.get("environments", {})}
    return Workspace(
        manifest=manifest,
        name=str(head.get("name", names.get("name", manifest.parent.name))),
        version=str(head.get("version", names.get("version", "NO_VERSION_SPECIFIED"))),
        environments={
            name: _environment(name, value, top, head, _installed(manifest, name) if platform is None else platform)
            for name, value in described.items()
        },
    )


def _installed(manifest: Path, environment: str) -> str:
    """Return the name of the platform that an environment is installed for; empty if it is not installed."""
    mark = manifest.parent / ".pixi" / "envs" / environment / "conda-meta" / "pixi"
    return str(json.loads(mark.read_text()).get("platform", "")) if mark.is_file() else ""


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomli.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StandInError(f"failed to parse {path}: {error}") from error


def _environment(name: str, value: Table | list[str], top: Table, head: Table, wanted: str) -> Environment:
    table: Table = {"features": value} if isinstance(value, list) else value
    # The content of [environments.NAME.*] is the environment's first feature (pixi 0.74).
    features = [{key: item for key, item in table.items() if key not in _ENVIRONMENT_KEYS}]
    for feature in table.get("features", []):
        if feature not in top.get("feature", {}):
            raise StandInError(f"the environment '{name}' names the feature '{feature}', which is not defined")
        features.append(top["feature"][feature])
    if not table.get("no-default-feature"):
        features.append({key: value for key, value in top.items() if key != "platforms"})
    everywhere = tuple(platforms.read(value) for value in head.get("platforms", []))
    narrowed = [{str(name) for name in feature["platforms"]} for feature in features if "platforms" in feature]
    declared = _required(platforms.allowed(everywhere, narrowed), features)
    platform = next((one for one in declared if one.name == wanted), None) or platforms.best(declared, virtual_packages())
    # The first feature has the highest priority. So the layers begin with the last feature; a later layer replaces values of
    # earlier layers.
    layers = [layer for feature in reversed(features) for layer in _layers(feature, platform)]
    channels = [_channel(channel) for feature in features for channel in feature.get("channels", ())]
    return Environment(
        name=name,
        declared=declared,
        platform=platform,
        channels=tuple(dict.fromkeys(channels + [_channel(channel) for channel in head.get("channels", [])])),
        dependencies=dict(item for layer in layers for item in _dependencies(layer)),
        pypi=tuple(dict.fromkeys(name for layer in layers for name in layer.get("pypi-dependencies", {}))),
        editable=tuple(
            name
            for layer in layers
            for name, value in layer.get("pypi-dependencies", {}).items()
            if isinstance(value, dict) and value.get("editable")
        ),
        tasks={name: _task(task) for layer in layers for name, task in layer.get("tasks", {}).items()},
        variables={k: str(v) for layer in layers for k, v in layer.get("activation", {}).get("env", {}).items()},
        scripts=tuple(script for layer in layers for script in layer.get("activation", {}).get("scripts", [])),
        cuda=platform.promises.get("__cuda", "") if platform else "",
    )


def _layers(feature: Table, platform: Platform | None) -> Iterator[Table]:
    yield feature
    for selector, target in feature.get("target", {}).items():
        if platform is not None and platforms.selects(selector, platform):
            yield target


def _required(found: tuple[Platform, ...], features: list[dict[str, Any]]) -> tuple[Platform, ...]:
    """Return the platforms, with the requirements of ``[system-requirements]`` added to the virtual packages of linux-64."""
    tables = [feature.get("system-requirements", {}) for feature in features]
    words = {"__cuda": [table.get("cuda", "") for table in tables], "__glibc": [table.get("libc", "") for table in tables]}
    required: dict[str, str] = {}
    for package, values in words.items():
        plain = [value.get("driver", value.get("version", "")) if isinstance(value, dict) else value for value in values]
        versions = [str(value) for value in plain if value]
        if versions:
            required[package] = max(versions, key=lambda version: [int(part) for part in version.split(".")])
    required = {package: version for package, version in required.items() if platforms.COMMON.get(package) != version}
    return tuple(
        replace(one, promises={**one.promises, **required}) if one.subdir == platforms.PLATFORM else one for one in found
    )


def _channel(value: str | Table) -> str:
    name = value if isinstance(value, str) else str(value["channel"])
    return (name if "://" in name else f"https://conda.anaconda.org/{name}").rstrip("/")


def _dependencies(layer: Table) -> Iterator[tuple[str, str]]:
    """Yield conda dependencies as match specs; a dependency with a path or a git URL matches by its name."""
    for kind in ("host-dependencies", "build-dependencies", "dependencies"):
        for name, value in layer.get(kind, {}).items():
            if isinstance(value, str):
                yield name, f"{name} {value}"
            else:
                yield name, f"{name} {value.get('version', '*')} {value.get('build', '')}".strip()


def _task(value: str | list[Any] | Table) -> Task:
    if isinstance(value, str):
        value = {"cmd": value}
    elif isinstance(value, list):
        value = {"depends-on": value}
    command = value.get("cmd", "")
    text = " ".join(command) if isinstance(command, list) else str(command)
    depends = value.get("depends-on", value.get("depends_on", []))
    return Task(
        command=text,
        depends_on=tuple(_task_name(item) for item in ([depends] if isinstance(depends, str) else depends)),
        environment=tuple((key, str(item)) for key, item in value.get("env", {}).items()),
        folder=str(value.get("cwd", "")),
        templated=bool(value.get("args")) or "{{" in text,
    )


def _task_name(value: str | Table) -> str:
    return value if isinstance(value, str) else str(value["task"])
