"""Detect conda's virtual packages of the machine, and read pixi's settings for mirrors and the cache."""

import os
from collections.abc import Mapping
from pathlib import Path

import tomli
from rattler import BuildString, MatchSpec, PackageName, PackageRecord, VirtualPackage, VirtualPackageOverrides

from hpcdeploy_lab.pixi_standin import StandInError

SYSTEM_CONFIG = Path("/etc/pixi/config.toml")


def virtual_packages() -> tuple[str, ...]:
    """Return the machine's virtual packages as ``name=version=build``; variables CONDA_OVERRIDE_* have precedence."""
    found = VirtualPackage.detect(VirtualPackageOverrides.from_env())
    return tuple(str(package.into_generic()) for package in found)


def check_virtual(wanted: Mapping[str, str]) -> None:
    """Check that the machine has the virtual packages that an environment needs, as pixi does before an installation.

    Raises:
        StandInError: The machine lacks one of the virtual packages.
    """
    offered = virtual_packages()
    records = [_record(*package.split("=")) for package in offered]
    for spec, who in wanted.items():
        if not any(MatchSpec(spec).matches(record) for record in records):
            name = spec.split()[0].removeprefix("__").upper()
            raise StandInError(
                f"Virtual package '{spec}', which {who} requires, does not match any of the available virtual packages on "
                f"your machine: [{', '.join(offered)}]; set CONDA_OVERRIDE_{name} to install for another machine"
            )


def _record(name: str, version: str, build: str) -> PackageRecord:
    return PackageRecord(
        name=PackageName.unchecked(name),
        version=version,
        build=BuildString(build),
        build_number=0,
        subdir="noarch",
        arch=None,
        platform=None,
    )


def config_files(root: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the paths of pixi's settings, lowest priority first (pixi's documentation of its configuration)."""
    home = Path(environ.get("HOME", "/"))
    return (
        SYSTEM_CONFIG,
        Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pixi" / "config.toml",
        Path(environ.get("PIXI_HOME") or home / ".pixi") / "config.toml",
        root / ".pixi" / "config.toml",
    )


def mirrors(root: Path, environ: Mapping[str, str] = os.environ) -> dict[str, tuple[str, ...]]:
    """Return the merged ``[mirrors]`` tables of all settings files: addresses of mirrors, by the address that they replace.

    Raises:
        StandInError: A file is malformed.
    """
    table: dict[str, tuple[str, ...]] = {}
    for path in config_files(root, environ):
        if path.is_file():
            try:
                found = tomli.loads(path.read_text()).get("mirrors", {})
            except ValueError as error:
                raise StandInError(f"failed to parse {path}: {error}") from error
            table |= {address.rstrip("/"): tuple(places) for address, places in found.items()}
    return table


def mirrored(url: str, table: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the addresses to try for `url`: those at the mirrors of its longest prefix in `table`.

    If `table` has no prefix of `url`, the result is `url` itself.
    """
    for address in sorted(table, key=len, reverse=True):
        if url.startswith(f"{address}/"):
            return tuple(place.rstrip("/") + url[len(address) :] for place in table[address])
    return (url,)


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the package cache (pixi's documentation, "Environment variables")."""
    for variable in ("PIXI_CACHE_DIR", "RATTLER_CACHE_DIR"):
        if environ.get(variable):
            return Path(environ[variable])
    base = Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "/")) / ".cache")
    return base / "pixi" if environ.get("XDG_CACHE_HOME") and (base / "pixi").is_dir() else base / "rattler" / "cache"
