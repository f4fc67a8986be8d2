"""What the lab's root file system holds, and the stamp that tells one such list from another."""

import hashlib
import json

from hpcdeploy.lab.settings import LabSettings

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
    """List the suites that packages come from: the lab's own, and Apptainer's where Apptainer is among them."""
    return (settings.suite, settings.apptainer_suite) if "apptainer" in chosen(settings) else (settings.suite,)


def preferences(settings: LabSettings) -> str:
    """Pin everything from Apptainer's suite low, and Apptainer itself high (apt_preferences(5))."""
    release = {"sid": "unstable"}.get(settings.apptainer_suite, settings.apptainer_suite)
    return (
        f"Package: *\nPin: release a={release}\nPin-Priority: 100\n\n"
        f"Package: apptainer\nPin: release a={release}\nPin-Priority: 900\n"
    )


def stamp(settings: LabSettings) -> str:
    """Name a root file system by what it is made of, so that a change of this list makes a new one."""
    content = json.dumps([settings.suite, settings.apptainer_suite, preferences(settings), sorted(chosen(settings))])
    return f"{settings.suite}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
