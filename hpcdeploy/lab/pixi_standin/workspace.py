"""The manifest (``pixi.toml``, or ``[tool.pixi]`` in ``pyproject.toml``), as far as the stand-in needs it."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import tomli

from hpcdeploy.lab.pixi_standin import StandInError

Table = Mapping[str, Any]
TARGETS = ("unix", "linux", "linux-64")
"""The ``[target]`` tables that hold here, weakest first."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task; ``command`` is shell text (empty: it only names others), ``folder`` relative to the workspace.

    A ``templated`` one takes arguments or holds a MiniJinja template.
    """

    command: str
    depends_on: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    folder: str = ""
    templated: bool = False


@dataclass(frozen=True, kw_only=True)
class Environment:
    """An environment with everything that its features add up to; ``cuda`` is the version asked of the driver."""

    name: str
    platforms: tuple[str, ...]
    channels: tuple[str, ...]
    dependencies: Mapping[str, str]
    pypi: tuple[str, ...]
    editable: tuple[str, ...]
    tasks: Mapping[str, Task]
    variables: Mapping[str, str]
    scripts: tuple[str, ...]
    cuda: str


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A workspace; ``manifest`` is the manifest's absolute path."""

    manifest: Path
    name: str
    version: str
    environments: Mapping[str, Environment]

    @property
    def root(self) -> Path:
        """The folder of the manifest."""
        return self.manifest.parent

    @property
    def lock(self) -> Path:
        """Where the lock file belongs."""
        return self.root / "pixi.lock"

    def environment(self, name: str) -> Environment:
        """Find an environment."""
        if name not in self.environments:
            raise StandInError(f"unknown environment '{name}'; {self.manifest} has: {', '.join(self.environments)}")
        return self.environments[name]

    def prefix(self, environment: str) -> Path:
        """Where an environment is installed."""
        return self.root / ".pixi" / "envs" / environment


def find_manifest(given: str | None, folder: Path) -> Path | None:
    """Return the manifest: the one named (a file or its folder), else the nearest at or above `folder`."""
    if given is not None:
        path = Path(os.path.abspath(folder / given))  # noqa: PTH100 - as typed: no link is followed
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


def read_workspace(manifest: Path) -> Workspace:
    """Read a manifest; `StandInError` where it is none."""
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
        environments={name: _environment(name, value, top, head) for name, value in described.items()},
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", tomli.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise StandInError(f"failed to parse {path}: {error}") from error


def _environment(name: str, value: Table | list[str], top: Table, head: Table) -> Environment:
    table: Table = {"features": value} if isinstance(value, list) else value
    features = []
    for feature in table.get("features", []):
        if feature not in top.get("feature", {}):
            raise StandInError(f"the environment '{name}' names the feature '{feature}', which is not defined")
        features.append(top["feature"][feature])
    if not table.get("no-default-feature"):
        features.append({key: value for key, value in top.items() if key != "platforms"})
    everywhere = tuple(_platform(value) for value in head.get("platforms", []))
    narrowed = [{_platform(value) for value in feature["platforms"]} for feature in features if "platforms" in feature]
    # The first feature is the strongest: the weakest is laid down first, so that the stronger ones replace it.
    layers = [layer for feature in reversed(features) for layer in _layers(feature)]
    channels = [_channel(channel) for feature in features for channel in feature.get("channels", ())]
    return Environment(
        name=name,
        platforms=tuple(platform for platform in everywhere if all(platform in allowed for allowed in narrowed)),
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
        cuda=_cuda(layers, head),
    )


def _layers(feature: Table) -> Iterator[Table]:
    yield feature
    for target in TARGETS:
        if target in feature.get("target", {}):
            yield feature["target"][target]


def _platform(value: str | Table) -> str:
    return value if isinstance(value, str) else str(value.get("name", value.get("platform", "")))


def _channel(value: str | Table) -> str:
    name = value if isinstance(value, str) else str(value["channel"])
    return (name if "://" in name else f"https://conda.anaconda.org/{name}").rstrip("/")


def _dependencies(layer: Table) -> Iterator[tuple[str, str]]:
    """Tell conda dependencies as match specs; those from a folder or a repository count by name alone."""
    for kind in ("host-dependencies", "build-dependencies", "dependencies"):
        for name, value in layer.get(kind, {}).items():
            if isinstance(value, str):
                yield name, f"{name} {value}"
            else:
                yield name, f"{name} {value.get('version', '*')} {value.get('build', '')}".strip()


def _cuda(layers: list[Table], head: Table) -> str:
    platforms = [value for value in head.get("platforms", []) if isinstance(value, dict)]
    found = [layer.get("system-requirements", {}).get("cuda", "") for layer in layers]
    found += [value["cuda"] for value in platforms if value.get("platform") == "linux-64" and "cuda" in value]
    versions = [str(value.get("driver", "") if isinstance(value, dict) else value) for value in found if value]
    return max(versions, key=lambda version: [int(part) for part in version.split(".")], default="")


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
