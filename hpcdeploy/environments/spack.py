"""A Spack environment's ``spack.yaml``, and the configuration files that it includes, as plain values.

Only what an image needs is read; Spack itself reads the files that are shipped, unchanged. Sources: the schemas in
``lib/spack/spack/schema`` of Spack 0.20 to 1.1, and its documentation ("Environments", "Include Settings", "Mirrors").
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hpcdeploy.environments.spack_container import Container, read_container
from hpcdeploy.environments.spack_flags import processor_flags
from hpcdeploy.environments.spack_mirrors import Mirror, read_mirrors
from hpcdeploy.environments.spack_moving import moving_versions
from hpcdeploy.environments.spack_packages import Packages, PackageSettings, is_virtual, read_packages
from hpcdeploy.environments.spack_references import References, read_references
from hpcdeploy.environments.spack_specs import (
    Definition,
    SpecList,
    expand_specs,
    override_tables,
    read_definitions,
)
from hpcdeploy.environments.spack_view import View, read_view
from hpcdeploy.environments.spack_yaml import Table, listed, load, named, overrides, plain_key, table
from hpcdeploy.errors import EnvironmentFileError


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What one configuration file, or the ``spack`` section of an environment, says of things that matter to an image.

    ``flags`` are compiler flags that name a processor, each with the keys that lead to it; ``moving`` are versions in
    ``packages`` that follow a branch. ``developed`` are the packages under ``develop``. ``drops_repos`` is whether it says
    ``repos::``. ``when`` is the condition under which Spack includes the file (empty: always).
    """

    packages: Packages = field(default_factory=Packages)
    mirrors: tuple[Mirror, ...] = ()
    references: References = field(default_factory=References)
    view: View | None = None
    definitions: tuple[Definition, ...] = ()
    flags: tuple[tuple[str, str], ...] = ()
    moving: tuple[str, ...] = ()
    developed: tuple[str, ...] = ()
    drops_repos: bool = False
    when: str = ""

    @property
    def externals(self) -> tuple[str, ...]:
        """The packages that Spack takes from the system."""
        return tuple(one.name for one in self.packages.settings if one.externals)


@dataclass(frozen=True, kw_only=True)
class SpackEnvironment:
    """A ``spack.yaml``: its configuration, and the list ``specs`` as it stands there."""

    file: str
    configuration: Configuration
    specs: tuple[object, ...] = ()
    container: Container | None = None


def read_environment(text: str, file: str = "spack.yaml") -> SpackEnvironment:
    """Read a ``spack.yaml``; `EnvironmentFileError` for what is no environment, or not understood."""
    top = load(text, file)
    section = named(top, "spack") if "env" not in top else top["env"]
    if section is None:
        raise EnvironmentFileError(f"{file} has no top-level key 'spack'; is this a Spack environment's manifest?")
    inner = table(section, f"{file}: spack")
    return SpackEnvironment(
        file=file,
        configuration=_configuration(inner, f"{file}: spack"),
        specs=tuple(listed(named(inner, "specs"), f"{file}: spack.specs")),
        container=read_container(inner["container"], file) if "container" in inner else None,
    )


def read_configuration(text: str, file: str) -> Configuration:
    """Read a configuration file that an environment includes: sections at its top, or under ``spack``."""
    top = load(text, file)
    section = named(top, "spack")
    return _configuration(top if section is None else table(section, f"{file}: spack"), file)


def expanded(environment: SpackEnvironment, configurations: Sequence[Configuration]) -> SpecList:
    """Expand the environment's specs with the definitions of all its files; raises `EnvironmentFileError`."""
    definitions = [definition for one in configurations for definition in one.definitions]
    return expand_specs(environment.specs, definitions, f"{environment.file}: spack.specs")


def group_targets(environment: SpackEnvironment) -> tuple[str, ...]:
    """Return the targets that ``override`` of groups of specs names: no setting from outside is above those."""
    settings = [one for _, one in _overridden(environment)]
    required = (target for one in settings if one.require for target in one.require.targets)
    return tuple(dict.fromkeys((*required, *(target for one in settings for target in one.targets))))


def group_escapes(environment: SpackEnvironment, pinned: Sequence[str]) -> tuple[str, ...]:
    """Return the groups and packages (``GROUP: PACKAGE``) whose ``override`` takes the place of a required target.

    `pinned` are the packages that are given the target: a list of the override joins theirs, and that of ``all``.
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
    """Tell the versions in ``packages`` that follow a branch: required ones, and preferred ones (``version``)."""
    for one in packages.settings:
        for spec in one.require.specs if one.require else ():
            yield from moving_versions(spec, one.name)
    for key, value in table(named(given, "packages"), f"{where}: packages").items():
        versions = named(table(value, f"{where}: packages.{key}"), "version")
        for version in versions if isinstance(versions, list) else [versions or ""]:
            yield from moving_versions(f"@{version}", plain_key(key))
