"""What each bootstrap agent of Apptainer asks of a stage's header, and since which version it is there.

Source: Apptainer 1.4.5, ``internal/pkg/build/conveyorPacker.go`` (the agents) and ``internal/pkg/build/sources``
(``conveyorPacker_busybox.go``, ``_debootstrap.go``, ``_yum.go``, ``_zypper.go``, ``_arch.go``, ``_oci.go``: the headers),
and 1.5.3 for ``buildkit``. SingularityCE 4.5 has the same but for what `SINCE` says.
"""

import re
from collections.abc import Iterator, Mapping

from hpcdeploy.errors import DefinitionError

_FROM = ("from",)
AGENTS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("docker", "docker-archive", "docker-daemon", "oci", "oci-archive"), _FROM),
    **dict.fromkeys(("library", "oras", "shub", "localimage", "buildkit", "dockerfile"), _FROM),
    "busybox": ("mirrorurl",),
    "debootstrap": ("mirrorurl", "osversion"),
    "yum": ("mirrorurl",),
    "dnf": ("mirrorurl",),
    "zypper": (),
    "arch": (),
    "scratch": (),
}
"""Agents, and the headers without which each stops."""

LOCAL = frozenset({"localimage", "oci", "oci-archive", "docker-archive", "buildkit", "dockerfile"})
"""Agents whose ``From`` is a path on the machine that builds; of the last two it is a folder."""

SINCE: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "dnf": {"apptainer": (1, 4, 0), "singularity-ce": (4, 3, 0), "singularity-pro": (4, 3, 0)},
    "buildkit": {"apptainer": (1, 5, 0)},
    "dockerfile": {"apptainer": (1, 5, 0)},
    **{key: {"apptainer": (1, 5, 0)} for key in ("target", "frontend", "filename", "buildargs")},
    "confurl": {"apptainer": (1, 1, 0)},
}
"""First versions that know an agent or a header, by program; a program that is not named knows it in no version.

The tags v1.0.0 to v1.5.3 of apptainer/apptainer (``conveyorPacker.go``, and ``validHeaders`` of ``deffile.go``), and
SingularityCE's CHANGELOG.
"""

_WRITTEN = {"from": "From", "mirrorurl": "MirrorURL", "osversion": "OSVersion", "regcode": "Regcode"}
_VERSION_WANTED = re.compile(r"%\{OSVERSION\}", re.IGNORECASE)
_SLE = ("product", "user", "regcode")


def check_bootstrap(header: Mapping[str, str]) -> None:
    """Refuse a header at which Apptainer stops: an agent that no version knows, or one without what it needs.

    Raises `DefinitionError` that names all headers that are missing.
    """
    agent = header["bootstrap"]
    if agent not in AGENTS:
        known = f"write {agent.lower()!r}" if agent.lower() in AGENTS else f"known are {', '.join(sorted(AGENTS))}"
        raise DefinitionError(f"'Bootstrap: {agent}' is no agent that Apptainer knows; {known}")
    missing = list(dict.fromkeys(key for key in _needed(agent, header) if not header.get(key)))
    if missing == ["from"]:
        raise DefinitionError(f"a stage has 'Bootstrap: {agent}' and no 'From:' that names its base; add one")
    if missing:
        lines = " and ".join(f"'{_WRITTEN.get(key, key.capitalize())}:'" for key in missing)
        raise DefinitionError(
            f"a stage has 'Bootstrap: {agent}' and no {lines}, which this agent needs; add what is missing"
        )
    if agent == "oras" and "://" in header["from"]:
        raise DefinitionError(
            f"'From: {header['from']}' cannot be read under 'Bootstrap: oras', since Apptainer puts oras:// before it; "
            f"write {header['from'].partition('://')[2]!r} alone"
        )
    if agent == "zypper" and header.get("product") and not re.fullmatch(r"\d+\.\d+(\..*)?", header.get("osversion", "")):
        raise DefinitionError(
            f"'OSVersion: {header.get('osversion', '')}' is not MAJOR.MINOR, which 'Bootstrap: zypper' needs with 'Product:'"
        )


def newer_than(header: Mapping[str, str], program: str, version: tuple[int, ...]) -> Iterator[str]:
    """Yield what of a stage's header the `version` of a `program` (``apptainer``, ``singularity-ce``) does not know."""
    for name in (header.get("bootstrap", ""), *header):
        since = SINCE.get(name)
        if since is not None and not (program in since and version >= since[program]):
            there = ", ".join(f"{other} {'.'.join(map(str, first))}" for other, first in since.items())
            what = f"'Bootstrap: {name}'" if name == header.get("bootstrap") else f"the header {name!r}"
            yield f"{what} ({there} or later)"


def _needed(agent: str, header: Mapping[str, str]) -> Iterator[str]:
    yield from AGENTS[agent]
    if agent in ("yum", "dnf", "zypper") and any(
        _VERSION_WANTED.search(header.get(key, "")) for key in ("mirrorurl", "updateurl")
    ):
        yield "osversion"
    if agent == "zypper" and any(key in header for key in _SLE):
        yield from (*_SLE, "osversion")
        major = header.get("osversion", "").partition(".")[0]
        if major.isdecimal() and int(major) > 12:
            yield "mirrorurl"
