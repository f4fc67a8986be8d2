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
        name: The stage's name; empty if it has none.
        bootstrap: The bootstrap agent, such as ``docker``.
        base: The image that the stage starts from.
        copies_from: The names of the stages that this stage copies files from.
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
        where: The path or the reference of the source.
        image: The project's name for the image; empty without a project.
        environment: The name of the Pixi environment.
        platform: The platform of `items`: the platform's name in the manifest; without a manifest, its virtual packages.
        environments: The names of all environments of the lock file, each with its platforms.
        channels: The conda channels of the environment.
        targets: The required processor targets; empty if not set.
        cuda: The required CUDA version; empty if not set.
        glibc: The required glibc version; empty if not set.
        overrides: The variables that pass these requirements to pixi in the build, as ``NAME=VALUE``.
        base: The base image of the build stage; empty if it is not known before the definition is made.
        final_base: The base image of the final stage; empty if it is not known before the definition is made.
        stages: The stages of a definition that the user wrote; empty for other sources.
        arguments: Names and values of the build arguments of that definition.
        items: The packages and files in the image.
        against: The description of the older lock file; empty without a comparison.
        changes: The differences between that lock file and the current one; None without a comparison.
        built: The image's latest recorded build; None if there is none.
        stale: Descriptions of the changes of all inputs since that build; None if there is no build, or if the changes are
            unknown.
        same_image: Other images on record whose latest build has the same key as `built`.
        same_environment: Other images on record whose latest build has the same environment, but another key.
        notes: Messages for the user, such as what the sizes mean.
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
    same_image: tuple[str, ...] = ()
    same_environment: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@frozen
class ImageReport:
    """The content of a ``.sif``.

    Attributes:
        file: The path of the file.
        contents: The content that was read from the file itself.
        record: The record of the image's build; None if there is no record, or if it belongs to another file.
        same_image: Other images on record whose latest build has the same key as `record`.
        same_environment: Other images on record whose latest build has the same environment, but another key.
        notes: Messages for the user.
    """

    file: str
    contents: Contents
    record: BuiltImage | None = None
    same_image: tuple[str, ...] = ()
    same_environment: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@frozen
class PublishedReport:
    """An image in a registry, as the image's manifest describes it. The image was not downloaded."""

    image: PublishedImage
    annotations: Mapping[str, str] = field(default_factory=dict)


Report = SourceReport | ImageReport | PublishedReport
