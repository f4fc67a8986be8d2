"""Define the results of an inspection, as plain values."""

from collections.abc import Mapping
from dataclasses import field

from hpcdeploy.apptainer.contents import Contents
from hpcdeploy.environments.inventory import Changes, Item
from hpcdeploy.frozen import frozen
from hpcdeploy.image import BuiltImage, PublishedImage


@frozen
class StageReport:
    """One stage of a definition.

    Attributes:
        name: Its name; empty if it has none.
        bootstrap: Its bootstrap agent.
        base: Its base.
        copies_from: The stages that it copies from.
    """

    name: str
    bootstrap: str
    base: str
    copies_from: tuple[str, ...] = ()


@frozen
class SourceReport:
    """The content of an image before its build.

    Attributes:
        source: The kind of source (``pixi``, ``spack``, ``oci``, ``dockerfile``, ``definition``).
        where: Its file, folder or reference.
        image: The project's name for the image; empty without a project.
        environment: The environment.
        platform: The platform of ``items``, by the manifest's name.
        environments: All environments of the lock file, with their platforms.
        channels: The channels.
        targets: The required processor targets; empty if not set.
        cuda: The required CUDA version; empty if not set.
        glibc: The required glibc version; empty if not set.
        overrides: The variables that pass these requirements to pixi in the build, as ``NAME=VALUE``.
        base: The base image of the build stage; empty if it is not known before the definition is made.
        final_base: The base image of the final stage; empty if it is not known before the definition is made.
        stages: The stages of a definition that the user wrote.
        arguments: Names and values of its build arguments.
        items: The packages and files.
        against: The description of the older lock file.
        changes: The changes since ``against``; None if there is nothing to compare.
        built: The image's latest build.
        stale: The changes of all inputs since that build; None if there is none, or if they are unknown.
        notes: Explanations of the numbers.
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


@frozen
class ImageReport:
    """The content of a ``.sif``.

    Attributes:
        file: Its path.
        contents: The content of the file itself.
        record: Its record; None if there is none, or if it belongs to another file.
        notes: Messages for the user.
    """

    file: str
    contents: Contents
    record: BuiltImage | None = None
    notes: tuple[str, ...] = ()


@frozen
class PublishedReport:
    """An image in a registry, described by its manifest alone."""

    image: PublishedImage
    annotations: Mapping[str, str] = field(default_factory=dict)


Report = SourceReport | ImageReport | PublishedReport
