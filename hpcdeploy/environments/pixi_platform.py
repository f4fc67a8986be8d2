"""Define a platform of a Pixi workspace: a conda subfolder and its virtual packages (Pixi 0.71 and later).

Sources: prefix-dev/pixi 0.77, ``crates/pixi_manifest/src/toml/platform.rs`` (keys, derived names), ``target.rs`` (selectors)
and ``platform.rs`` (defaults); the variables: conda/rattler, ``crates/rattler_virtual_packages/src/lib.rs``.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from hpcdeploy.architecture import AMD64, ARCHITECTURES
from hpcdeploy.environments.microarchitectures import check_family, check_microarchitecture
from hpcdeploy.environments.pixi_package import items, shown, table, text
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.frozen import frozen
from hpcdeploy.wildcards import STAR, joined

LINUX = AMD64.subdir
"""The conda subfolder of images, unless their settings have another ``platform``."""

DEFAULT_GLIBC = "2.28"
"""Pixi's default for the system's C library (``default_glibc_version``, pixi 0.77)."""

_ARCHSPECS: Mapping[str, str] = {
    **dict.fromkeys(("linux-64", "osx-64", "win-64"), "x86_64"),
    **dict.fromkeys(("linux-aarch64", "win-arm64"), "aarch64"),
    "linux-ppc64le": "ppc64le",
    "osx-arm64": "m1",
}
"""The microarchitecture that every machine of a subfolder has (``Archspec::from_platform`` in conda/rattler)."""

_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?")
_OTHER_KEYS = {"linux": "__linux", "macos": "__osx", "osx": "__osx", "windows": "__win"}
_NAMED_KEYS = {
    "cuda": "__cuda",
    "archspec": "__archspec",
    "glibc": "__glibc",
    "linux": "__linux",
    "macos": "__osx",
    "windows": "__win",
}
"""The keys in a derived name, in the order of that name."""


@frozen
class Platform:
    """A platform of the workspace.

    Attributes:
        name: The platform's name.
        subdir: The conda subfolder, such as ``linux-64``.
        cuda: The driver's CUDA version; empty if it is not declared.
        cuda_arch: A compute capability, such as ``8.6``; empty if it is not declared.
        archspec: A microarchitecture; empty if it is not declared.
        glibc: The glibc version; empty if it is not declared.
        others: Other virtual packages: conda's name, and the version or ``VERSION=BUILD``.
    """

    name: str
    subdir: str
    cuda: str = ""
    cuda_arch: str = ""
    archspec: str = ""
    glibc: str = ""
    others: tuple[tuple[str, str], ...] = ()

    @property
    def virtual_packages(self) -> dict[str, str]:
        """The virtual packages by conda's names, without those that every machine of the subfolder has."""
        declared = {
            "__cuda": self.cuda,
            "__cuda_arch": self.cuda_arch,
            "__archspec": f"0={self.archspec}" if self.archspec else "",
            "__glibc": self.glibc,
            **dict(self.others),
        }
        return customised({name: value for name, value in declared.items() if value}, self.subdir)


def read_platform(value: object, key: str) -> Platform:
    """Parse an entry of ``platforms``. An entry without a name gets Pixi's derived name, such as ``linux-64-cuda-12-9``.

    Raises:
        EnvironmentFileError: The entry is malformed; the message begins with `key`.
    """
    if isinstance(value, str):
        return Platform(name=value, subdir=value)
    entry = table(value, key)
    name = text(entry.get("name"), f"{key}.name")
    subdir = text(entry.get("platform", entry.get("subdir", name)), f"{key}.platform")
    if not subdir:
        raise EnvironmentFileError(f"{key} has a table without 'platform'; use {{ platform = \"{LINUX}\", ... }}")
    if name and not _NAME.fullmatch(name):
        raise EnvironmentFileError(f"{key} has the name {shown(name)}; expected letters, digits and dashes")
    cuda = entry.get("cuda")
    parts = table(cuda, f"{key}.cuda") if isinstance(cuda, dict) else {"driver": cuda}
    raw = {name: text(value, f"{key}.{name}") for name, value in entry.items() if name.startswith("__")}
    raw |= {name: text(entry[word], f"{key}.{word}") for word, name in _OTHER_KEYS.items() if word in entry}
    platform = Platform(
        name="",
        subdir=subdir,
        cuda=text(parts.get("driver"), f"{key}.cuda") or raw.pop("__cuda", ""),
        cuda_arch=text(parts.get("arch"), f"{key}.cuda.arch") or raw.pop("__cuda_arch", ""),
        archspec=text(entry.get("archspec"), f"{key}.archspec") or raw.pop("__archspec", "").partition("=")[2],
        glibc=glibc_of(entry.get("glibc", entry.get("libc")), f"{key}.glibc") or raw.pop("__glibc", ""),
        others=tuple(sorted(raw.items())),
    )
    _check(platform, key)
    return replace(platform, name=name or derived_name(platform))


def _check(platform: Platform, key: str) -> None:
    """Check the versions and the microarchitecture, which become variables of the build or select a platform.

    Raises:
        EnvironmentFileError: A value is not a version, or is not a microarchitecture of the platform's subfolder.
    """
    _version(platform.cuda, f"{key}.cuda", "12.9")
    _version(platform.cuda_arch, f"{key}.cuda.arch", "8.6")
    _version(platform.glibc, f"{key}.glibc", "2.28")
    _version(dict(platform.others).get("__linux", ""), f"{key}.linux", "5.10")
    if platform.archspec:
        check_microarchitecture(platform.archspec, f"{key}.archspec")
    if platform.subdir == LINUX:
        check_family(platform.archspec, f"{key}.archspec", AMD64)


def _version(value: str, key: str, example: str) -> str:
    """Return `value` if it is empty, or a version with an optional build (``12.9=0``).

    Raises:
        EnvironmentFileError: `value` is not a version; the message begins with `key`.
    """
    if value and not re.fullmatch(r"[0-9]+(?:\.[0-9]+)*", value.partition("=")[0]):
        raise EnvironmentFileError(f"{key} is {shown(value)}; expected a version of digits and dots, such as '{example}'")
    return value


def derived_name(platform: Platform) -> str:
    """Return Pixi's name for a platform without a name: the subfolder, and the virtual packages that are not defaults."""
    promised = platform.virtual_packages
    named = [(key, promised.pop(package)) for key, package in _NAMED_KEYS.items() if package in promised]
    rest = sorted((name.lstrip("_"), value) for name, value in promised.items())
    words = (f"{_dashed(key)}-{_dashed(value.removeprefix('0='))}" for key, value in (*named, *rest))
    return "-".join((platform.subdir, *words))


def customised(packages: Mapping[str, str], subdir: str) -> dict[str, str]:
    """Return virtual packages without those that every machine of a subfolder has, and without the build string 0."""
    common = _defaults(subdir)
    plain = {name: value.removesuffix("=0").removesuffix("=") for name, value in packages.items()}
    if "__archspec" in plain:  # its version has no meaning: pixi writes 0 to a lock file, rattler detects 1
        plain["__archspec"] = f"0={plain['__archspec'].partition('=')[2]}"
    return {name: value for name, value in plain.items() if not same_version(value, common.get(name, "-"))}


def _defaults(subdir: str) -> dict[str, str]:
    """Return the virtual packages that every machine of a subfolder has, which no derived name contains.

    Versions: ``crates/pixi_default_versions/src/lib.rs`` of pixi 0.77.
    """
    versions = {
        "linux": {"__unix": "0", "__linux": "4.18", "__glibc": DEFAULT_GLIBC},
        "osx": {"__unix": "0", "__osx": "13.0"},
        "win": {"__win": "10.0"},
    }
    archspec = _ARCHSPECS.get(subdir)
    return {**versions.get(subdir.partition("-")[0], {}), **({"__archspec": f"0={archspec}"} if archspec else {})}


def promise(platform: Platform, packages: Mapping[str, str]) -> Platform:
    """Return `platform` with `packages`, the virtual packages of a lock file, instead of its own virtual packages."""
    custom = customised(packages, platform.subdir)
    return replace(
        platform,
        cuda=custom.pop("__cuda", ""),
        cuda_arch=custom.pop("__cuda_arch", ""),
        archspec=custom.pop("__archspec", "").partition("=")[2],
        glibc=custom.pop("__glibc", packages.get("__glibc", "")),
        others=tuple(sorted(custom.items())),
    )


def overrides(platform: Platform) -> tuple[tuple[str, str], ...]:
    """Return the variables besides ``CONDA_OVERRIDE_CUDA`` with which pixi uses this platform on any machine.

    Names: ``DEFAULT_ENV_NAME`` of CudaArch, Archspec, LibC and Linux in conda/rattler,
    ``crates/rattler_virtual_packages/src/lib.rs`` (main, 2026-08-22). Pixi applies the variable of the archspec
    since 0.77.0 (prefix-dev/pixi#6820), and ignores a compute capability without CUDA
    (``crates/pixi_core/src/workspace/mod.rs``). rattler only accepts a compute capability as MAJOR.MINOR.
    """
    arch = platform.cuda_arch if "." in platform.cuda_arch or not platform.cuda_arch else f"{platform.cuda_arch}.0"
    promised = platform.virtual_packages
    values = (
        ("CONDA_OVERRIDE_CUDA_ARCH", arch if platform.cuda else ""),
        ("CONDA_OVERRIDE_ARCHSPEC", platform.archspec if "__archspec" in promised else ""),
        ("CONDA_OVERRIDE_GLIBC", promised.get("__glibc", "")),
        ("CONDA_OVERRIDE_LINUX", promised.get("__linux", "")),
    )
    return tuple((name, value) for name, value in values if value)


def selects(selector: str, platform: Platform) -> bool:
    """Tell whether ``[target.SELECTOR]`` applies to `platform`: a family, a subfolder, a name, or a pattern with ``*``."""
    if selector == "unix":
        return platform.subdir.startswith(("linux-", "osx-"))
    if selector == "linux":
        return platform.subdir.startswith("linux-")
    pattern = joined([STAR if letter == "*" else re.escape(letter) for letter in selector], any_character=".")
    return selector == platform.subdir or bool(re.fullmatch(pattern, platform.name))


def described(platform: Platform) -> str:
    """Describe a platform by its virtual packages, because the manifest's name is unknown."""
    words = [f"CUDA {platform.cuda}" if platform.cuda else "no CUDA"]
    if platform.cuda_arch:
        words.append(f"compute capability {platform.cuda_arch}")
    if platform.archspec:
        words.append(platform.archspec)
    if glibc := platform.virtual_packages.get("__glibc"):
        words.append(f"glibc {glibc}")
    return f"{platform.subdir} ({', '.join(words)})"


def cuda_of(value: object, key: str) -> str:
    """Parse the CUDA version of ``[system-requirements]``: ``"12.9"`` or ``{ driver = "12.9", arch = "8.6" }``."""
    return _version(text(value.get("driver") if isinstance(value, dict) else value, key), key, "12.9")


def glibc_of(value: object, key: str) -> str:
    """Parse ``"2.28"`` or ``{ family = "glibc", version = "2.28" }``; return an empty text for another C library."""
    if isinstance(value, dict) and value.get("family", "glibc") != "glibc":
        return ""
    return _version(text(value.get("version") if isinstance(value, dict) else value, key), key, DEFAULT_GLIBC)


def platform_names(value: object, key: str) -> tuple[str, ...] | None:
    """Parse a feature's ``platforms``; return None if the feature does not set them."""
    return None if value is None else tuple(read_platform(one, key).name for one in items(value, key))


def other_platform(subdir: str, found: Iterable[Platform]) -> str:
    """Return advice for an image for `subdir` whose environment supports only the platforms in `found`; empty for none."""
    there = {platform.subdir for platform in found}
    other = next((one.subdir for one in ARCHITECTURES if one.subdir != subdir and one.subdir in there), "")
    return f', or set the image\'s platform = "{other}"' if other else ""


def highest(versions: Iterable[str]) -> str:
    """Return the highest version, compared numerically; empty if there is none."""
    return max(versions, key=_numbers, default="")


def same_version(one: str, other: str) -> bool:
    """Tell whether two versions are equal, such as 12 and 12.0. Builds (``VERSION=BUILD``) must be the same text."""
    (version, _, build), (wanted, _, wanted_build) = one.partition("="), other.partition("=")
    same = version == wanted or (version != "" and wanted != "" and _trimmed(version) == _trimmed(wanted))
    return same and build == wanted_build


def at_most(one: str, other: str) -> bool:
    """Tell whether the version `one` is not higher than the version `other`."""
    return _numbers(_trimmed(one)) <= _numbers(_trimmed(other))


def _trimmed(version: str) -> str:
    parts = version.split(".")
    while len(parts) > 1 and parts[-1] and not parts[-1].strip("0"):
        parts.pop()
    return ".".join(parts)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def _dashed(word: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", word).strip("-")
