"""Parse a Spack environment's ``spack.lock`` into plain values: packages, targets and repositories.

Spack writes the lock file as JSON. ``lockfile-version`` in ``_meta`` is the version of the format. Versions before 4 are not
supported, because their keys are not full hashes. Spack 0.18 was the last release that wrote such a version.
"""

from collections.abc import Iterator, Mapping
from typing import cast

from hpcdeploy.checked_values import read_json
from hpcdeploy.environments.spack_references import moving_versions
from hpcdeploy.environments.spack_specs import package_of, processor_flags
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.frozen import frozen

OLDEST = 4
"""The lowest supported version of the format."""


@frozen
class SpackLock:
    """A lock file.

    Attributes:
        roots: The names of the packages in its list ``roots``.
        targets: The targets of its packages, except externals.
        namespaces: The namespace (repository) of each package, by the package's name.
        systems: The operating systems of its packages, by Spack's names (``ubuntu24.04``).
        kernels: The kernels of its packages, by Spack's names of platforms (``linux``, ``darwin``).
        flags: Compiler flags that name a processor, each with its package.
        moving: Versions that follow a branch without a locked commit.
    """

    roots: tuple[str, ...]
    targets: tuple[str, ...]
    namespaces: Mapping[str, str]
    systems: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    flags: tuple[tuple[str, str], ...] = ()
    moving: tuple[str, ...] = ()


def read_lock(text: str, file: str = "spack.lock") -> SpackLock:
    """Parse a lock file.

    Raises:
        EnvironmentFileError: The lock file is malformed or too old, or locks no package.
    """
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
            f"{file} has version {version!r}; expected {OLDEST} or later; run 'spack concretize --force'"
        )
    specs = _table(top.get("concrete_specs"), f"{file}: concrete_specs")
    if not specs and not top.get("include_concrete"):
        raise EnvironmentFileError(f"{file} locks no package; run 'spack concretize' in its folder")
    nodes = [*_nodes(top, file)]
    return SpackLock(
        roots=tuple(dict.fromkeys(_roots(top, file))),
        targets=tuple(sorted({target for node in nodes if not node.get("external") for target in _target(node)})),
        namespaces={str(node.get("name")): str(node.get("namespace") or "builtin") for node in nodes},
        systems=tuple(sorted({str(name) for node in nodes if (name := _arch(node, "platform_os"))})),
        kernels=tuple(sorted({str(name) for node in nodes if (name := _arch(node, "platform"))})),
        flags=tuple(
            sorted({found for node in nodes for found in processor_flags(node.get("parameters"), str(node.get("name")))})
        ),
        moving=tuple(sorted({version for node in nodes for version in _moving(node)})),
    )


def _nodes(top: Mapping[str, object], file: str) -> Iterator[Mapping[str, object]]:
    """Yield the locked packages, including those of included environments, which Spack copies and installs."""
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
    """Yield the name of a package's target, which is in a table unless the target is generic in archspec."""
    target = _arch(node, "target")
    name = target.get("name") if isinstance(target, dict) else target
    if name:
        yield str(name)


def _moving(node: Mapping[str, object]) -> tuple[str, ...]:
    """Return a package's version if the version follows a branch whose commit is not locked.

    From version 1.0 on Spack locks the commit in a variant ``commit`` (its release notes, "1.0", "git provenance"). The
    version of a package in ``develop`` does not follow a branch, because its source is copied into the image.
    """
    parameters = node.get("parameters")
    fixed = isinstance(parameters, dict) and (parameters.get("commit") or parameters.get("dev_path"))
    return () if fixed else moving_versions(f"@{node.get('version') or ''}", str(node.get("name")))


def _arch(node: Mapping[str, object], key: str) -> object:
    arch = node.get("arch")
    return arch.get(key) if isinstance(arch, dict) else None


def _table(value: object, key: str) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise EnvironmentFileError(f"{key} is {str(value)[:60]!r}; expected a table; run 'spack concretize --force'")
    return cast("Mapping[str, object]", value)
