"""List and compare the packages of an environment, grouped into families.

A package's family is only a guess from conventions for names.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from hpcdeploy.checked_values import read_json
from hpcdeploy.environments.pixi_lock import Package
from hpcdeploy.environments.spack_lock import read_lock
from hpcdeploy.environments.spack_specs import SpecList, constraint_of, package_of
from hpcdeploy.frozen import frozen

Family = Literal["CUDA", "Python", "PyPI", "R", "libraries", "programs", "source", "files"]

# Names of NVIDIA's redistributable packages, and of MAGMA, on conda-forge and in Spack.
_CUDA = re.compile(
    r"cuda([-_].*|)$|cudnn|cutensor|cusparselt|libcu(blas|dnn|fft|file|rand|solver|sparse|tensor|dss|obj|pti)"
    r"|libnv|libnpp|nccl|nvidia|nvtx|cupti|libcudss|libcufile|libcurand|libmagma|magma"
)
# Build strings of packages for Python (conda-build): "py312hb401068_0", "pyhd8ed1ab_0", "cuda129_mkl_py312_h...".
_PYTHON_BUILD = re.compile(r"(?:^|_)py(?:3\d|h[0-9a-f])")


def conda_family(name: str, url: str) -> Family:
    """Return the family of a conda package by its name and its URL in the lock file."""
    if _CUDA.match(name):
        return "CUDA"
    if name.startswith(("r-", "bioconductor-")):
        return "R"
    if name == "python" or name.startswith(("pytorch", "libtorch", "triton")) or _PYTHON_BUILD.search(_build_string(url)):
        return "Python"
    return library_family(name)


def _build_string(url: str) -> str:
    """Return the BUILD of a package's file name ``NAME-VERSION-BUILD.conda`` (or ``.tar.bz2``); empty for another file."""
    _, hyphen, last = url.rpartition("-")
    stem = last.removesuffix(".conda") if last.endswith(".conda") else last.removesuffix(".tar.bz2")
    return stem if hyphen and stem != last and "/" not in stem else ""


def library_family(name: str) -> Family:
    """Return the family of a package that belongs to no language: CUDA, libraries or programs, by its name."""
    if _CUDA.match(name):
        return "CUDA"
    return "libraries" if name.startswith(("lib", "_")) or name.endswith(("lib", "-libs")) else "programs"


@frozen
class Item:
    """A package, or a file of the project.

    Attributes:
        name: The item's name.
        version: The item's version.
        kind: The item's kind in the lock file (``conda``, ``pypi``, ``source``, ``spack``), or ``file``.
        family: The item's group in charts.
        size: The item's size in bytes; for a package, the size of the download, from the lock file. None if unknown.
        build: Text that differs between two builds of the same version, such as a checksum.
    """

    name: str
    version: str
    kind: str
    family: Family
    size: int | None = None
    build: str = ""


@frozen
class Change:
    """An item whose version or build differs between two lists."""

    before: Item
    after: Item

    @property
    def is_rebuild(self) -> bool:
        """Tell whether only the build differs, not the version."""
        return self.before.version == self.after.version


@frozen
class Changes:
    """The differences between two lists of items.

    Attributes:
        added: The items that are only in the second list, largest first.
        removed: The items that are only in the first list, largest first.
        changed: The items that are in both lists, in different versions or builds.
        size: The sum of the known sizes in the second list minus that in the first list, in bytes.
    """

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
    """Return the differences between two lists. In Spack's lists a name may occur several times, in several versions."""
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
        # Kinds except PyPI's are not compared, because a package from a channel may replace the same package from source.
        found["pypi" if item.kind == "pypi" else "", item.name].append(item)
    return found


def _identity(item: Item) -> tuple[str, str]:
    return item.version, item.build


def _family(package: Package) -> Family:
    if package.kind == "source" or package.is_local:
        return "source"
    return "PyPI" if package.kind == "pypi" else conda_family(package.name, package.url)


def spack_items(text: str, file: str = "spack.lock") -> tuple[Item, ...]:
    """Return the locked packages of a ``spack.lock``, including the system's packages that Spack uses (externals).

    Raises:
        EnvironmentFileError: The lock file is malformed.
    """
    read_lock(text, file)  # rejects a malformed lock file
    nodes = [(key, node) for key, node in read_json(text)["concrete_specs"].items() if isinstance(node, dict)]
    return largest_first(
        Item(
            name=str(node.get("name")),
            version=str(node.get("version") or ""),
            kind="spack",
            family="Python"
            if str(node.get("name")).startswith(("py-", "python"))
            else library_family(str(node.get("name"))),
            build=key,
        )
        for key, node in nodes
    )


def root_items(specs: SpecList) -> tuple[Item, ...]:
    """Return the environment's specs as items, without duplicates.

    In an item, ``version`` is the spec without the package's name, and ``build`` is the complete spec.
    """
    roots = dict.fromkeys(root.spec for root in specs.roots)
    return largest_first(
        Item(
            name=package_of(spec) or spec,
            version=constraint_of(spec) if package_of(spec) else "",
            kind="spack",
            family="programs",
            build=spec,
        )
        for spec in roots
    )
