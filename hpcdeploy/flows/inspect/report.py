"""What an inspection finds, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hpcdeploy.apptainer.contents import Contents
from hpcdeploy.environments.inventory import Changes, Item
from hpcdeploy.image import BuiltImage, PublishedImage


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """One stage of a definition: its name (empty: it has none), agent and base, and the stages it copies from."""

    name: str
    bootstrap: str
    base: str
    copies_from: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SourceReport:
    """What an image will be made from.

    ``source`` is the kind (``pixi``, ``spack``, ``oci``, ``dockerfile``, ``definition``), ``where`` its file, folder or
    address, ``image`` the project's name for it (empty outside of one). ``platform`` is the one that ``items`` are for, by
    the manifest's name; ``environments`` are all that the lock file has, with their platforms. ``cuda``, ``glibc`` and
    ``targets`` are what is wanted of the machine (empty: nothing said), ``overrides`` the variables that tell pixi so in the
    build, as ``NAME=VALUE``. ``base`` and ``final_base`` are the images that the two stages start from (empty: not known
    before the definition is made). ``stages`` and ``arguments`` (names and values) are those of a definition that somebody
    wrote. ``changes`` are those since ``against``; None where there is
    nothing to compare with. ``stale`` tells what changed of all inputs since the image's last build; None where there was
    none, or nobody knows. ``notes`` are what a reader must know to understand the numbers.
    """

    source: str
    where: str
    image: str = ""
    environment: str = ""
    platform: str = ""
    environments: tuple[tuple[str, tuple[str, ...]], ...] = ()
    channels: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    cuda: str = ""
    glibc: str = ""
    overrides: tuple[str, ...] = ()
    base: str = ""
    final_base: str = ""
    stages: tuple[StageReport, ...] = ()
    arguments: tuple[tuple[str, str], ...] = ()
    items: tuple[Item, ...] = ()
    against: str = ""
    changes: Changes | None = None
    built: BuiltImage | None = None
    stale: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImageReport:
    """A ``.sif``: what it says of itself, and its record (None: there is none beside it, or it is of another file)."""

    file: str
    contents: Contents
    record: BuiltImage | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PublishedReport:
    """An image in a registry, as its manifest alone tells."""

    image: PublishedImage
    annotations: Mapping[str, str] = field(default_factory=dict)


Report = SourceReport | ImageReport | PublishedReport
