"""What an image will hold, item by item, with what is known of its size; and what changed between two such lists."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hpcdeploy.environments.families import Family, conda_family
from hpcdeploy.environments.pixi_lock import Package


@dataclass(frozen=True, kw_only=True)
class Item:
    """A package, or a file of the project.

    ``kind`` is the lock file's word for it (``conda``, ``pypi``, ``source``, ``spack``) or ``file``; ``size`` is in bytes as
    the lock file says it, which for packages is what is downloaded (None: it does not say). ``build`` tells two builds
    of a version apart.
    """

    name: str
    version: str
    kind: str
    family: Family
    size: int | None = None
    build: str = ""


@dataclass(frozen=True, kw_only=True)
class Change:
    """An item that is there before and after, in another version or build."""

    before: Item
    after: Item

    @property
    def is_rebuild(self) -> bool:
        """Whether the version is the same, and only the build is another."""
        return self.before.version == self.after.version


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What came, went and changed; ``size`` is the difference of the known sizes, in bytes."""

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
    """Sort by size, those of unknown size last, and by name where that is equal."""
    return tuple(sorted(items, key=lambda item: (item.size is None, -(item.size or 0), item.name, item.version, item.build)))


def known_size(items: Iterable[Item]) -> int:
    """Add up the sizes that are known, in bytes."""
    return sum(item.size or 0 for item in items)


def unknown_sizes(items: Iterable[Item]) -> int:
    """Count the items whose size nobody says."""
    return sum(item.size is None for item in items)


def compare(before: Sequence[Item], after: Sequence[Item]) -> Changes:
    """Tell what changed; one name may be there several times, in several versions (Spack)."""
    old, new = _by_name(before), _by_name(after)
    added: list[Item] = []
    removed: list[Item] = []
    changed: list[Change] = []
    for key in sorted(old.keys() | new.keys()):
        same = {_identity(item) for item in old[key]} & {_identity(item) for item in new[key]}
        gone = [item for item in old[key] if _identity(item) not in same]
        come = [item for item in new[key] if _identity(item) not in same]
        pairs = min(len(gone), len(come))
        changed += (Change(before=one, after=other) for one, other in zip(gone[:pairs], come[:pairs], strict=True))
        removed += gone[pairs:]
        added += come[pairs:]
    return Changes(
        added=largest_first(added),
        removed=largest_first(removed),
        changed=tuple(changed),
        size=known_size(after) - known_size(before),
    )


def _by_name(items: Iterable[Item]) -> defaultdict[tuple[str, str], list[Item]]:
    found: defaultdict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in items:
        # What is built from source today may come from its channel tomorrow: the same package.
        found["pypi" if item.kind == "pypi" else "", item.name].append(item)
    return found


def _identity(item: Item) -> tuple[str, str]:
    return item.version, item.build


def _family(package: Package) -> Family:
    if package.kind == "source" or package.is_local:
        return "source"
    return "PyPI" if package.kind == "pypi" else conda_family(package.name, package.url)
