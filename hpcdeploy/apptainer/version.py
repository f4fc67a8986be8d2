"""Which Apptainer (or SingularityCE) this is, and what it can do."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hpcdeploy.definition.bootstrap import newer_than
from hpcdeploy.errors import BuildError

_VERSION = re.compile(
    r"(?P<program>apptainer|singularity-ce|singularity-pro|singularity) version "
    r"(?P<numbers>[0-9]{1,9}(?:\.[0-9]{1,9})*)(?![0-9])"
)

TEMPLATES = {"apptainer": (1, 2, 0), "singularity-ce": (4, 0, 0), "singularity-pro": (4, 0, 0)}
"""First versions with ``{{ NAME }}``, ``%arguments`` and ``--build-arg`` (the CHANGELOGs of both projects)."""

EMPTY_ARGUMENTS = {"apptainer": (1, 2, 4), "singularity-ce": (4, 0, 0), "singularity-pro": (4, 0, 0)}
"""First versions in which an argument's value may be empty (CHANGELOG of Apptainer 1.2.4)."""

CORRUPTING = (("apptainer", (1, 5, 0)),)
"""Versions that can write a damaged SIF without a word, when mksquashfs dies under proot (CHANGELOG of Apptainer 1.5.1)."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """A program's name and version; ``text`` is what it said."""

    program: str
    numbers: tuple[int, ...]
    text: str

    @property
    def short(self) -> str:
        """Name and number: ``apptainer 1.4.5``."""
        return f"{self.program} {'.'.join(map(str, self.numbers))}"


def parse_version(text: str) -> Version:
    """Read what ``apptainer --version`` prints; `BuildError` where it is something else."""
    match = _VERSION.search(text)
    if match is None:
        raise BuildError(f"{text.strip()[:200]!r} was said where 'apptainer version 1.4.5' was expected; is this Apptainer?")
    numbers = tuple(int(part) for part in match["numbers"].split("."))
    return Version(program=match["program"], numbers=numbers, text=text.strip())


def check_version(version: Version, *, empty_argument: bool = False, headers: Iterable[Mapping[str, str]] = ()) -> None:
    """Raise `BuildError` where `version` cannot build our definitions, or might damage the image.

    `headers` are those of the definition's stages: each version knows other bootstrap agents.
    """
    first = TEMPLATES.get(version.program)
    if first is None or version.numbers < first:
        raise BuildError(
            f"{version.short} cannot build this definition: build arguments came with Apptainer 1.2 and SingularityCE 4.0; "
            "load or install a newer one"
        )
    if empty_argument and version.numbers < EMPTY_ARGUMENTS[version.program]:
        raise BuildError(f"{version.short} takes no empty build argument, 1.2.4 does; give the argument a value")
    if (version.program, version.numbers) in CORRUPTING:
        raise BuildError(f"{version.short} can write damaged images (mended in 1.5.1); load or install another version")
    unknown = dict.fromkeys(what for header in headers for what in newer_than(header, version.program, version.numbers))
    if unknown:
        raise BuildError(
            f"{version.short} does not know {' and '.join(unknown)}, which the definition uses; load or install a newer "
            "one, or build elsewhere"
        )
