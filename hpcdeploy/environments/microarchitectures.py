"""Check the names of microarchitectures in Spack's and Pixi's files, and whether an image can use them.

Source: archspec/archspec-json, ``cpu/microarchitectures.json`` at 90b453f (2026-08-19). The family of a name is the last
name in its ``from`` chain.
"""

from collections.abc import Mapping

from hpcdeploy.architecture import AMD64, ARCHITECTURES, ARM64, Architecture
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.plain_text import meant

_NAMES: Mapping[str, str] = {
    "x86": "x86 i686 pentium2 pentium3 pentium4 prescott",
    "x86_64": (
        "x86_64 x86_64_v2 x86_64_v3 x86_64_v4 nocona core2 nehalem westmere sandybridge ivybridge haswell broadwell skylake "
        "mic_knl skylake_avx512 cannonlake cascadelake icelake sapphirerapids alderlake arrowlake arrowlake_s k10 bulldozer "
        "piledriver steamroller excavator zen zen2 zen3 zen4 zen5"
    ),
    "ppc64": "ppc64 power7 power8 power9 power10",
    "ppc64le": "ppc64le power8le power9le power10le",
    "aarch64": (
        "aarch64 armv8.1a armv8.2a armv8.3a armv8.4a armv8.5a armv8.6a armv9.0a armv9.2a thunderx2 a64fx cortex_a72 "
        "neoverse_n1 neoverse_v1 neoverse_v2 neoverse_n2 ampere1 ampere1a neoverse_v3ae m1 m2 m3 m4"
    ),
    "riscv64": "riscv64 u74mc x60",
    **{name: name for name in ("arm", "ppc", "ppcle", "sparc", "sparc64")},
}
_FAMILIES: Mapping[str, str] = {name: family for family, names in _NAMES.items() for name in names.split()}
_EXAMPLES = {AMD64: "'x86_64_v3' or 'zen4'", ARM64: "'neoverse_v2' or 'armv8.2a'"}

_LONGEST = 60
"""Maximum length of a name in a message, in characters."""

_BUILDER = frozenset({"native", "host", "default_target", "default", "frontend", "backend", "fe", "be"})
"""Names that compiler flags and Spack's platforms use for the processor of the build machine."""


def is_foreign(target: str, architecture: Architecture) -> bool:
    """Tell whether a target, or an end of a range such as ``zen3:``, belongs to another family than `architecture`."""
    family = architecture.machine
    return any(_FAMILIES.get(name, family) != family for name in target.split(":"))


def check_microarchitecture(name: str, key: str) -> None:
    """Raise `EnvironmentFileError` if `name` is not a microarchitecture.

    The message begins with `key`, the file or key that has the name.
    """
    if name in _FAMILIES:
        return
    if name in _BUILDER:
        reason = "which means the processor of the machine that builds the image"
    else:
        close = meant(name, _FAMILIES)
        reason = f"which is unknown to archspec as of August 2026{f'; did you mean {close!r}?' if close else ''}"
    raise EnvironmentFileError(
        f"{key} has the microarchitecture {name[:_LONGEST]!r}, {reason}; expected one of archspec's names, such as "
        "'x86_64_v3' or 'zen4' ('spack arch --known-targets' lists them)"
    )


def check_target(target: str, key: str) -> None:
    """Check the name, or the ends of the range (``zen3:``), in the target of a Spack spec.

    Raises:
        EnvironmentFileError: A name is not a microarchitecture. The message begins with `key`, the file or key that has the
            target.
    """
    for name in filter(None, target.split(":")):
        check_microarchitecture(name, key)


def check_family(target: str, key: str, architecture: Architecture) -> None:
    """Raise `EnvironmentFileError` if a target belongs to another family than an image's `architecture`.

    The message begins with `key`, the file or key that has the target.
    """
    if not is_foreign(target, architecture):
        return
    other = next((one for one in ARCHITECTURES if not is_foreign(target, one)), None)
    advice = f', or set the image\'s platform = "{other.subdir}"' if other else ""
    raise EnvironmentFileError(
        f"{key} has the microarchitecture {target!r}, but the image is built for {architecture.platform}; expected one of "
        f"the family {architecture.machine}, such as {_EXAMPLES[architecture]}{advice}"
    )
