"""Parse Spack specs, and expand the list ``specs`` of an environment with its matrices and groups.

Sources: ``lib/spack/spack/environment/list.py`` (``SpecListParser``, ``_expand_matrix_constraints``),
``lib/spack/spack/environment/environment.py`` (``EnvironmentManifestFile._init_user_specs``) and
``lib/spack/spack/schema/spec_list.py`` of Spack 1.2; its documentation, "Environments", "Spec List References".
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from hpcdeploy.environments.spack_yaml import Table, listed, named, plain_key, table, text_of, texts
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.frozen import frozen
from hpcdeploy.plain_text import nearest

LIMIT = 500
"""Maximum number of specs in a matrix. The specs of a larger matrix are only counted, and not listed."""

MOST_ENTRIES = 100_000
"""Maximum number of entries in an expanded list.

The entries of a definition are counted at each ``$name`` that refers to it, because nested definitions grow exponentially.
"""

PACKAGE = re.compile(r"\s*(?:[\w-]+\.)*([A-Za-z0-9_][\w-]*)")
_TARGET = re.compile(
    r"(?:^|(?<=\s))(?:target==?|arch==?(?P<platform>[^\s-]+)-(?P<os>[^\s-]+)-)"
    r"['\"]?(?P<name>[^\s'\"]+)['\"]?"
)
_GROUP_KEYS = ("group", "specs", "matrix", "exclude", "needs", "explicit", "override")


@frozen
class Definition:
    """One entry of ``definitions``.

    Attributes:
        name: The name of the list.
        specs: The list, not expanded.
        when: The condition under which Spack uses the list; empty for always.
    """

    name: str
    specs: tuple[object, ...]
    when: str = ""


@frozen
class Root:
    """A spec of the environment.

    Attributes:
        spec: The spec.
        certain: Whether the environment contains the spec in any case; false if a condition or an ``exclude`` that only
            Spack evaluates decides it.
    """

    spec: str
    certain: bool = True

    @property
    def package(self) -> str:
        """The name of its package; empty for a spec without one, such as ``/hash``."""
        return package_of(self.spec)


@frozen
class SpecList:
    """The expanded list ``specs`` of an environment.

    Attributes:
        roots: The specs.
        groups: The names of groups of specs.
        left: Descriptions of the parts that only Spack can expand.
    """

    roots: tuple[Root, ...] = ()
    groups: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def package_of(spec: str) -> str:
    """Return the name of a spec's package; empty for an anonymous one (``+mpi``, ``target=zen4``)."""
    if spec.lstrip().startswith(("$", "/", "%", "@", "^", "+", "~", "-")):
        return ""
    match = PACKAGE.match(spec)
    return match[1] if match and not spec[match.end() :].startswith(("=", ":=")) else ""


def constraint_of(spec: str) -> str:
    """Return a spec without its package's name: ``1.14: +mpi`` for ``hdf5@1.14: +mpi``."""
    match = PACKAGE.match(spec) if package_of(spec) else None
    return spec[match.end() if match else 0 :].strip().removeprefix("@").removeprefix("=")


def targets_in(spec: str) -> tuple[str, ...]:
    """Return the targets in a spec, from ``target=`` or the end of ``arch=``. ``target=:`` allows all and is ignored."""
    return tuple(name for match in _TARGET.finditer(spec) for name in match["name"].split(",") if name != ":")


def without_target(spec: str) -> str:
    """Return a spec without its targets; empty if the spec has nothing else."""

    def rest(match: re.Match[str]) -> str:
        return f"platform={match['platform']} os={match['os']}" if match["os"] else ""

    return " ".join(_TARGET.sub(rest, spec).split()) if _TARGET.search(spec) else spec


def read_definitions(value: object, where: str) -> tuple[Definition, ...]:
    """Parse the list ``definitions``.

    Raises:
        EnvironmentFileError: The list is malformed.
    """
    found = []
    for item in listed(value, where):
        given = table(item, where)
        names = [name for name in given if name != "when"]
        if len(names) != 1:
            raise EnvironmentFileError(
                f"{where} has an entry with {', '.join(names) or 'no name'}; use one name per entry, with an optional 'when'"
            )
        specs = tuple(listed(given[names[0]], f"{where}.{names[0]}"))
        found.append(Definition(name=plain_key(names[0]), specs=specs, when=text_of(given.get("when"), f"{where}.when")))
    return tuple(found)


def expand_specs(specs: Sequence[object], definitions: Sequence[Definition], where: str) -> SpecList:
    """Expand the list ``specs``.

    `definitions` are those of the manifest and of the files that it includes, highest precedence first.

    Raises:
        EnvironmentFileError: An entry is malformed, a definition refers to itself, or there are more than `MOST_ENTRIES`.
    """
    expansion = _Expansion(definitions, where)
    roots = tuple(expansion.entries(specs))
    return SpecList(roots=roots, groups=tuple(expansion.groups), left=tuple(dict.fromkeys(expansion.left)))


class _Expansion:
    """The state of an expansion: the definitions, and the parts that could not be expanded."""

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
                    f"{self._where} expands to more than {MOST_ENTRIES} entries because of nested definitions; use "
                    "fewer definitions"
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
        """Expand ``$name``, ``$^name`` or ``$%name``; the sign ``^`` or ``%`` is put before each spec of the list."""
        name = item[1:]
        sign = name[:1] if name.startswith(("^", "%")) else ""
        name = name.removeprefix(sign)
        if name in above:
            raise EnvironmentFileError(f"{self._where}: the definition {name!r} refers to itself; remove this reference")
        if name not in self._named:
            self.left.append(f"{item}, which no file here defines")
        for definition in self._named.get(name, ()):
            if definition.when:
                self.left.append(f"{item}, of which one list applies only when {definition.when}")
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
            self.left.append(f"a matrix of {number} specs, from which 'exclude' removes some: {', '.join(excluded)}")
        if number > LIMIT:
            self.left.append(f"a matrix of {number} specs")
            return
        for row in itertools.product(*rows) if rows else ():
            yield Root(spec=" ".join(root.spec for root in row), certain=not excluded and all(root.certain for root in row))


def override_tables(specs: Sequence[object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield each group's name and ``override``: configuration that takes precedence over all others, even the command line.

    Source: ``ConfigScopePriority.ENVIRONMENT_SPEC_GROUPS`` in ``lib/spack/spack/enums.py`` of Spack 1.2.
    """
    for item in specs:
        if isinstance(item, dict):
            override = named(item, "override")
            if isinstance(override, dict) and override:
                yield str(item.get("group") or ""), override


_FLAG = re.compile(r"(?<![\w-])(?:-m(?:arch|cpu)=[\w.+=-]+|-mtune=native|-x(?:Host|HOST))(?![\w-])")
_NOT_FLAGS = ("container", "mirrors", "repos", "include")


def processor_flags(value: object, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield each compiler flag that names a processor, and the key path of the flag, such as ``packages.hdf5.require``."""
    if isinstance(value, str):
        yield from ((match[0], where) for match in _FLAG.finditer(value))
    elif isinstance(value, list):
        for item in value:
            yield from processor_flags(item, where)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if where or str(key).rstrip(":+-") not in _NOT_FLAGS:
                yield from processor_flags(inner, f"{where}.{str(key).rstrip(':+-')}" if where else str(key).rstrip(":+-"))
