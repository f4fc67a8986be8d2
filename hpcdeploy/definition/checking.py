"""Check the bootstrap agents, headers and stages of a definition as Apptainer does.

Source: Apptainer 1.4.5, ``internal/pkg/build/conveyorPacker.go`` (the agents) and ``internal/pkg/build/sources``
(``conveyorPacker_busybox.go``, ``_debootstrap.go``, ``_yum.go``, ``_zypper.go``, ``_arch.go``, ``_oci.go``: the headers),
and 1.5.3 for ``buildkit``. SingularityCE 4.5 has the same agents, except for the differences in `SINCE`.
"""

import re
from collections.abc import Iterator, Mapping

from hpcdeploy.definition.grammar import Stage, read_definition, substitute
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
"""Agents, and the headers that each requires."""

LOCAL = frozenset({"localimage", "oci", "oci-archive", "docker-archive", "buildkit", "dockerfile"})
"""Agents whose ``From`` is a path on the build host; for ``buildkit`` and ``dockerfile`` the path is a folder."""

SINCE: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "dnf": {"apptainer": (1, 4, 0), "singularity-ce": (4, 3, 0), "singularity-pro": (4, 3, 0)},
    "buildkit": {"apptainer": (1, 5, 0)},
    "dockerfile": {"apptainer": (1, 5, 0)},
    **{key: {"apptainer": (1, 5, 0)} for key in ("target", "frontend", "filename", "buildargs")},
    "confurl": {"apptainer": (1, 1, 0)},
}
"""For each agent or header, the first version of each program that supports it; other programs never support it.

Agents and headers that are not in this table are supported by all versions of all programs.

Source: the tags v1.0.0 to v1.5.3 of apptainer/apptainer (``conveyorPacker.go``, and ``validHeaders`` of ``deffile.go``),
and SingularityCE's CHANGELOG.
"""

_WRITTEN = {"from": "From", "mirrorurl": "MirrorURL", "osversion": "OSVersion", "regcode": "Regcode"}
_VERSION_WANTED = re.compile(r"%\{OSVERSION\}", re.IGNORECASE)
_SLE = ("product", "user", "regcode")


def check_bootstrap(header: Mapping[str, str]) -> None:
    """Check that Apptainer knows the agent of a stage, and that the stage has the headers that this agent requires.

    Raises:
        DefinitionError: The agent is unknown, a value is invalid, or headers are missing (the message lists all of them).
    """
    agent = header["bootstrap"]
    if agent not in AGENTS:
        known = f"use {agent.lower()!r}" if agent.lower() in AGENTS else f"known agents: {', '.join(sorted(AGENTS))}"
        raise DefinitionError(f"Apptainer does not know the agent of 'Bootstrap: {agent}'; {known}")
    missing = list(dict.fromkeys(key for key in _needed(agent, header) if not header.get(key)))
    if missing == ["from"]:
        raise DefinitionError(f"a stage has 'Bootstrap: {agent}' but no 'From:' that names its base; add one")
    if missing:
        lines = " and ".join(f"'{_WRITTEN.get(key, key.capitalize())}:'" for key in missing)
        raise DefinitionError(
            f"a stage has 'Bootstrap: {agent}' but no {lines}, which this agent requires; add what is missing"
        )
    if agent == "oras" and "://" in header["from"]:
        raise DefinitionError(
            f"'From: {header['from']}' is invalid under 'Bootstrap: oras', because Apptainer puts oras:// before it; "
            f"use {header['from'].partition('://')[2]!r} alone"
        )
    if agent == "zypper" and header.get("product") and not re.fullmatch(r"\d+\.\d+(\..*)?", header.get("osversion", "")):
        raise DefinitionError(
            f"'OSVersion: {header.get('osversion', '')}' must be MAJOR.MINOR for 'Bootstrap: zypper' with 'Product:'"
        )


def newer_than(header: Mapping[str, str], program: str, version: tuple[int, ...]) -> Iterator[str]:
    """Yield a description of each agent and header of a stage that a program does not support.

    Args:
        header: The headers of the stage, including ``bootstrap``.
        program: A key of the entries in `SINCE`, such as ``apptainer`` or ``singularity-ce``.
        version: The program's version.
    """
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


def check_definition(text: str, build_args: Mapping[str, str] | None = None) -> tuple[Stage, ...]:
    """Return the stages of a definition with all templates replaced, as a build reads them.

    Raises:
        DefinitionError: Apptainer would reject the definition.
    """
    before = read_definition(text)
    if not before:
        raise DefinitionError("the definition is empty; it must begin with 'Bootstrap: docker' or similar")
    after = read_definition(substitute(text, build_args or {}))
    if [stage.header.get("stage") for stage in before] != [stage.header.get("stage") for stage in after]:
        raise DefinitionError(
            "the value of a build argument changes the definition's stages; remove the line breaks from it"
        )
    if any("bootstrap" not in stage.header for stage in after):
        raise DefinitionError(
            "the definition has lines before its first 'Bootstrap:', which must come first: move them below it"
        )
    for stage in after:
        check_bootstrap(stage.header)
    _check_copies(after)
    return after


def _check_copies(stages: tuple[Stage, ...]) -> None:
    """Check that ``%files from`` names an earlier stage, with the same capitals (``internal/pkg/build/build.go``)."""
    earlier: list[str] = []
    for stage in stages:
        for copies in stage.files:
            if copies.stage and copies.stage not in earlier:
                raise DefinitionError(
                    f"'%files {copies.words}' names no earlier stage (earlier stages: {', '.join(earlier) or 'none'}): use "
                    "the name in a 'Stage:' line, with the same capitals; a stage's number does not work"
                )
        earlier += [stage.header["stage"]] if stage.header.get("stage") else []
