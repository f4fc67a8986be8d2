"""Choose the microarchitecture of a Spack environment, and the options that pass it to Spack.

Sources, all of Spack 1.2: ``lib/spack/spack/solver/requirements.py`` (``_raw_yaml_data``: a package's own ``require``
replaces that of ``all``); ``lib/spack/spack/enums.py`` (``ConfigScopePriority``: ``-c`` takes precedence over every file);
``lib/spack/spack/config.py`` (``merge_yaml``: lists are joined; ``ConfigPath``: the syntax of ``-c``);
``lib/spack/spack/external_parser.py`` (``complete_architecture``: a package of the system has the generic target).
"""

import json
from collections.abc import Iterator, Sequence

from hpcdeploy.architecture import AMD64, ARM64, Architecture
from hpcdeploy.environments.microarchitectures import check_family, check_target, is_foreign
from hpcdeploy.environments.spack_lock import SpackLock
from hpcdeploy.environments.spack_packages import (
    COMPILERS,
    Packages,
    Requirement,
    is_virtual,
    named_packages,
    preferred_targets,
    requirement_of,
    settings_of,
)
from hpcdeploy.environments.spack_specs import targets_in, without_target
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.frozen import frozen

DEFAULT_TARGET = "x86_64_v3"
"""The default microarchitecture, which requires AVX2: Intel's processors have it since 2013 (Haswell), AMD's since 2015."""

DEFAULT_TARGETS = {AMD64: DEFAULT_TARGET, ARM64: "aarch64"}
"""The default by the image's architecture. Every 64-bit Arm processor runs ``aarch64``."""

_JOINED = ", "
_NEEDS_QUOTES = frozenset(":,[]{}'\"#&*!|>%@`?")
"""Characters with a meaning in a YAML list (1.2, "Indicator Characters"), and the colon of ``-c``."""


@frozen
class Target:
    """A target.

    Attributes:
        name: The name of the target; if a lock file or ``spack.yaml`` has several targets, their names joined by a comma.
        source: The source of the name, for a note to the user.
        options: Values of ``spack -c`` that require the target; empty if they are not needed.
        pinned: Packages with requirements of their own, to which `options` add the target.
        others: Packages whose requirements have another target, each with the name of that target.
        compilers: Compilers with requirements to which no target is added, because they may mean the build image's compiler.
    """

    name: str
    source: str
    options: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    compilers: tuple[str, ...] = ()


def choose_target(
    wanted: str,
    files: Sequence[Packages],
    lock: SpackLock | None,
    *,
    conditional: Sequence[Packages] = (),
    specs: Sequence[str] = (),
    groups: Sequence[str] = (),
    architecture: Architecture = AMD64,
) -> Target:
    """Choose the target: the locked one; else `wanted`; else that of ``spack.yaml``; else that of `DEFAULT_TARGETS`.

    In ``spack.yaml``, requirements of ``all`` have precedence over preferences of ``all`` (``target``, ``prefer``), and
    these over specs. Targets in ``packages`` are ignored if they belong to another family than the image's.

    Args:
        wanted: The target of the image's settings; empty if it is not set.
        files: The sections ``packages`` of the manifest and its includes, highest precedence first.
        lock: The lock file; None if there is none.
        conditional: Like `files`, for files that are included under a condition; used if `files` have no target.
        specs: The specs of the environment.
        groups: The targets in the overrides of groups of specs.
        architecture: The architecture of the image.

    Raises:
        EnvironmentFileError: `wanted` contradicts another target, or the image cannot use or require a target.
    """
    if lock is not None:
        for name in lock.targets:
            check_family(name, "spack.lock", architecture)
        if wanted and set(lock.targets) != {wanted}:
            raise EnvironmentFileError(
                f"spack.lock is for {', '.join(lock.targets) or 'no target'}, but the image's target is {wanted}; remove "
                "'target' from the settings, or require it in spack.yaml and run 'spack concretize --force'"
            )
        return Target(name=", ".join(lock.targets) or "generic", source="spack.lock")
    in_specs = _in_specs(specs, groups, architecture)
    required = requirement_of(files, "all")
    in_files = _in_files(files, "", architecture) or _in_files(conditional, ", under a condition", architecture)
    name, source = _named(wanted, in_files, in_specs, DEFAULT_TARGETS[architecture])
    named = name.split(_JOINED)
    pins = dict(_own(files, named))
    others = [(one, found) for one in named_packages(files) if one not in pins and (found := requirement_of(files, one))]
    for package, requirement in others:  # other entries may be choices, or apply under a condition
        plain = [target for entry in requirement.entries if entry.plain for target in targets_in(entry.specs[0])]
        _of_family(plain, f"spack.yaml: packages.{package}.require", architecture)
    there = required is not None and any(":" not in target and target in named for target in required.targets)
    return Target(
        name=name,
        source=source,
        options=(*(() if there else (_pin("all", required, named),)), *pins.values()),
        pinned=tuple(pins),
        others=tuple(
            (package, _JOINED.join(requirement.targets))
            for package, requirement in others
            if requirement.targets and not set(requirement.targets) <= set(named)
        ),
        compilers=tuple(one for one, found in others if one in COMPILERS and not found.targets),
    )


def _in_specs(specs: Sequence[str], groups: Sequence[str], architecture: Architecture) -> tuple[str, ...]:
    """Return the targets of the specs and groups; raise `EnvironmentFileError` if the image cannot have one of them."""
    found = tuple(dict.fromkeys((*(target for spec in specs for target in targets_in(spec)), *groups)))
    for name in found:
        check_target(name, "spack.yaml: specs")
        check_family(name, "spack.yaml: specs", architecture)
    return found


def _in_files(files: Sequence[Packages], how: str, architecture: Architecture) -> tuple[tuple[str, ...], str] | None:
    """Return the targets of the files for all packages, and their source; None if there are none."""
    required = requirement_of(files, "all")
    if required and required.targets:
        return _of_family(required.targets, "spack.yaml: packages.all.require", architecture), f"packages.all.require{how}"
    preferred = _of_family(preferred_targets(files), "spack.yaml: packages.all.target", architecture)[:1]
    return (preferred, f"preferred in packages.all{how}") if preferred else None


def _of_family(targets: Sequence[str], key: str, architecture: Architecture) -> tuple[str, ...]:
    """Remove targets of other families; raise `EnvironmentFileError` if these are the only targets."""
    kept = tuple(target for target in targets if not is_foreign(target, architecture))
    if targets and not kept:
        check_family(targets[0], key, architecture)
    return kept


def _named(
    wanted: str, in_files: tuple[tuple[str, ...], str] | None, in_specs: Sequence[str], default: str
) -> tuple[str, str]:
    """Return the target's name and its source; `default` if nothing names a target."""
    exact = [target for target in in_specs if ":" not in target]
    others = [target for target in exact if target != wanted]
    if wanted and others:
        raise EnvironmentFileError(
            f"the specs of spack.yaml have the target {', '.join(others)}, but the image's target is {wanted}; remove "
            "'target' from the settings, or the target from the specs"
        )
    if wanted:
        return wanted, "the image's settings"
    if not in_files and not in_specs:
        return default, "the default: nothing names a target"
    targets, where = in_files or (in_specs, "specs")
    names = tuple(dict.fromkeys((*map(_exact, targets), *exact)))
    ranges = [target for target in targets if ":" in target]
    return _JOINED.join(names), f"spack.yaml: {where}" + (f" has {', '.join(ranges)}" if ranges else "")


def _exact(target: str) -> str:
    """Return a single target for a range: its upper end, or its lower end if it has no upper one.

    With a range, Spack would use the best target of the build machine, which other machines may not support.
    """
    if ":" not in target:
        return target
    lower, _, upper = target.partition(":")
    return upper or lower


def _own(files: Sequence[Packages], targets: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the packages whose own requirements have no target, each with the option that adds the target."""
    for name in named_packages(files):
        requirement = requirement_of(files, name)
        if requirement and not requirement.targets and _can_have_target(files, name, requirement):
            yield name, _pin(name, requirement, targets)


def _can_have_target(files: Sequence[Packages], name: str, requirement: Requirement) -> bool:
    """Tell whether Spack accepts a target for a package, which is neither virtual nor possibly one of the system."""
    found = any(one.externals for one in settings_of(files, name)) or name in COMPILERS
    return not is_virtual(name, requirement) and not found


def _pin(package: str, requirement: Requirement | None, targets: Sequence[str]) -> str:
    """Return the option that makes a package, or ``all``, require one of the targets in addition to its requirements.

    Spack joins a list with the list in the file. A single text, or a requirement with another target, cannot be joined. So
    the option then replaces it (``::``) by the requirement without its targets, and the target. Spack parses an option as
    YAML from the first part that cannot be a key, such as ``["`` (from 0.22 on: spack/spack#40976), so quoted values may
    have any characters.

    Raises:
        EnvironmentFileError: The requirement has a choice of specs with other targets.
    """
    path = f"packages:{package}:require"
    [first, *more] = [f"target={target}" for target in targets]
    added = (first, json.dumps({"any_of": [first, *more]} if more else first))
    kept: list[tuple[str, str]] = []
    joins = requirement is None or not (requirement.bare or _other_targets(requirement, targets))
    for entry in requirement.entries if requirement and not joins else ():
        if entry.plain:
            rest = without_target(entry.specs[0])
            kept += [(rest, json.dumps(rest))] if rest else []
        elif any(map(targets_in, entry.specs)):
            raise EnvironmentFileError(
                f"spack.yaml: packages.{package}.require has the choice {', '.join(map(repr, entry.specs))}, to which "
                f"the target {targets[0]} cannot be added from outside; in that file, use a list with the entry "
                f"'target={targets[0]}' and without other targets"
            )
        else:
            kept.append((entry.text, entry.text))
    quoted = bool(more) or any(set(plain) & _NEEDS_QUOTES for plain, _ in kept)
    entries = _JOINED.join((text if quoted else plain) for plain, text in (*kept, added))
    return f"{path}{':' if joins else '::'}[{entries}]"


def _other_targets(requirement: Requirement, targets: Sequence[str]) -> bool:
    """Tell whether a requirement has targets that contradict `targets`; a range does not, if `targets` has its end."""
    return any(named not in targets and (":" not in named or _exact(named) not in targets) for named in requirement.targets)
