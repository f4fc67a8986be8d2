"""List the content of an image with known sizes, and compare two such lists."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hpcdeploy.environments.families import Family, conda_family
from hpcdeploy.environments.pixi_lock import Package


@dataclass(frozen=True, kw_only=True)
class Item:
    """A package, or a file of the project.

    Attributes:
        name: Its name.
        version: Its version.
        kind: Its kind in the lock file (``conda``, ``pypi``, ``source``, ``spack``), or ``file``.
        family: Its group in charts.
        size: Its size in bytes by the lock file, which for packages is that of the download; None if unknown.
        build: Distinguishes two builds of a version.
    """

    name: str
    version: str
    kind: str
    family: Family
    size: int | None = None
    build: str = ""


@dataclass(frozen=True, kw_only=True)
class Change:
    """An item that is present before and after, in another version or build."""

    before: Item
    after: Item

    @property
    def is_rebuild(self) -> bool:
        """Tell whether only the build differs, not the version."""
        return self.before.version == self.after.version


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Added, removed and changed items; ``size`` is the difference of the known sizes in bytes."""

    added: tuple[Item, ...]
    removed: tuple[Item, ...]
    changed: tuple[Change, ...]
    size: int


def items_of(packages: Iterable[Package]) -> tuple[Item, ...]:
    """Return the packages of a Pixi lock file as items, largest first."""
    return largest_first(
        Item(
            name=package.name,
            version=package.version,
            kind=package.kind,
            family=_family(package),
            size=package.size or None,
            build=package.sha256 or package.url,
        )
        for package in packages
    )


def largest_first(items: Iterable[Item]) -> tuple[Item, ...]:
    """Sort by size, unknown sizes last, and equal sizes by name."""
    return tuple(sorted(items, key=lambda item: (item.size is None, -(item.size or 0), item.name, item.version, item.build)))


def known_size(items: Iterable[Item]) -> int:
    """Return the sum of the known sizes in bytes."""
    return sum(item.size or 0 for item in items)


def unknown_sizes(items: Iterable[Item]) -> int:
    """Return the number of items of unknown size."""
    return sum(item.size is None for item in items)


def compare(before: Sequence[Item], after: Sequence[Item]) -> Changes:
    """Return the differences; a name may occur several times, in several versions (Spack)."""
    old, new = _by_name(before), _by_name(after)
    added: list[Item] = []
    removed: list[Item] = []
    changed: list[Change] = []
    for key in sorted(old.keys() | new.keys()):
        same = {_identity(item) for item in old[key]} & {_identity(item) for item in new[key]}
        old_items = [item for item in old[key] if _identity(item) not in same]
        new_items = [item for item in new[key] if _identity(item) not in same]
        pairs = min(len(old_items), len(new_items))
        changed += (Change(before=one, after=other) for one, other in zip(old_items[:pairs], new_items[:pairs], strict=True))
        removed += old_items[pairs:]
        added += new_items[pairs:]
    return Changes(
        added=largest_first(added),
        removed=largest_first(removed),
        changed=tuple(changed),
        size=known_size(after) - known_size(before),
    )


def _by_name(items: Iterable[Item]) -> defaultdict[tuple[str, str], list[Item]]:
    found: defaultdict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in items:
        # A package that is built from source now may later come from its channel: it is the same package.
        found["pypi" if item.kind == "pypi" else "", item.name].append(item)
    return found


def _identity(item: Item) -> tuple[str, str]:
    return item.version, item.build


def _family(package: Package) -> Family:
    if package.kind == "source" or package.is_local:
        return "source"
    return "PyPI" if package.kind == "pypi" else conda_family(package.name, package.url)
