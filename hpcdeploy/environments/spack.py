"""A Spack environment's ``spack.yaml``, and the configuration files that it includes, as plain values.

Only what an image needs is read; Spack itself reads the files that are shipped, unchanged. Sources: the schemas in
``lib/spack/spack/schema`` of Spack 0.20 to 1.1, and its documentation ("Environments", "Include Settings", "Mirrors").
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hpcdeploy.environments.spack_container import Container, read_container
from hpcdeploy.environments.spack_yaml import (
    Table,
    listed,
    load,
    named,
    overrides,
    plain_key,
    table,
    text_of,
    truth,
)
from hpcdeploy.errors import EnvironmentFileError

_TARGET = re.compile(r"(?:^|\s)target=(\S+)")
PACKAGE = re.compile(r"\s*(?:[\w-]+\.)*([A-Za-z0-9_][\w-]*)")
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|[\w.-]+@[\w.-]+:")


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """A mirror: its address for pushing, and the variables that its credentials are read from."""

    name: str
    url: str
    variables: tuple[str, ...] = ()
    signed: bool = True


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A file or folder that a configuration file names, relative to that file's folder.

    ``kind`` is ``include``, ``repo`` or ``develop``. Where a path holds a variable that only the build knows (``$os``), this
    is the folder above it.
    """

    kind: str
    path: str
    required: bool = True


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What one configuration file, or the ``spack`` section of an environment, says of things that matter to an image.

    ``requirements`` are the plain specs of ``packages: all: require``, ``required_choices`` those that stand there in tables
    (``one_of``); ``bare_requirement`` is whether it is one text instead of a list. ``own_requirements`` are the packages
    with requirements of their own, to which Spack does not apply those. ``externals`` are packages that Spack takes from the
    system. ``elsewhere`` are paths that begin outside of the environment (``/``, ``~``, a variable). ``drops_repos`` is
    whether it says ``repos::``.
    """

    requirements: tuple[str, ...] = ()
    required_choices: tuple[str, ...] = ()
    bare_requirement: bool = False
    own_requirements: tuple[str, ...] = ()
    externals: tuple[str, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    references: tuple[Reference, ...] = ()
    elsewhere: tuple[str, ...] = ()
    drops_repos: bool = False


@dataclass(frozen=True, kw_only=True)
class SpackEnvironment:
    """A ``spack.yaml``. ``roots`` are the package names of the specs that stand there plainly; ``view`` its own word."""

    file: str
    configuration: Configuration
    roots: tuple[str, ...]
    view: str = ""
    container: Container | None = None


def read_environment(text: str, file: str = "spack.yaml") -> SpackEnvironment:
    """Read a ``spack.yaml``; `EnvironmentFileError` for what is no environment, or not understood."""
    top = load(text, file)
    section = named(top, "spack") if "env" not in top else top["env"]
    if section is None:
        raise EnvironmentFileError(f"{file} has no top-level key 'spack'; is this a Spack environment's manifest?")
    inner = table(section, f"{file}: spack")
    view = named(inner, "view")
    return SpackEnvironment(
        file=file,
        configuration=_configuration(inner, f"{file}: spack"),
        roots=tuple(_roots(inner, f"{file}: spack.specs")),
        view=view if isinstance(view, str) else "" if view is None else "a table",
        container=read_container(inner["container"], file) if "container" in inner else None,
    )


def read_configuration(text: str, file: str) -> Configuration:
    """Read a configuration file that an environment includes: sections at its top, or under ``spack``."""
    top = load(text, file)
    section = named(top, "spack")
    return _configuration(top if section is None else table(section, f"{file}: spack"), file)


def targets_in(requirement: str) -> tuple[str, ...]:
    """Return the targets that a requirement names."""
    return tuple(_TARGET.findall(requirement))


def without_target(requirement: str) -> str:
    """Return a requirement without the targets that it names; empty where it said nothing else."""
    return _TARGET.sub("", requirement).strip()


def _configuration(given: Table, where: str) -> Configuration:
    packages = table(named(given, "packages"), f"{where}: packages")
    by_name = {plain_key(name): table(value, f"{where}: packages.{name}") for name, value in packages.items()}
    required = list(_requirements(by_name.get("all", {}), f"{where}: packages.all.require"))
    found = [*_included(given, where), *_repos(given, where), *_developed(given, where)]
    return Configuration(
        requirements=tuple(spec for spec, in_table in required if not in_table),
        required_choices=tuple(spec for spec, in_table in required if in_table),
        bare_requirement=isinstance(named(by_name.get("all", {}), "require"), str),
        own_requirements=tuple(name for name, value in by_name.items() if name != "all" and named(value, "require")),
        externals=tuple(name for name, value in by_name.items() if named(value, "externals")),
        mirrors=tuple(
            _mirror(plain_key(name), value, f"{where}: mirrors.{name}")
            for name, value in table(named(given, "mirrors"), f"{where}: mirrors").items()
        ),
        references=tuple(item for item in found if isinstance(item, Reference)),
        elsewhere=tuple(item for item in found if isinstance(item, str)),
        drops_repos=overrides(given, "repos"),
    )


def _roots(given: Table, where: str) -> Iterator[str]:
    """Tell the names of plain specs; matrices, ``$definitions`` and bare constraints are Spack's to expand."""
    for item in listed(named(given, "specs"), where):
        if isinstance(item, str) and not item.lstrip().startswith(("$", "/", "%", "@", "^", "+", "~", "-")):
            match = PACKAGE.match(item)
            if match and not item[match.end() :].startswith("="):
                yield match[1]


def _requirements(given: Table, where: str) -> Iterator[tuple[str, bool]]:
    """Tell each spec that ``require`` names, and whether it stands in a table of its own (``one_of`` and the like)."""
    value = named(given, "require")
    for item in [value] if isinstance(value, str) and value else listed(value, where):
        if isinstance(item, str):
            yield item, False
            continue
        for key, inner in table(item, where).items():
            if key in ("spec", "one_of", "any_of"):
                yield from ((text_of(spec, where), True) for spec in (inner if isinstance(inner, list) else [inner]))


def _mirror(name: str, value: object, where: str) -> Mirror:
    if isinstance(value, str):
        return Mirror(name=name, url=value)
    given = table(value, where)
    sides: list[Table] = [given]
    for key in ("push", "fetch", "pull"):
        side = named(given, key)
        if side is not None:
            sides.append({"url": side} if isinstance(side, str) else table(side, f"{where}.{key}"))
    url = next((text_of(side["url"], f"{where}.url") for side in (*sides[1:], given) if side.get("url")), "")
    if not url:
        raise EnvironmentFileError(f"{where} has no url; write url: oci://registry/repository, or whatever it is")
    signed = truth(given.get("signed"), f"{where}.signed", default=True)
    variables = (name for side in sides for name in _variables(side, where))
    return Mirror(name=name, url=url, variables=tuple(dict.fromkeys(variables)), signed=signed)


def _variables(side: Table, where: str) -> Iterator[str]:
    """Tell the variables of one side's credentials. Those that stand there in clear would be in every image."""
    pair = side.get("access_pair")
    if isinstance(pair, list) or side.get("access_token"):
        raise EnvironmentFileError(
            f"{where} holds credentials in clear text, which would be in every image; write access_pair with id_variable "
            "and secret_variable, describe these two in the image's 'secrets', and make the old ones invalid"
        )
    keys = table(pair, f"{where}.access_pair")
    if pair and not (keys.get("secret_variable") and (keys.get("id_variable") or keys.get("id"))):
        raise EnvironmentFileError(
            f"{where}.access_pair has {', '.join(keys) or 'nothing'}; id_variable (or id) and secret_variable were expected"
        )
    for found in (keys.get("id_variable"), keys.get("secret_variable"), side.get("access_token_variable")):
        if found:
            yield text_of(found, where)


def _included(given: Table, where: str) -> Iterator[Reference | str]:
    value = named(given, "include")
    for item in [value] if isinstance(value, str) and value else listed(value, f"{where}: include"):
        entry: Table = {"path": item} if isinstance(item, str) else table(item, f"{where}: include")
        if "git" in entry:
            continue
        path = text_of(entry.get("path"), f"{where}: include.path")
        if not path:
            raise EnvironmentFileError(f"{where}: include has an entry without path or git: {', '.join(entry)}")
        optional = truth(entry.get("optional"), f"{where}: include.optional", default=False)
        yield from _reference("include", path, required=not optional and not entry.get("when"))


def _repos(given: Table, where: str) -> Iterator[Reference | str]:
    value = named(given, "repos")
    entries = value if isinstance(value, list) else list(table(value, f"{where}: repos").values())
    for item in entries:
        if isinstance(item, str):
            yield from _reference("repo", item, required=True)
        elif "git" not in table(item, f"{where}: repos"):
            raise EnvironmentFileError(f"{where}: repos has an entry that is neither a path nor has git: {item!r}")


def _developed(given: Table, where: str) -> Iterator[Reference | str]:
    for name, value in table(named(given, "develop"), f"{where}: develop").items():
        path = text_of(table(value, f"{where}: develop.{name}").get("path"), f"{where}: develop.{name}.path")
        yield from _reference("develop", path or plain_key(name), required=True)


def _reference(kind: str, path: str, *, required: bool) -> Iterator[Reference | str]:
    """Sort a path: relative to its file, from elsewhere in the image, or from the network (nothing to ship)."""
    if _REMOTE.match(path) and not path.startswith("file://"):
        return
    local = re.sub(r"^\$(?:env|\{env\})/", "", path.removeprefix("file://"))
    if local.startswith(("/", "~", "$")):
        yield path
        return
    fixed = local.split("$", 1)[0]
    yield Reference(kind=kind, path=fixed if fixed == local else fixed.rpartition("/")[0] or ".", required=required)
