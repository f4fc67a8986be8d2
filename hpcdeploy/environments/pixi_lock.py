"""A Pixi workspace's lock file, versions 5, 6 and 7, as plain values.

Version 5 names each package field by field; from 6 on the name and version of a conda package are those of its file
name; 7 adds a table of platforms, whose names may differ from the conda subfolder and which carry the virtual packages of
the solve.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import unquote, urlsplit

from hpcdeploy.environments.pixi import LINUX
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.spelling import nearest

VERSIONS = (5, 6, 7)
Kind = Literal["conda", "pypi", "source"]
_KINDS: Mapping[str, Kind] = {
    "conda": "conda", "pypi": "pypi", "conda_source": "source", "source": "source",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Package:
    """A locked package. ``size`` is in bytes (0: not said), ``sha256`` 64 hex digits (empty: not said).

    ``url`` is as the lock file has it: for a package of the workspace itself it is a path, relative to the manifest.
    ``editable`` is said here by older pixi; since 2026 the manifest alone says it (prefix-dev/pixi#5106, #5249).
    """

    kind: Kind
    name: str
    version: str
    url: str
    size: int = 0
    sha256: str = ""
    editable: bool = False

    @property
    def is_local(self) -> bool:
        """Whether it comes from a place of this machine instead of from a channel, an index or a repository."""
        return "://" not in self.url or self.url.startswith("file:")


@dataclass(frozen=True, kw_only=True)
class LockedEnvironment:
    """What one environment holds on one platform; ``cuda`` and ``glibc`` are what the solve assumed (from version 7 on).

    ``elsewhere`` are the local packages of other environments and platforms: pixi looks at the whole lock file.
    """

    name: str
    channels: tuple[str, ...]
    packages: tuple[Package, ...]
    cuda: str = ""
    glibc: str = ""
    elsewhere: tuple[Package, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A lock file's version, and each environment's name with the platforms that it is locked for."""

    version: int
    environments: tuple[tuple[str, tuple[str, ...]], ...]


def read_outline(text: str, file: str = "pixi.lock") -> Outline:
    """Read what a lock file is about; raises `EnvironmentFileError` where it is none of a version known here."""
    top = _load(text, file)
    version = top.get("version")
    if not isinstance(version, int) or version not in VERSIONS:
        raise EnvironmentFileError(_unknown_version(version, file))
    tables = _table(top.get("environments"), f"{file}: environments")
    places = {name: _table(value, f"{file}: environments.{name}") for name, value in tables.items()}
    locked = {name: _table(place.get("packages"), f"{file}: environments.{name}.packages") for name, place in places.items()}
    return Outline(version=version, environments=tuple((name, tuple(platforms)) for name, platforms in locked.items()))


def read_locked(text: str, environment: str, *, file: str = "pixi.lock", subdir: str = LINUX) -> LockedEnvironment:
    """Read from a lock file's text what `environment` holds on the conda platform `subdir`.

    Raises `EnvironmentFileError` for malformed YAML, a version that this reader does not know, an environment or platform
    that is not locked.
    """
    top = _load(text, file)
    version = top.get("version")
    if version not in VERSIONS:
        raise EnvironmentFileError(_unknown_version(version, file))
    environments = _table(top.get("environments"), f"{file}: environments")
    if environment not in environments:
        raise EnvironmentFileError(
            f"{file} has no environment {environment!r}: if the manifest has it, run 'pixi lock'; "
            f"{nearest(environment, tuple(environments))}"
        )
    key = f"{file}: environments.{environment}"
    locked = _table(environments[environment], key)
    by_platform = _table(locked.get("packages"), f"{key}.packages")
    platform = _platform(top, by_platform, subdir, file)
    if platform is None:
        raise EnvironmentFileError(
            f"{key} is not locked for {subdir}, which the image is built for "
            f"(it is for {', '.join(by_platform) or 'nothing'}); add {subdir!r} to the workspace's platforms and run "
            "'pixi lock'"
        )
    details = {_address(entry, f"{file}: packages"): entry for entry in _tables(top.get("packages"), f"{file}: packages")}
    virtual = _virtual_packages(top, platform, file)
    held = [_address(entry, key) for entry in _tables(by_platform[platform], f"{key}.packages.{platform}")]
    others = (_package(address, details, file) for address in details if "://" not in address[1] and address not in held)
    return LockedEnvironment(
        name=environment,
        channels=tuple(str(channel.get("url", "")) for channel in _tables(locked.get("channels"), f"{key}.channels")),
        packages=tuple(_package(address, details, f"{key}.packages.{platform}") for address in held),
        cuda=virtual.get("__cuda", ""),
        glibc=virtual.get("__glibc", ""),
        elsewhere=tuple(package for package in others if package.is_local),
    )


def _unknown_version(version: object, file: str) -> str:
    if isinstance(version, int) and version > VERSIONS[-1]:
        return (
            f"{file} is of version {version}, but this hpcdeploy reads versions up to {VERSIONS[-1]} and does not guess; "
            "upgrade hpcdeploy, or write the lock file with an older pixi"
        )
    return (
        f"{file} is of version {version!r}, but {', '.join(map(str, VERSIONS))} were expected; run 'pixi lock' to renew it"
    )


def _load(text: str, file: str) -> Mapping[str, object]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        top = yaml.load(text, loader)  # noqa: S506 - a safe loader either way; the C one is ten times as fast
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise EnvironmentFileError(f"{file}{line}: not valid YAML: {error.problem}; run 'pixi lock' to renew it") from error
    except yaml.YAMLError as error:
        raise EnvironmentFileError(f"{file} is not valid YAML: {error}; run 'pixi lock' to renew it") from error
    return _table(top, file)


def _platform(top: Mapping[str, object], locked: Mapping[str, object], subdir: str, file: str) -> str | None:
    names = [name for name in locked if name == subdir]
    names += [
        str(platform["name"])
        for platform in _tables(top.get("platforms"), f"{file}: platforms")
        if platform.get("subdir", platform.get("name")) == subdir and platform.get("name") in locked
    ]
    names = list(dict.fromkeys(names))
    if len(names) > 1:
        raise EnvironmentFileError(
            f"{file} locks the environment for several platforms of {subdir} ({', '.join(names)}), and nothing says which "
            "one the image is to hold; give the environment's feature one of them in 'platforms' and run 'pixi lock'"
        )
    return names[0] if names else None


def _virtual_packages(top: Mapping[str, object], name: str, file: str) -> dict[str, str]:
    for platform in _tables(top.get("platforms"), f"{file}: platforms"):
        if platform.get("name") == name:
            listed = platform.get("virtual-packages")
            pairs = (str(item).split("=") for item in (listed if isinstance(listed, list) else []))
            return {pair[0]: pair[1] for pair in pairs if len(pair) > 1}
    return {}


def _address(entry: Mapping[str, object], key: str) -> tuple[Kind, str]:
    """Return what identifies a package in the lock file: its kind and its address."""
    for word, kind in _KINDS.items():
        if word in entry:
            return kind, str(entry[word])
    if "kind" in entry:  # version 5
        address = entry.get("url", entry.get("path", entry.get("name")))
        return _KINDS.get(str(entry["kind"]), "conda"), str(address)
    raise EnvironmentFileError(f"{key} holds an entry that is neither conda nor pypi: {dict(entry)!r}; run 'pixi lock'")


def _package(address: tuple[Kind, str], details: Mapping[tuple[Kind, str], Mapping[str, object]], key: str) -> Package:
    if address not in details:
        raise EnvironmentFileError(f"{key} names {address[1]}, which 'packages' does not have; run 'pixi lock' to renew it")
    kind, url = address
    entry = details[address]
    name, version = _from_file_name(url) if kind == "conda" else ("", "")
    size = entry.get("size")
    return Package(
        kind=kind,
        name=str(entry.get("name") or name or url.partition("[")[0]),
        version=str(entry.get("version") or version),
        url=url if kind != "source" else url.partition(" @ ")[2] or url,
        size=size if isinstance(size, int) else 0,
        sha256=str(entry.get("sha256") or ""),
        editable=entry.get("editable") is True,
    )


def _from_file_name(url: str) -> tuple[str, str]:
    """Split ``name-version-build.conda``: neither version nor build may hold a hyphen (conda's package naming)."""
    stem = re.sub(r"\.(conda|tar\.bz2)$", "", unquote(urlsplit(url).path).rpartition("/")[2])
    parts = stem.rsplit("-", 2)
    return (parts[0], parts[1]) if len(parts) == 3 else (stem, "")


def _table(value: object, key: str) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise EnvironmentFileError(f"{key} is {str(value)[:60]!r}, but a table was expected; run 'pixi lock' to renew it")
    return cast("Mapping[str, object]", value)


def _tables(value: object, key: str) -> list[Mapping[str, object]]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise EnvironmentFileError(f"{key} is {str(value)[:60]!r}, but a list was expected; run 'pixi lock' to renew it")
    return [_table(item, key) for item in value]
