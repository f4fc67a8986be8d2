"""For which microarchitecture a Spack environment is compiled, and how Spack is told.

Sources, all of Spack 1.2: ``lib/spack/spack/solver/requirements.py`` (``_raw_yaml_data``: a package's own ``require`` takes
the place of that of ``all``); ``lib/spack/spack/enums.py`` (``ConfigScopePriority``: what ``-c`` says is above every file);
``lib/spack/spack/config.py`` (``merge_yaml``: of a list it joins the others'; ``ConfigPath``: how ``-c`` is read);
``lib/spack/spack/external_parser.py`` (``complete_architecture``: a package of the system has the generic target).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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

DEFAULT_TARGET = "x86_64_v3"
"""AVX2: what the x86 machines of clusters have had since about 2013 (Intel's Haswell), and AMD's since 2015."""

_JOINED = ", "
_NEEDS_QUOTES = frozenset(":,[]{}'\"#&*!|>%@`?")
"""What begins or ends something else in a YAML list (1.2, "Indicator Characters"), and the colon of ``-c``."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """The target's name (several, joined, where a lock file or ``spack.yaml`` names several), and who says so.

    ``options`` are the values of ``spack -c`` that pin it, none where nothing needs to be said. ``pinned`` are the packages
    with requirements of their own that get it too, ``own`` those whose requirements name another one, with its name, and
    ``compilers`` those that neither name one nor get one, since the build image's own may be meant.
    """

    name: str
    said_by: str
    options: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()
    own: tuple[tuple[str, str], ...] = ()
    compilers: tuple[str, ...] = ()


def choose_target(
    wanted: str,
    files: Sequence[Packages],
    lock: SpackLock | None,
    *,
    conditional: Sequence[Packages] = (),
    specs: Sequence[str] = (),
    groups: Sequence[str] = (),
) -> Target:
    """Choose: what is locked; else `wanted`; else what ``spack.yaml`` names; else `DEFAULT_TARGET`.

    `files` are the sections ``packages`` of the manifest and of what it includes, highest first, `conditional` those of
    files that are included under a condition, which count where `files` name no target. `specs` are the environment's own,
    `groups` the targets that their groups override. In ``spack.yaml`` a requirement of ``all`` counts before a preference
    of it (``target``, ``prefer``), and that before the specs. Of several those of another family than the image's are left
    out. Raises `EnvironmentFileError` where `wanted` contradicts one of these, and for a target that the image cannot have.
    """
    if lock is not None:
        for name in lock.targets:
            check_family(name, "spack.lock")
        if wanted and set(lock.targets) != {wanted}:
            raise EnvironmentFileError(
                f"spack.lock is for {', '.join(lock.targets) or 'no target'}, but the image's target is {wanted}; take "
                "'target' out of the settings, or require it in spack.yaml and run 'spack concretize --force'"
            )
        return Target(name=", ".join(lock.targets) or "generic", said_by="spack.lock")
    in_specs = tuple(dict.fromkeys((*(target for spec in specs for target in targets_in(spec)), *groups)))
    for name in in_specs:
        check_target(name, "spack.yaml: specs")
        check_family(name, "spack.yaml: specs")
    required = requirement_of(files, "all")
    said = _said(files, "") or _said(conditional, ", under a condition")
    name, said_by = _named(wanted, said, in_specs)
    named = name.split(_JOINED)
    pins = dict(_own(files, named))
    others = [(one, found) for one in named_packages(files) if one not in pins and (found := requirement_of(files, one))]
    for package, requirement in others:  # Other entries may be choices, or hold under a condition.
        plain = [target for entry in requirement.entries if entry.plain for target in targets_in(entry.specs[0])]
        _of_family(plain, f"spack.yaml: packages.{package}.require")
    there = required is not None and any(":" not in target and target in named for target in required.targets)
    return Target(
        name=name,
        said_by=said_by,
        options=(*(() if there else (_pin("all", required, named),)), *pins.values()),
        pinned=tuple(pins),
        own=tuple(
            (package, _JOINED.join(requirement.targets))
            for package, requirement in others
            if requirement.targets and not set(requirement.targets) <= set(named)
        ),
        compilers=tuple(one for one, found in others if one in COMPILERS and not found.targets),
    )


def _said(files: Sequence[Packages], how: str) -> tuple[tuple[str, ...], str] | None:
    """Return the targets that the files name for all packages, and where; None where they name none."""
    required = requirement_of(files, "all")
    if required and required.targets:
        return _of_family(required.targets, "spack.yaml: packages.all.require"), f"packages.all.require{how}"
    preferred = _of_family(preferred_targets(files), "spack.yaml: packages.all.target")[:1]
    return (preferred, f"packages.all prefers it{how}") if preferred else None


def _of_family(targets: Sequence[str], key: str) -> tuple[str, ...]:
    """Leave out targets of other families, which are for other machines; `EnvironmentFileError` where none is left."""
    kept = tuple(target for target in targets if not is_foreign(target))
    if targets and not kept:
        check_family(targets[0], key)
    return kept


def _named(wanted: str, said: tuple[tuple[str, ...], str] | None, in_specs: Sequence[str]) -> tuple[str, str]:
    """Return the target's name, and who says so."""
    exact = [target for target in in_specs if ":" not in target]
    others = [target for target in exact if target != wanted]
    if wanted and others:
        raise EnvironmentFileError(
            f"the specs of spack.yaml name the target {', '.join(others)}, but the image's target is {wanted}; take "
            "'target' out of the settings, or the target out of the specs"
        )
    if wanted:
        return wanted, "the image's settings"
    if not said and not in_specs:
        return DEFAULT_TARGET, "the default: nothing names a target"
    targets, where = said or (in_specs, "specs")
    names = tuple(dict.fromkeys((*map(_exact, targets), *exact)))
    ranges = [target for target in targets if ":" in target]
    return _JOINED.join(names), f"spack.yaml: {where}" + (f" has {', '.join(ranges)}" if ranges else "")


def _exact(target: str) -> str:
    """Return the one target of a range that everything is compiled for: the upper end, else the lower one.

    Of a range Spack takes the best that the building machine has, which another machine may lack.
    """
    if ":" not in target:
        return target
    lower, _, upper = target.partition(":")
    return upper or lower


def _own(files: Sequence[Packages], targets: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Tell the packages that have requirements of their own without a target, each with the option that adds it."""
    for name in named_packages(files):
        requirement = requirement_of(files, name)
        if requirement and not requirement.targets and _can_have_target(files, name, requirement):
            yield name, _pin(name, requirement, targets)


def _can_have_target(files: Sequence[Packages], name: str, requirement: Requirement) -> bool:
    """Tell whether Spack takes a target for a package: not for a virtual one, nor where the system may provide it."""
    found = any(one.externals for one in settings_of(files, name)) or name in COMPILERS
    return not is_virtual(name, requirement) and not found


def _pin(package: str, requirement: Requirement | None, targets: Sequence[str]) -> str:
    """Return the option that makes a package, or ``all``, require one of the targets beside what is required already.

    A list joins the file's own; a text, or another target, has to be replaced by what is left of it and the target. From a
    value that is no key, such as ``["``, Spack reads YAML to the end (from 0.22 on: spack/spack#40976), so that anything may
    stand in quotes.
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
                f"spack.yaml: packages.{package}.require has the choice {', '.join(map(repr, entry.specs))}, beside which "
                f"the target {targets[0]} cannot be put from outside; write 'target={targets[0]}' there as an entry of a "
                "list, in place of any other target"
            )
        else:
            kept.append((entry.text, entry.text))
    quoted = bool(more) or any(set(plain) & _NEEDS_QUOTES for plain, _ in kept)
    entries = _JOINED.join((text if quoted else plain) for plain, text in (*kept, added))
    return f"{path}{':' if joins else '::'}[{entries}]"


def _other_targets(requirement: Requirement, targets: Sequence[str]) -> bool:
    """Tell whether a requirement names targets that the new ones cannot stand beside; a range that they are from is none."""
    return any(named not in targets and (":" not in named or _exact(named) not in targets) for named in requirement.targets)
