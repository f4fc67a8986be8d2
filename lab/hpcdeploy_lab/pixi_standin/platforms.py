"""Choose the platform to install, and find its section of the lock file.

Since 0.71 pixi has platforms with names and virtual packages. The rules are those of pixi 0.77: it uses the first platform
in the manifest that the machine can run (``best_declared_platform``), and finds the key of a platform in the lock file by
its virtual packages (``platform_rename.rs``).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

PLATFORM = "linux-64"
KEYS = {"cuda": "__cuda", "archspec": "__archspec", "glibc": "__glibc", "linux": "__linux"}
COMMON = {"__unix": "0", "__linux": "4.18", "__glibc": "2.28", "__archspec": "0=x86_64"}
"""The virtual packages of every linux-64 platform."""


@dataclass(frozen=True, kw_only=True)
class Platform:
    """A platform of the manifest.

    ``promises`` are the versions of its virtual packages by name, without those of `COMMON`; the version of an archspec is
    ``0=NAME``.
    """

    name: str
    subdir: str
    promises: Mapping[str, str] = field(default_factory=dict)


def read(value: str | Mapping[str, Any]) -> Platform:
    """Return the platform that an entry of ``platforms`` in the manifest describes."""
    if isinstance(value, str):
        return Platform(name=value, subdir=value)
    subdir = str(value.get("platform", value.get("name", "")))
    promises = {key: str(item) for key, item in value.items() if key.startswith("__")}
    for key, package in KEYS.items():
        if key in value and not isinstance(value[key], dict):
            promises[package] = f"0={value[key]}" if key == "archspec" else str(value[key])
    if isinstance(value.get("cuda"), dict):
        promises |= {"__cuda": str(value["cuda"]["driver"])}
        promises |= {"__cuda_arch": str(value["cuda"]["arch"])} if "arch" in value["cuda"] else {}
    own = {package: version for package, version in promises.items() if COMMON.get(package) != version}
    order = [*KEYS.values(), *sorted(own)]
    words = [
        f"{package.lstrip('_')}-{own[package].removeprefix('0=')}" for package in dict.fromkeys(order) if package in own
    ]
    derived = "-".join([subdir, *(re.sub(r"[^A-Za-z0-9]+", "-", word) for word in words)])
    return Platform(name=str(value.get("name", derived)), subdir=subdir, promises=own)


def allowed(platforms: Iterable[Platform], narrowed: Sequence[set[str]]) -> tuple[Platform, ...]:
    """Return the platforms that every feature allows.

    A feature allows the platforms that it names. If it names a subfolder (``linux-64``), it allows each platform of this
    subfolder. But if any feature names a platform of the subfolder exactly, only platforms that some feature names are left.
    """
    every = tuple(platforms)
    exact = {platform.subdir for platform in every for names in narrowed if platform.name in names}
    return tuple(
        platform
        for platform in every
        if all(platform.name in names or platform.subdir in names for names in narrowed)
        and (platform.subdir not in exact or any(platform.name in names for names in narrowed))
    )


def best(platforms: Iterable[Platform], offered: Sequence[str]) -> Platform | None:
    """Return the first platform that a machine with the virtual packages `offered` can run.

    If it can run none, return the first platform for linux-64; None if there is none.
    """
    here = [platform for platform in platforms if platform.subdir == PLATFORM]
    versions = dict(package.split("=")[:2] for package in offered)
    for platform in here:
        wanted = {name: version.partition("=")[0] for name, version in platform.promises.items()}
        if all(name in versions and _numbers(versions[name]) >= _numbers(version) for name, version in wanted.items()):
            return platform
    return here[0] if here else None


def selects(selector: str, platform: Platform) -> bool:
    """Tell whether the table ``[target.SELECTOR]`` applies to a platform."""
    family = {"unix": ("linux-", "osx-"), "linux": ("linux-",)}.get(selector)
    if family:
        return platform.subdir.startswith(family)
    return selector == platform.subdir or fnmatchcase(platform.name, selector)


def key_of(platform: Platform, locked: Mapping[str, tuple[str, Sequence[str]]]) -> str | None:
    """Return the key of `platform` in a lock file; None if the lock file does not have the platform.

    `locked` maps the keys of the lock file to subfolders and virtual packages.
    """
    if platform.name in locked and (not locked[platform.name][1] or _same(platform, locked[platform.name][1])):
        return platform.name
    alike = [key for key, (subdir, listed) in locked.items() if subdir == platform.subdir and _same(platform, listed)]
    if len(alike) == 1:
        return alike[0]
    return platform.subdir if platform.subdir in locked and not locked[platform.subdir][1] else None


def _same(platform: Platform, listed: Sequence[str]) -> bool:
    pairs = dict(item.removesuffix("=0").split("=", 1) for item in listed)
    own = {name: version for name, version in pairs.items() if COMMON.get(name) != version}
    return {name: _plain(version) for name, version in own.items()} == {
        name: _plain(version) for name, version in platform.promises.items()
    }


def _plain(version: str) -> str:
    return re.sub(r"(\.0+)+$", "", version)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", _plain(version))]
