"""A Spack environment's ``spack.lock`` as plain values: what is locked, for which target, out of which repositories.

Spack writes it as JSON, with the lock file's version under ``_meta`` (``lockfile-version``; 4 to 7 are known here: one of
before 4 does not key its specs by their full hash, and Spack 0.18 was the last to write it).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from hpcdeploy.environments.spack_flags import processor_flags
from hpcdeploy.environments.spack_moving import moving_versions
from hpcdeploy.environments.spack_specs import package_of
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.json_text import read_json

OLDEST = 4


@dataclass(frozen=True, kw_only=True)
class SpackLock:
    """A lock file: the names of its roots, the targets of its packages, and each package's repository (namespace).

    ``systems`` are the operating systems that it was made for, as Spack calls them (``ubuntu24.04``). ``flags`` are compiler
    flags that name a processor, each with its package; ``moving`` are versions that follow a branch, of which no commit is
    locked.
    """

    roots: tuple[str, ...]
    targets: tuple[str, ...]
    namespaces: Mapping[str, str]
    systems: tuple[str, ...] = ()
    flags: tuple[tuple[str, str], ...] = ()
    moving: tuple[str, ...] = ()


def read_lock(text: str, file: str = "spack.lock") -> SpackLock:
    """Read a lock file; `EnvironmentFileError` where it is none, or too old."""
    try:
        top = read_json(text)
    except ValueError as error:
        raise EnvironmentFileError(
            f"{file} is not valid JSON: {error}; run 'spack concretize --force' to renew it"
        ) from error
    meta = _table(_table(top, file).get("_meta"), f"{file}: _meta")
    version = meta.get("lockfile-version")
    if not isinstance(version, int) or version < OLDEST:
        raise EnvironmentFileError(
            f"{file} is of version {version!r}, but {OLDEST} or later was expected; run 'spack concretize --force'"
        )
    specs = _table(top.get("concrete_specs"), f"{file}: concrete_specs")
    if not specs and not top.get("include_concrete"):
        raise EnvironmentFileError(f"{file} locks no package; run 'spack concretize' in its folder")
    nodes = [*_nodes(top, file)]
    return SpackLock(
        roots=tuple(dict.fromkeys(_roots(top, file))),
        targets=tuple(sorted({target for node in nodes if not node.get("external") for target in _target(node)})),
        namespaces={str(node.get("name")): str(node.get("namespace") or "builtin") for node in nodes},
        systems=tuple(sorted({str(name) for node in nodes if (name := _system(node))})),
        flags=tuple(
            sorted({found for node in nodes for found in processor_flags(node.get("parameters"), str(node.get("name")))})
        ),
        moving=tuple(sorted({version for node in nodes for version in _moving(node)})),
    )


def _nodes(top: Mapping[str, object], file: str) -> Iterator[Mapping[str, object]]:
    """Tell the locked packages, those of included environments too, which Spack copies into the lock file and installs."""
    for node in _table(top.get("concrete_specs"), f"{file}: concrete_specs").values():
        yield _table(node, f"{file}: concrete_specs")
    for included in _table(top.get("include_concrete"), f"{file}: include_concrete").values():
        yield from _nodes(_table(included, f"{file}: include_concrete"), file)


def _roots(top: Mapping[str, object], file: str) -> Iterator[str]:
    roots = top.get("roots")
    for root in roots if isinstance(roots, list) else []:
        package = package_of(str(_table(root, f"{file}: roots").get("spec") or ""))
        if package:
            yield package


def _target(node: Mapping[str, object]) -> Iterator[str]:
    """Tell a package's target: a name, or for one that archspec does not know as a generic one, a table with its name."""
    arch = node.get("arch")
    target = arch.get("target") if isinstance(arch, dict) else None
    name = target.get("name") if isinstance(target, dict) else target
    if name:
        yield str(name)


def _moving(node: Mapping[str, object]) -> tuple[str, ...]:
    """Tell a package's version where it follows a branch. The source under ``develop`` is shipped, so it stays as it is.

    From version 1.0 on Spack locks the commit as a variant, ``commit``; source: its release notes, "1.0", "git provenance".
    """
    parameters = node.get("parameters")
    fixed = isinstance(parameters, dict) and (parameters.get("commit") or parameters.get("dev_path"))
    return () if fixed else moving_versions(f"@{node.get('version') or ''}", str(node.get("name")))


def _system(node: Mapping[str, object]) -> object:
    arch = node.get("arch")
    return arch.get("platform_os") if isinstance(arch, dict) else None


def _table(value: object, key: str) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise EnvironmentFileError(f"{key} is {str(value)[:60]!r}, but a table was expected; run 'spack concretize --force'")
    return cast("Mapping[str, object]", value)
