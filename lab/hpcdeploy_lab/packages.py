"""What the lab's root file system holds, and the stamp that tells one such list from another."""

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

# Not in Debian 12, and Apptainer not installable there: sid's needs libc 2.38, Debian 12 has 2.36 (packages.debian.org).
_MISSING = {"bookworm": frozenset({"apptainer", "htcondor", "oras"})}


def chosen(settings: LabSettings) -> tuple[str, ...]:
    """List the packages of a lab: all that its suite can have."""
    return tuple(package for package in PACKAGES if package not in _MISSING.get(settings.suite, ()))


def suites(settings: LabSettings) -> tuple[str, ...]:
    """List the suites that packages come from: the lab's own, Apptainer's where Apptainer is among them, and Slurm's."""
    apptainer = (settings.apptainer_suite,) if "apptainer" in chosen(settings) else ()
    return tuple(dict.fromkeys((settings.suite, *apptainer, settings.release.source)))


def preferences(settings: LabSettings) -> str:
    """Pin everything from an unstable suite low, and what is wanted from there high (apt_preferences(5)).

    That is Apptainer, and Slurm where it is newer than the lab's suite. Slurm 26.05.5-1 needs a libhwloc15 that trixie does
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
    """Return what a suite calls itself in its Release file, which is what pins are compared with."""
    return "unstable" if suite == UNSTABLE else suite


def wanted(settings: LabSettings) -> tuple[str, ...]:
    """List the packages as apt is asked for them: Slurm's with its release, so that no other takes its place.

    apt takes a version that ends with ``*`` as the beginning of one (seen with apt 2.6).
    """
    return tuple(f"{name}={settings.slurm}.*" if name == "slurm-wlm" else name for name in chosen(settings))


def stamp(settings: LabSettings) -> str:
    """Name a root file system by what it is made of, so that a change of this list makes a new one."""
    made_of: list[object] = [settings.suite, settings.apptainer_suite, preferences(settings), sorted(chosen(settings))]
    newer = settings.release.source != settings.suite  # a suite has one release of Slurm; sid has another one each half-year
    content = json.dumps([*made_of, settings.slurm] if newer else made_of)
    return f"{settings.suite}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def installed_version(root: Path, package: str) -> str:
    """Return the version of a package in the root file system `root`; empty where it is not there (dpkg(1), status file)."""
    try:
        text = (root / "var" / "lib" / "dpkg" / "status").read_text(errors="replace")
    except OSError:
        return ""
    _, _, paragraph = f"\n{text}".partition(f"\nPackage: {package}\n")
    lines = paragraph.partition("\n\n")[0].splitlines()
    return next((line.removeprefix("Version: ") for line in lines if line.startswith("Version: ")), "")
