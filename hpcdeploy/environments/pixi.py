"""A Pixi workspace's manifest (``pixi.toml``, or ``[tool.pixi]`` in ``pyproject.toml``) as plain values.

Only what an image needs is read: names, platforms, environments with their features, what the system must offer (CUDA,
glibc) and the activation scripts. Sources: Pixi's manifest reference, its page on system requirements, and its page on
platforms that carry virtual packages (0.71 and later).
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.spelling import nearest

LINUX = "linux-64"
"""The conda platform that images are built for."""

DEFAULT_GLIBC = "2.28"
"""What Pixi assumes of the system's C library where nobody says otherwise (its page on system requirements)."""

Table = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Platform:
    """A platform of the workspace: its own name, the conda subfolder, and what it promises (empty: nothing said)."""

    name: str
    subdir: str
    cuda: str = ""
    glibc: str = ""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A feature; ``default`` is the manifest's top level. ``platforms`` is None where it does not narrow them.

    ``editable`` are the PyPI packages of the workspace's own folders that are to be used from where their source lies.
    ``variables`` are those of ``[activation.env]``, in the manifest's order; the last of a name wins.
    """

    name: str
    platforms: tuple[str, ...] | None = None
    cuda: str = ""
    glibc: str = ""
    scripts: tuple[str, ...] = ()
    editable: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Environment:
    """An environment and all its features, the default one included unless the manifest leaves it out."""

    name: str
    features: tuple[Feature, ...]

    @property
    def variables(self) -> dict[str, str]:
        """What ``[activation.env]`` sets: the weakest feature, the default one, comes last and is laid down first."""
        return {name: value for feature in reversed(self.features) for name, value in feature.variables}


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A manifest. ``file`` is its name, for messages."""

    file: str
    name: str
    platforms: tuple[Platform, ...]
    environments: tuple[Environment, ...]

    def environment(self, name: str) -> Environment:
        """Find an environment by name; `EnvironmentFileError` with the nearest spelling where there is none."""
        names = tuple(environment.name for environment in self.environments)
        if name not in names:
            raise EnvironmentFileError(f"{self.file} has no environment {name!r}; {nearest(name, names)}")
        return self.environments[names.index(name)]

    def platforms_for(self, environment: Environment, subdir: str = LINUX) -> tuple[Platform, ...]:
        """Return the platforms of one conda subfolder that every feature of `environment` allows.

        A feature names a platform by its own name or by its subfolder.
        """
        kept = tuple(platform for platform in self.platforms if platform.subdir == subdir)
        for feature in environment.features:
            if feature.platforms is not None:
                kept = tuple(p for p in kept if p.name in feature.platforms or p.subdir in feature.platforms)
        if not kept:
            raise EnvironmentFileError(
                f"{self.file}: the environment {environment.name!r} is not made for {subdir}, which the image is built for; "
                f"add {subdir!r} to its platforms and run 'pixi lock'"
            )
        return kept

    def cuda(self, environment: Environment, subdir: str = LINUX) -> str:
        """Return the CUDA version that `environment` asks of the driver; empty where it asks for none."""
        platforms = (platform.cuda for platform in self.platforms_for(environment, subdir))
        return _highest((*platforms, *(feature.cuda for feature in environment.features)))

    def glibc(self, environment: Environment, subdir: str = LINUX) -> str:
        """Return the lowest glibc that the base image may have."""
        platforms = (platform.glibc for platform in self.platforms_for(environment, subdir))
        return _highest((*platforms, *(feature.glibc for feature in environment.features))) or DEFAULT_GLIBC


def is_manifest(text: str, file: str) -> bool:
    """Tell whether this is a Pixi manifest: a ``pyproject.toml`` is one only with ``[tool.pixi]``."""
    return Path(file).name != "pyproject.toml" or "pixi" in _table(_load(text, file).get("tool"), f"{file}: tool")


def read_manifest(text: str, file: str = "pixi.toml") -> Workspace:
    """Read a manifest's text; `file` is its name, which also tells ``pyproject.toml`` apart."""
    top: Table = _load(text, file)
    where, fallback = file, ""
    if Path(file).name == "pyproject.toml":
        project = _table(top.get("project"), f"{file}: project")
        fallback = _text(project.get("name"), f"{file}: project.name")
        tool = _table(top.get("tool"), f"{file}: tool")
        if "pixi" not in tool:
            raise EnvironmentFileError(f"{file} has no [tool.pixi]: it is no Pixi workspace; name the folder of one")
        where = f"{file}: tool.pixi"
        top = _table(tool["pixi"], where)
    head = _table(top.get("workspace", top.get("project")), f"{where}: workspace")
    if "workspace" not in top and "project" not in top:
        raise EnvironmentFileError(f"{where} has no [workspace] table; is this a Pixi manifest?")
    features = {"default": _feature("default", top, f"{where}: [top level]")}
    for name, table in _table(top.get("feature"), f"{where}: feature").items():
        features[name] = _feature(name, _table(table, f"{where}: feature.{name}"), f"{where}: feature.{name}")
    environments = dict.fromkeys(("default",), _environment("default", {}, features, where))
    for name, value in _table(top.get("environments"), f"{where}: environments").items():
        environments[name] = _environment(name, value, features, where)
    return Workspace(
        file=file,
        name=_text(head.get("name"), f"{where}: workspace.name") or fallback,
        platforms=tuple(_platform(p, f"{where}: workspace.platforms") for p in _list(head.get("platforms"), where)),
        environments=tuple(environments.values()),
    )


def _load(text: str, file: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise EnvironmentFileError(f"{file} is not valid TOML: {error}; correct that line") from error


def _environment(name: str, value: object, features: Mapping[str, Feature], where: str) -> Environment:
    key = f"{where}: environments.{name}"
    table: Table = {"features": value} if isinstance(value, list) else _table(value, key)
    names = [_text(item, f"{key}.features") for item in _list(table.get("features"), f"{key}.features")]
    for feature in names:
        if feature not in features:
            raise EnvironmentFileError(f"{key} names the feature {feature!r}; {nearest(feature, tuple(features))}")
    if not table.get("no-default-feature"):
        names.append("default")
    return Environment(name=name, features=tuple(features[feature] for feature in dict.fromkeys(names)))


def _feature(name: str, table: Table, key: str) -> Feature:
    requirements = _table(table.get("system-requirements"), f"{key}.system-requirements")
    platforms = table.get("platforms")
    scripts, editable = list(_scripts(table, key)), list(_editable(table, key))
    variables = list(_variables(table, key))
    for target, inner in _table(table.get("target"), f"{key}.target").items():
        if target in ("unix", "linux", LINUX):
            scripts.extend(_scripts(_table(inner, f"{key}.target.{target}"), f"{key}.target.{target}"))
            editable.extend(_editable(_table(inner, f"{key}.target.{target}"), f"{key}.target.{target}"))
            variables.extend(_variables(_table(inner, f"{key}.target.{target}"), f"{key}.target.{target}"))
    return Feature(
        name=name,
        platforms=None if platforms is None else tuple(_platform(p, f"{key}.platforms").name for p in _list(platforms, key)),
        cuda=_cuda(requirements.get("cuda"), f"{key}.system-requirements.cuda"),
        glibc=_glibc(requirements.get("libc"), f"{key}.system-requirements.libc"),
        scripts=tuple(scripts),
        editable=tuple(editable),
        variables=tuple(variables),
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
    """Return the spelling of a Python package's name that all its spellings share (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _platform(value: object, key: str) -> Platform:
    if isinstance(value, str):
        return Platform(name=value, subdir=value)
    table = _table(value, key)
    subdir = _text(table.get("platform", table.get("subdir")), f"{key}.platform")
    if not subdir:
        raise EnvironmentFileError(f"{key} holds a table without 'platform'; write {{ platform = \"{LINUX}\", ... }}")
    return Platform(
        name=_text(table.get("name"), f"{key}.name") or subdir,
        subdir=subdir,
        cuda=_cuda(table.get("cuda"), f"{key}.cuda"),
        glibc=_glibc(table.get("glibc", table.get("libc")), f"{key}.glibc"),
    )


def _cuda(value: object, key: str) -> str:
    """Read ``"12.9"`` or ``{ driver = "12.9", arch = "8.6" }``."""
    return _text(value.get("driver") if isinstance(value, dict) else value, key)


def _glibc(value: object, key: str) -> str:
    """Read ``"2.28"`` or ``{ family = "glibc", version = "2.28" }``."""
    return _text(value.get("version") if isinstance(value, dict) else value, key)


def _highest(versions: Iterable[str]) -> str:
    return max(versions, key=lambda version: [int(part) for part in re.findall(r"\d+", version)], default="")


def _table(value: object, key: str) -> Table:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise EnvironmentFileError(f"{key} is {value!r}, but a table was expected")
    return cast("Table", value)


def _list(value: object, key: str) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise EnvironmentFileError(f"{key} is {value!r}, but a list was expected")
    return value


def _text(value: object, key: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise EnvironmentFileError(f"{key} is {value!r}, but a text was expected")
    return str(value)
