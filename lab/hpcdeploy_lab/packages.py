"""Choose the packages of the lab's root file system, and compute the stamp that identifies the list of packages."""

import hashlib
import json
from pathlib import Path

from hpcdeploy_lab.releases import UNSTABLE
from hpcdeploy_lab.settings import LabSettings

DAEMONS = (
    "docker-registry",
    "htcondor",
    "mariadb-server",
    "munge",
    "openssh-server",
    "slurm-wlm",
    "slurmdbd",
)
CONTAINERS = (
    "apptainer",
    "fuse-overlayfs",
    "fuse2fs",
    "mmdebstrap",
    "oras",
    "skopeo",
    "squashfs-tools",
    "squashfuse",
    "uidmap",
    "umoci",
)
TOOLS = (
    "bzip2",
    "ca-certificates",
    "curl",
    "git",
    "iproute2",
    "jq",
    "less",
    "openssh-client",
    "procps",
    "python3",
    "python3-pip",
    "python3-venv",
    "strace",
    "xz-utils",
    "zstd",
)
PACKAGES = (*DAEMONS, *CONTAINERS, *TOOLS)

# Packages that Debian 12 lacks. sid's Apptainer cannot be installed on Debian 12, because it needs libc 2.38 and Debian 12
# has 2.36 (packages.debian.org).
_MISSING = {"bookworm": frozenset({"apptainer", "htcondor", "oras"})}


def chosen(settings: LabSettings) -> tuple[str, ...]:
    """Return the packages of a lab: `PACKAGES` without those that cannot be installed on the lab's suite."""
    return tuple(package for package in PACKAGES if package not in _MISSING.get(settings.suite, ()))


def suites(settings: LabSettings) -> tuple[str, ...]:
    """Return the suites that packages come from: the lab's own, Apptainer's if it is installed, and Slurm's."""
    apptainer = (settings.apptainer_suite,) if "apptainer" in chosen(settings) else ()
    return tuple(dict.fromkeys((settings.suite, *apptainer, settings.release.source)))


def preferences(settings: LabSettings) -> str:
    """Render apt_preferences(5) with a low priority for an unstable suite, and a high one for the packages wanted from it.

    The wanted packages are Apptainer and, if the lab's suite does not have the release of Slurm, Slurm and hwloc. hwloc is
    among them because Slurm 26.05.5-1 needs a newer libhwloc15 than trixie has (2.15 or later; packages.debian.org).
    """
    pins: dict[str, list[str]] = {settings.apptainer_suite: ["apptainer"]}
    if settings.release.source != settings.suite:
        pins.setdefault(settings.release.source, []).extend(("/slurm/", "/hwloc/"))
    return "\n".join(
        f"Package: *\nPin: release a={archive}\nPin-Priority: 100\n\n"
        f"Package: {' '.join(preferred)}\nPin: release a={archive}\nPin-Priority: 900\n"
        for archive, preferred in ((_archive_name(suite), preferred) for suite, preferred in pins.items())
    )


def _archive_name(suite: str) -> str:
    """Return the archive name of a suite in its Release file, because apt compares ``a=`` in a pin with this name."""
    return "unstable" if suite == UNSTABLE else suite


def wanted(settings: LabSettings) -> tuple[str, ...]:
    """Return the packages as arguments for apt; the argument for Slurm names its release, so that apt installs no other.

    apt accepts ``*`` at the end of a version as a wildcard (tested with apt 2.6).
    """
    return tuple(f"{name}={settings.slurm}.*" if name == "slurm-wlm" else name for name in chosen(settings))


def stamp(settings: LabSettings) -> str:
    """Return a name for a root file system that depends on its packages, so that a changed list leads to a new build."""
    made_of: list[object] = [settings.suite, settings.apptainer_suite, preferences(settings), sorted(chosen(settings))]
    newer = (
        settings.release.source != settings.suite
    )  # a stable suite has one release of Slurm; sid has another one every half-year
    content = json.dumps([*made_of, settings.slurm] if newer else made_of)
    return f"{settings.suite}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def installed_version(root: Path, package: str) -> str:
    """Return the version of a package in the root file system `root`, from dpkg's status file (dpkg(1)).

    The result is empty if the package is not installed.
    """
    try:
        text = (root / "var" / "lib" / "dpkg" / "status").read_text(errors="replace")
    except OSError:
        return ""
    _, _, paragraph = f"\n{text}".partition(f"\nPackage: {package}\n")
    lines = paragraph.partition("\n\n")[0].splitlines()
    return next((line.removeprefix("Version: ") for line in lines if line.startswith("Version: ")), "")
