"""Parse a Spack environment's ``spack.yaml``, and the configuration files that it includes, into plain values.

Only the parts that an image needs are read; Spack itself reads the unchanged files. Sources: the schemas in
``lib/spack/spack/schema`` of Spack 0.20 to 1.1, and its documentation ("Environments", "Include Settings", "Mirrors").
"""

from collections.abc import Iterator, Sequence
from dataclasses import field

from hpcdeploy.environments.spack_container import Container, read_container
from hpcdeploy.environments.spack_packages import Packages, PackageSettings, is_virtual, read_packages
from hpcdeploy.environments.spack_references import References, moving_versions, read_references
from hpcdeploy.environments.spack_specs import (
    Definition,
    SpecList,
    expand_specs,
    override_tables,
    processor_flags,
    read_definitions,
)
from hpcdeploy.environments.spack_view import ViewSetting, read_view
from hpcdeploy.environments.spack_yaml import Mirror, Table, listed, load, named, overrides, plain_key, read_mirrors, table
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.frozen import frozen


@frozen
class Configuration:
    """The relevant settings of a configuration file, or of the ``spack`` section of an environment.

    Attributes:
        packages: The section ``packages``.
        mirrors: The mirrors.
        references: The files, folders and URLs to which the file refers.
        view: The view; None if it is not set.
        definitions: The named lists of specs.
        flags: Compiler flags that name a processor, each with its key path.
        moving: Versions in ``packages`` that follow a branch.
        developed: The packages in ``develop``.
        drops_repos: The file has ``repos::``, so that Spack ignores the repositories of lower scopes.
        when: The condition under which Spack includes the file; empty for always.
    """

    packages: Packages = field(default_factory=Packages)
    mirrors: tuple[Mirror, ...] = ()
    references: References = field(default_factory=References)
    view: ViewSetting | None = None
    definitions: tuple[Definition, ...] = ()
    flags: tuple[tuple[str, str], ...] = ()
    moving: tuple[str, ...] = ()
    developed: tuple[str, ...] = ()
    drops_repos: bool = False
    when: str = ""

    @property
    def externals(self) -> tuple[str, ...]:
        """The packages that Spack uses from the system."""
        return tuple(one.name for one in self.packages.settings if one.externals)


@frozen
class SpackEnvironment:
    """A ``spack.yaml``.

    Attributes:
        file: The manifest's name, for messages.
        configuration: The manifest's settings.
        specs: The manifest's list ``specs``, not expanded.
        container: The manifest's section ``container``; None if it has none.
    """

    file: str
    configuration: Configuration
    specs: tuple[object, ...] = ()
    container: Container | None = None


def read_environment(text: str, file: str = "spack.yaml") -> SpackEnvironment:
    """Parse a ``spack.yaml``.

    Raises:
        EnvironmentFileError: The file is malformed, or has unsupported settings.
    """
    top = load(text, file)
    section = named(top, "spack") if "env" not in top else top["env"]
    if section is None:
        raise EnvironmentFileError(f"{file} has no top-level key 'spack'; check that it is a Spack environment's manifest")
    inner = table(section, f"{file}: spack")
    return SpackEnvironment(
        file=file,
        configuration=_configuration(inner, f"{file}: spack"),
        specs=tuple(listed(named(inner, "specs"), f"{file}: spack.specs")),
        container=read_container(inner["container"], file) if "container" in inner else None,
    )


def read_configuration(text: str, file: str) -> Configuration:
    """Parse a configuration file that an environment includes: its sections are at the top, or below ``spack``.

    Raises:
        EnvironmentFileError: The file is malformed.
    """
    top = load(text, file)
    section = named(top, "spack")
    return _configuration(top if section is None else table(section, f"{file}: spack"), file)


def expanded(environment: SpackEnvironment, configurations: Sequence[Configuration]) -> SpecList:
    """Expand the environment's specs with the definitions of all its files.

    Raises:
        EnvironmentFileError: A list is malformed, refers to itself, or is too long.
    """
    definitions = [definition for one in configurations for definition in one.definitions]
    return expand_specs(environment.specs, definitions, f"{environment.file}: spack.specs")


def group_targets(environment: SpackEnvironment) -> tuple[str, ...]:
    """Return the targets in the ``override`` of groups of specs, which no setting from outside can replace."""
    settings = [one for _, one in _overridden(environment)]
    required = (target for one in settings if one.require for target in one.require.targets)
    return tuple(dict.fromkeys((*required, *(target for one in settings for target in one.targets))))


def group_escapes(environment: SpackEnvironment, pinned: Sequence[str]) -> tuple[str, ...]:
    """Return the groups and packages (``GROUP: PACKAGE``) whose ``override`` replaces a required target.

    `pinned` are the packages whose own requirements contain the target, in addition to ``all``. If an override has a list of
    requirements for one of these, Spack joins the two lists, so the target is not replaced.
    """
    return tuple(
        f"{group}: {one.name}"
        for group, one in _overridden(environment)
        if one.require and one.require.entries and not one.require.targets and not is_virtual(one.name, one.require)
        if one.require.bare or one.require.replaces or one.name not in ("all", *pinned)
    )


def _overridden(environment: SpackEnvironment) -> Iterator[tuple[str, PackageSettings]]:
    for group, override in override_tables(environment.specs):
        packages = read_packages(table(override, f"{environment.file}: override"), f"{environment.file}: {group}.override")
        yield from ((group, one) for one in packages.settings)


def _configuration(given: Table, where: str) -> Configuration:
    packages = read_packages(given, where)
    return Configuration(
        packages=packages,
        mirrors=read_mirrors(given, where),
        references=read_references(given, where),
        view=read_view(given, where),
        definitions=read_definitions(named(given, "definitions"), f"{where}: definitions"),
        flags=tuple(dict.fromkeys(processor_flags(given))),
        moving=tuple(dict.fromkeys(_moving(given, packages, where))),
        developed=tuple(plain_key(name) for name in table(named(given, "develop"), f"{where}: develop")),
        drops_repos=overrides(given, "repos"),
    )


def _moving(given: Table, packages: Packages, where: str) -> Iterator[str]:
    """Yield the versions in ``packages`` that follow a branch: required ones, and preferred ones (``version``)."""
    for one in packages.settings:
        for spec in one.require.specs if one.require else ():
            yield from moving_versions(spec, one.name)
    for key, value in table(named(given, "packages"), f"{where}: packages").items():
        versions = named(table(value, f"{where}: packages.{key}"), "version")
        for version in versions if isinstance(versions, list) else [versions or ""]:
            yield from moving_versions(f"@{version}", plain_key(key))
