"""Choose the packages of the lab's root file system, and compute the stamp that identifies such a list."""

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

# Debian 12 lacks these, and sid's Apptainer cannot be installed there: it needs libc 2.38, Debian 12 has 2.36
# (packages.debian.org).
_MISSING = {"bookworm": frozenset({"apptainer", "htcondor", "oras"})}


def chosen(settings: LabSettings) -> tuple[str, ...]:
    """Return the packages of a lab, without those that its suite cannot have."""
    return tuple(package for package in PACKAGES if package not in _MISSING.get(settings.suite, ()))


def suites(settings: LabSettings) -> tuple[str, ...]:
    """Return the suites that packages come from: the lab's own, Apptainer's if it is installed, and Slurm's."""
    apptainer = (settings.apptainer_suite,) if "apptainer" in chosen(settings) else ()
    return tuple(dict.fromkeys((settings.suite, *apptainer, settings.release.source)))


def preferences(settings: LabSettings) -> str:
    """Render apt_preferences(5) that pin an unstable suite low, and the packages that are wanted from it high.

    These are Apptainer, and Slurm if it is newer than the lab's suite. Slurm 26.05.5-1 needs a libhwloc15 that trixie does
    not have (2.15; packages.debian.org).
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
    """Return a suite's archive name in its Release file, which pins are compared with."""
    return "unstable" if suite == UNSTABLE else suite


def wanted(settings: LabSettings) -> tuple[str, ...]:
    """Return the packages as arguments for apt, Slurm's with its release, so that no other release is installed.

    apt accepts ``*`` at the end of a version as a wildcard (seen with apt 2.6).
    """
    return tuple(f"{name}={settings.slurm}.*" if name == "slurm-wlm" else name for name in chosen(settings))


def stamp(settings: LabSettings) -> str:
    """Return a name for a root file system that depends on its content, so that a changed list builds a new one."""
    made_of: list[object] = [settings.suite, settings.apptainer_suite, preferences(settings), sorted(chosen(settings))]
    newer = settings.release.source != settings.suite  # a suite has one release of Slurm; sid changes every half-year
    content = json.dumps([*made_of, settings.slurm] if newer else made_of)
    return f"{settings.suite}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def installed_version(root: Path, package: str) -> str:
    """Return the version of a package in the root file system `root`; empty if not installed (dpkg(1), status file)."""
    try:
        text = (root / "var" / "lib" / "dpkg" / "status").read_text(errors="replace")
    except OSError:
        return ""
    _, _, paragraph = f"\n{text}".partition(f"\nPackage: {package}\n")
    lines = paragraph.partition("\n\n")[0].splitlines()
    return next((line.removeprefix("Version: ") for line in lines if line.startswith("Version: ")), "")
