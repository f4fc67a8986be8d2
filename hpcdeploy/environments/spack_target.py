"""For which microarchitecture a Spack environment is compiled, and how Spack is told."""

from collections.abc import Sequence
from dataclasses import dataclass

from hpcdeploy.environments.spack import Configuration, targets_in, without_target
from hpcdeploy.environments.spack_lock import SpackLock
from hpcdeploy.errors import EnvironmentFileError

DEFAULT_TARGET = "x86_64_v3"
"""AVX2: what the x86 machines of clusters have had since about 2013 (Intel's Haswell), and AMD's since 2015."""

_NOT_ON_COMMAND_LINE = frozenset(":,[]{}'\"#&*!|>%`")


@dataclass(frozen=True, kw_only=True)
class Target:
    """The target's name (several, joined, where a lock file or ``spack.yaml`` names several), and who says so.

    ``option`` is the value of ``spack -c`` that pins it, empty where nothing needs to be said.
    """

    name: str
    said_by: str
    option: str = ""


def choose_target(wanted: str, configurations: Sequence[Configuration], lock: SpackLock | None) -> Target:
    """Choose: what is locked; else `wanted`; else what ``packages: all: require`` names; else `DEFAULT_TARGET`.

    Raises `EnvironmentFileError` where `wanted` contradicts the lock file, or cannot be put beside other requirements.
    ``-c`` is above every file in all versions of Spack; of a list it joins the others' (``spack/enums.py``,
    ConfigScopePriority; documentation, "Configuration Files", "Scope precedence").
    """
    if lock is not None:
        if wanted and set(lock.targets) != {wanted}:
            raise EnvironmentFileError(
                f"spack.lock is for {', '.join(lock.targets) or 'no target'}, but the image's target is {wanted}; take "
                "'target' out of the settings, or require it in spack.yaml and run 'spack concretize --force'"
            )
        return Target(name=", ".join(lock.targets) or "generic", said_by="spack.lock")
    plain = [spec for one in configurations for spec in one.requirements]
    choices = [spec for one in configurations for spec in one.required_choices]
    named = tuple(dict.fromkeys(target for spec in (*plain, *choices) for target in targets_in(spec)))
    if named and (not wanted or named == (wanted,)):
        return Target(name=", ".join(named), said_by="spack.yaml")
    name, said_by = (wanted, "the image's settings") if wanted else (DEFAULT_TARGET, "the default: nothing names a target")
    if not named and not any(one.bare_requirement for one in configurations):
        return Target(name=name, said_by=said_by, option=f"packages:all:require:[target={name}]")
    kept = [rest for spec in plain if (rest := without_target(spec))]
    odd = next((spec for spec in kept if set(spec) & _NOT_ON_COMMAND_LINE), choices[0] if choices else "")
    if odd:
        raise EnvironmentFileError(
            f"spack.yaml: packages.all.require says {odd!r}, beside which the target {name} cannot be put from outside; "
            f"write 'target={name}' there as an entry of a list, in place of any other target"
        )
    entries = ", ".join((*kept, f"target={name}"))
    return Target(name=name, said_by=said_by, option=f"packages:all:require::[{entries}]")
