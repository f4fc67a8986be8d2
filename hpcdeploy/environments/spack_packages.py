"""Parse the section ``packages`` of Spack's configuration, and combine several files.

Sources, in ``lib/spack/spack`` of Spack 1.2:

- ``schema/packages.py`` defines the section.
- ``solver/requirements.py``, ``RequirementParser._raw_yaml_data``: a package's own ``require`` replaces the ``require`` of
  ``all``, unless the package's own is empty.
- ``solver/requirements.py``, ``_rules_from_requirements``: the requirements of a virtual package must name a package.
- ``config.py``, ``merge_yaml``: lists are joined, other values are replaced.
"""

import json
from collections.abc import Iterator, Sequence

from hpcdeploy.environments.microarchitectures import check_target
from hpcdeploy.environments.spack_specs import package_of, targets_in
from hpcdeploy.environments.spack_yaml import Table, listed, named, overrides, plain_key, table, text_of
from hpcdeploy.frozen import frozen

VIRTUALS = frozenset(
    {
        *("armci", "awk", "blas", "c", "cxx", "D", "daal", "elf", "fftw-api", "flame", "fortran", "fuse", "gfortran", "gl"),
        *("glu", "golang", "go-or-gccgo-bootstrap", "iconv", "ipp", "java", "jpeg", "lapack", "libc", "libglx", "libllvm"),
        *("libosmesa", "lua-lang", "luajit", "mariadb-client", "mkl", "mpe", "mpi", "mysql-client", "onedal", "opencl"),
        *("pbs", "pil", "pkgconfig", "qmake", "rpc", "scalapack", "sycl", "szip", "tbb", "unwind", "uuid", "xxd", "yacc"),
        *("ziglang", "zlib-api"),
    }
)
"""Spack's own virtual packages (``all: providers`` in ``etc/spack/defaults``).

`is_virtual` needs this list for packages whose requirements do not show that they are virtual.
"""

COMPILERS = frozenset(
    {
        *("gcc", "llvm", "llvm-amdgpu", "apple-clang", "clang", "nvhpc", "aocc", "cce", "acfl", "arm", "fj", "xl", "nag"),
        *("intel-oneapi-compilers", "intel-oneapi-compilers-classic", "intel", "oneapi", "rocmcc", "glibc", "musl"),
    }
)
"""Packages that Spack detects in the build image: compilers and C libraries."""


@frozen
class Entry:
    """An entry of ``require``.

    Attributes:
        specs: The specs that the entry contains.
        text: The entry in JSON, for Spack's command line.
        plain: Whether the entry is a text. Otherwise it is a table with keys such as ``spec``, ``one_of`` and ``any_of``.
    """

    specs: tuple[str, ...]
    text: str
    plain: bool = True


@frozen
class Requirement:
    """The value of ``require``.

    Attributes:
        entries: The items of the list. A value that is a single text is the only entry.
        bare: Whether the value is a single text. Spack joins it neither with a list nor with another text.
        replaces: Whether the key is ``require::``, so that Spack ignores lower scopes.
    """

    entries: tuple[Entry, ...]
    bare: bool = False
    replaces: bool = False

    @property
    def specs(self) -> tuple[str, ...]:
        """All specs of all entries."""
        return tuple(spec for entry in self.entries for spec in entry.specs)

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets in the specs, without duplicates."""
        return tuple(dict.fromkeys(target for spec in self.specs for target in targets_in(spec)))


@frozen
class PackageSettings:
    """The settings of one file for a package, or for ``all``.

    Attributes:
        name: The name of the package, or ``all``.
        require: The package's requirement; None if there is none.
        targets: The preferred targets (``target``, or a spec of ``prefer``).
        externals: Whether the settings have ``externals``, which are packages of the system that Spack can use.
        replaces: Whether the key is ``NAME::``, so that Spack ignores lower scopes.
    """

    name: str
    require: Requirement | None = None
    targets: tuple[str, ...] = ()
    externals: bool = False
    replaces: bool = False


@frozen
class Packages:
    """The section ``packages`` of one file.

    Attributes:
        settings: The settings of each package.
        replaces: Whether the key is ``packages::``, so that Spack ignores lower scopes.
    """

    settings: tuple[PackageSettings, ...] = ()
    replaces: bool = False


def read_packages(given: Table, where: str) -> Packages:
    """Parse the section ``packages`` of a file.

    Args:
        given: The file's top-level table.
        where: The name of the file, for messages.

    Raises:
        EnvironmentFileError: The section is malformed, or a target is not a microarchitecture.
    """
    section = table(named(given, "packages"), f"{where}: packages")
    return Packages(
        settings=tuple(_settings(key, value, f"{where}: packages.{key}") for key, value in section.items()),
        replaces=overrides(given, "packages"),
    )


def named_packages(files: Sequence[Packages]) -> tuple[str, ...]:
    """Return the names of all packages in the files, except ``all``."""
    return tuple(dict.fromkeys(one.name for file in files for one in file.settings if one.name != "all"))


def settings_of(files: Sequence[Packages], name: str) -> Iterator[PackageSettings]:
    """Yield the settings of each file for a package, highest precedence first.

    The last settings are those that replace lower scopes (``NAME::`` or ``packages::``), if there are any.
    """
    for file in files:
        for one in file.settings:
            if one.name == name:
                yield one
                if one.replaces:
                    return
        if file.replaces:
            return


def requirement_of(files: Sequence[Packages], name: str) -> Requirement | None:
    """Combine the requirements for a package as Spack does; `files` are in order, highest precedence first.

    Return None if no file requires anything of the package.
    """
    found: Requirement | None = None
    for one in settings_of(files, name):
        if one.require is None:
            continue
        if found is None:
            found = one.require
        elif found.bare or one.require.bare:
            break
        else:
            lower = tuple(entry for entry in one.require.entries if entry not in found.entries)
            found = Requirement(entries=(*found.entries, *lower))
        if one.require.replaces:
            break
    return found if found is not None and found.entries else None


def preferred_targets(files: Sequence[Packages]) -> tuple[str, ...]:
    """Return the targets that ``packages: all`` prefers, the most preferred first."""
    return tuple(dict.fromkeys(target for one in settings_of(files, "all") for target in one.targets))


def is_virtual(name: str, requirement: Requirement) -> bool:
    """Tell whether a name is a virtual package: it is in `VIRTUALS`, or its requirements name another package."""
    return name in VIRTUALS or any(package_of(spec) not in ("", name) for spec in requirement.specs)


def _settings(key: str, value: object, where: str) -> PackageSettings:
    given = table(value, where)
    target = named(given, "target")
    settings = PackageSettings(
        name=plain_key(key),
        require=_requirement(given, f"{where}.require"),
        targets=(
            *((target,) if isinstance(target, str) and target else _texts(target, f"{where}.target")),
            *(name for spec in _preferred(given, f"{where}.prefer") for name in targets_in(spec)),
        ),
        externals=bool(named(given, "externals")),
        replaces=key.endswith(":"),
    )
    for name in settings.require.targets if settings.require else ():
        check_target(name, f"{where}.require")
    for name in settings.targets:
        check_target(name, where)
    return settings


def _preferred(given: Table, where: str) -> Iterator[str]:
    """Yield the specs of ``prefer``: texts, or tables with ``spec``."""
    for item in listed(named(given, "prefer"), where):
        yield item if isinstance(item, str) else text_of(table(item, where).get("spec"), where)


def _texts(value: object, where: str) -> tuple[str, ...]:
    return tuple(text_of(item, where) for item in listed(value, where))


def _requirement(given: Table, where: str) -> Requirement | None:
    value = named(given, "require")
    if value is None:
        return None
    bare = isinstance(value, str) and bool(value)
    entries = [_entry(item, where) for item in ([value] if bare else listed(value, where))]
    return Requirement(entries=tuple(entries), bare=bare, replaces=overrides(given, "require"))


def _entry(item: object, where: str) -> Entry:
    if isinstance(item, str):
        return Entry(specs=(item,), text=json.dumps(item))
    specs: list[str] = []
    for key, inner in table(item, where).items():
        if key in ("spec", "one_of", "any_of"):
            specs += _texts(inner, where) if isinstance(inner, list) else [text_of(inner, where)]
    return Entry(specs=tuple(specs), text=json.dumps(item), plain=False)
