"""Specs of Spack as text: what they name, and the list ``specs`` of an environment with its matrices and groups expanded.

Sources: ``lib/spack/spack/environment/list.py`` (``SpecListParser``, ``_expand_matrix_constraints``),
``lib/spack/spack/environment/environment.py`` (``EnvironmentManifestFile._init_user_specs``) and
``lib/spack/spack/schema/spec_list.py`` of Spack 1.2; its documentation, "Environments", "Spec List References".
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hpcdeploy.environments.spack_yaml import Table, listed, named, plain_key, table, text_of, texts
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.spelling import nearest

LIMIT = 500
"""A matrix that expands to more specs than this is counted, not listed."""

MOST_ENTRIES = 100_000
"""Entries that are looked at, those of a definition counted at each ``$name``: definitions that name others double them."""

PACKAGE = re.compile(r"\s*(?:[\w-]+\.)*([A-Za-z0-9_][\w-]*)")
_TARGET = re.compile(
    r"(?:^|(?<=\s))(?:target==?|arch==?(?P<platform>[^\s-]+)-(?P<os>[^\s-]+)-)"
    r"['\"]?(?P<name>[^\s'\"]+)['\"]?"
)
_GROUP_KEYS = ("group", "specs", "matrix", "exclude", "needs", "explicit", "override")


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One entry of ``definitions``: a named list, with the condition under which Spack uses it (empty: always)."""

    name: str
    specs: tuple[object, ...]
    when: str = ""


@dataclass(frozen=True, kw_only=True)
class Root:
    """A spec of the environment. ``certain`` is false where Spack decides, when it runs, whether it is one."""

    spec: str
    certain: bool = True

    @property
    def package(self) -> str:
        """The name of its package; empty for a spec that names none, such as ``/hash``."""
        return package_of(self.spec)


@dataclass(frozen=True, kw_only=True)
class SpecList:
    """The list ``specs`` of an environment, expanded. ``left`` says, one line each, what only Spack can expand."""

    roots: tuple[Root, ...] = ()
    groups: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def package_of(spec: str) -> str:
    """Return the name of the package that a spec is about; empty for an anonymous one (``+mpi``, ``target=zen4``)."""
    if spec.lstrip().startswith(("$", "/", "%", "@", "^", "+", "~", "-")):
        return ""
    match = PACKAGE.match(spec)
    return match[1] if match and not spec[match.end() :].startswith(("=", ":=")) else ""


def constraint_of(spec: str) -> str:
    """Return what a spec says of its package, without the name: ``1.14: +mpi`` of ``hdf5@1.14: +mpi``."""
    match = PACKAGE.match(spec) if package_of(spec) else None
    return spec[match.end() if match else 0 :].strip().removeprefix("@").removeprefix("=")


def targets_in(spec: str) -> tuple[str, ...]:
    """Return the targets that a spec names, as ``target=`` or at the end of ``arch=``; ``target=:`` is any, so none."""
    return tuple(name for match in _TARGET.finditer(spec) for name in match["name"].split(",") if name != ":")


def without_target(spec: str) -> str:
    """Return a spec without the targets that it names; empty where nothing else is left."""

    def rest(match: re.Match[str]) -> str:
        return f"platform={match['platform']} os={match['os']}" if match["os"] else ""

    return " ".join(_TARGET.sub(rest, spec).split()) if _TARGET.search(spec) else spec


def read_definitions(value: object, where: str) -> tuple[Definition, ...]:
    """Read the list ``definitions``; `EnvironmentFileError` for what is none."""
    found = []
    for item in listed(value, where):
        given = table(item, where)
        names = [name for name in given if name != "when"]
        if len(names) != 1:
            raise EnvironmentFileError(
                f"{where} has an entry with {', '.join(names) or 'no name'}; write one name an entry, and 'when' beside it"
            )
        specs = tuple(listed(given[names[0]], f"{where}.{names[0]}"))
        found.append(Definition(name=plain_key(names[0]), specs=specs, when=text_of(given.get("when"), f"{where}.when")))
    return tuple(found)


def expand_specs(specs: Sequence[object], definitions: Sequence[Definition], where: str) -> SpecList:
    """Expand the list ``specs``; `EnvironmentFileError` for an entry of a form that Spack does not have.

    `definitions` are those of the manifest and of the files that it includes, highest first.
    """
    expansion = _Expansion(definitions, where)
    roots = tuple(expansion.entries(specs))
    return SpecList(roots=roots, groups=tuple(expansion.groups), left=tuple(dict.fromkeys(expansion.left)))


class _Expansion:
    """One expansion: the definitions that it may use, and what it could not expand."""

    def __init__(self, definitions: Sequence[Definition], where: str) -> None:
        self._where = where
        self._named: dict[str, list[Definition]] = {}
        for definition in definitions:
            self._named.setdefault(definition.name, []).append(definition)
        self._looked_at = 0
        self.groups: list[str] = []
        self.left: list[str] = []

    def entries(self, specs: Sequence[object], above: tuple[str, ...] = ()) -> Iterator[Root]:
        for item in specs:
            self._looked_at += 1
            if self._looked_at > MOST_ENTRIES:
                raise EnvironmentFileError(
                    f"{self._where} makes more than {MOST_ENTRIES} entries of the definitions that name each other; name "
                    "fewer of them"
                )
            if item is None or item == "":
                continue
            if isinstance(item, str):
                yield from self._reference(item, above) if item.startswith("$") else [Root(spec=item)]
                continue
            given = table(item, self._where)
            odd = next((key for key in given if key not in _GROUP_KEYS), None)
            if odd is not None:
                raise EnvironmentFileError(
                    f"{self._where} has an entry with the key {odd!r}; {nearest(odd, _GROUP_KEYS)} "
                    "A single spec is a text, without a key"
                )
            group = text_of(given.get("group"), f"{self._where}: group")
            if group:
                self.groups.append(group)
            if "matrix" in given:
                yield from self._matrix(given, above)
            else:
                yield from self.entries(listed(given.get("specs"), f"{self._where}: {group}.specs"), above)

    def _reference(self, item: str, above: tuple[str, ...]) -> Iterator[Root]:
        """Expand ``$name``, ``$^name`` or ``$%name``, whose sign goes before each spec of the list."""
        name = item[1:]
        sign = name[:1] if name.startswith(("^", "%")) else ""
        name = name.removeprefix(sign)
        if name in above:
            raise EnvironmentFileError(f"{self._where}: the definition {name!r} refers to itself; correct it")
        if name not in self._named:
            self.left.append(f"{item}, which no file here defines")
        for definition in self._named.get(name, ()):
            if definition.when:
                self.left.append(f"{item}, in part only when {definition.when}")
            for root in self.entries(definition.specs, (*above, name)):
                yield replace(root, spec=sign + root.spec, certain=root.certain and not definition.when)

    def _matrix(self, given: Table, above: tuple[str, ...]) -> Iterator[Root]:
        rows = [
            list(self.entries(listed(row, f"{self._where}: matrix"), above))
            for row in listed(given["matrix"], f"{self._where}: matrix")
        ]
        number = math.prod(map(len, rows)) if rows else 0
        excluded = texts(given.get("exclude"), f"{self._where}: exclude")
        if excluded:
            self.left.append(f"a matrix of {number} specs, from which 'exclude' takes some: {', '.join(excluded)}")
        if number > LIMIT:
            self.left.append(f"a matrix of {number} specs")
            return
        for row in itertools.product(*rows) if rows else ():
            yield Root(spec=" ".join(root.spec for root in row), certain=not excluded and all(root.certain for root in row))


def override_tables(specs: Sequence[object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Tell each group's name and its ``override``: configuration that Spack puts above all other, the command line too.

    Source: ``ConfigScopePriority.ENVIRONMENT_SPEC_GROUPS`` in ``lib/spack/spack/enums.py`` of Spack 1.2.
    """
    for item in specs:
        if isinstance(item, dict):
            override = named(item, "override")
            if isinstance(override, dict) and override:
                yield str(item.get("group") or ""), override
