"""What a test needs, as markers that are derived from its fixtures, its parameters and its name.

``python -m tests.needs RELEASE`` prints the expression that chooses the tests for a release of Slurm (``make test-slurm``).
"""

import sys
from collections.abc import Collection
from pathlib import Path

from hpcdeploy.errors import ConfigError
from hpcdeploy_lab import packages
from hpcdeploy_lab.releases import RELEASES
from hpcdeploy_lab.settings import LabSettings

MARKERS = {
    "lab": "needs the lab: a cluster on this machine",
    "slurm": "needs the lab's Slurm",
    "container": "runs or builds a container in the lab",
    "older_slurm": "starts a lab with Slurm 22.05",
    "newer_slurm": "starts a lab with Slurm 26.05 or newer",
    "registry": "starts a registry, with the lab's own program",
    "sshd": "starts an SSH server",
    "engine": "starts a container engine on this machine",
}

OF_FIXTURE = {
    "lab": ("lab",),
    "start_lab": ("lab",),
    "spare_settings": ("lab",),
    "older": ("lab", "older_slurm"),
    "newer": ("lab", "newer_slurm"),
    "published": ("container",),
    "with_mpi": ("container",),
    "trained": ("container",),
    "drivers": ("container",),
    "registry_program": ("registry",),
    "user_key": ("sshd",),
    "ssh": ("sshd",),
    "openssh": ("sshd",),
    "podman": ("engine",),
}
"""The markers that a test gets for each fixture that it uses, directly or not."""

SCHEDULING = ("tests/cluster/", "tests/examples/", "tests/lab/", "tests/once/")
"""The folders whose tests use the lab's schedulers: Slurm, except for those tests that are HTCondor's."""

OF_HTCONDOR = frozenset({"chains", "cramped", "htcondor", "other_pool", "pooled"})
"""The fixtures of tests that are HTCondor's: they run its jobs, or a pool."""

OWN_RELEASE = {"22.05": "older_slurm", "26.05": "newer_slurm"}
"""The marker of the tests that start a lab with this release, whatever the shared lab has."""


def markers(nodeid: str, fixtures: Collection[str], parameters: Collection[object]) -> set[str]:
    """Return the markers of a test.

    Args:
        nodeid: The test's id, which begins with its file.
        fixtures: All fixtures that it uses, directly or not.
        parameters: The values of its parameters; one that is the name of a fixture counts as this fixture.
    """
    words = {word for word in parameters if isinstance(word, str)}
    found = {marker for fixture in {*fixtures, *words} for marker in OF_FIXTURE.get(fixture, ())}
    if "lab" in found and nodeid.startswith(SCHEDULING) and not is_htcondors(nodeid, fixtures, words):
        found.add("slurm")
    return found


def is_htcondors(nodeid: str, fixtures: Collection[str], words: Collection[str]) -> bool:
    """Tell whether a test of the schedulers is one of HTCondor alone."""
    file, _, name = nodeid.partition("::")
    name = name.partition("[")[0]
    named = "htcondor" in Path(file).stem or ("htcondor" in name and "slurm" not in name)
    return named or ("htcondor" in words and "slurm" not in words) or not OF_HTCONDOR.isdisjoint(fixtures)


def selection(release: str) -> str:
    """Return the expression for ``pytest -m`` that chooses every Slurm test that can run on a lab with `release`.

    Raises `ConfigError` where there is no such release.
    """
    if release not in RELEASES:
        raise ConfigError(f"RELEASE={release}: expected one of {', '.join(RELEASES)}")
    others = [f"not {marker}" for name, marker in OWN_RELEASE.items() if name != release]
    runs_containers = "apptainer" in packages.chosen(LabSettings(cache=Path(), state=Path(), slurm=release))
    return " and ".join(["slurm", *others, *(() if runs_containers else ("not container",))])


if __name__ == "__main__":
    try:
        print(selection(*sys.argv[1:]))
    except ConfigError as error:
        sys.exit(str(error))
