"""Define the request to prepare a definition, and the prepared definition."""

from collections.abc import Mapping
from pathlib import Path
from typing import Generic, TypeVar

from hpcdeploy.errors import RegistryError
from hpcdeploy.frozen import frozen
from hpcdeploy.image import ContextFile, ImageSettings
from hpcdeploy.source import ImageConfigOf, OciConfig, Source

S = TypeVar("S", bound=Source)


def no_registry(reference: str) -> OciConfig:
    """Raise `RegistryError`. Used as `image_config` if no registry may be queried."""
    raise RegistryError(
        f"the configuration of {reference} is not known, and this command queries no registry; run 'hpcdeploy build'"
    )


@frozen
class Request(Generic[S]):
    """A request to prepare one image of the project.

    Attributes:
        settings: The image's settings.
        source: The part of the settings that describes the source of the image.
        project: The project's folder.
        build_args: The build arguments of this build, by name.
        image_config: A function that returns the configuration of an image in a registry.
        named: Whether the user named the source's file in the command, so that the file may be outside the project.
    """

    settings: ImageSettings
    source: S
    project: Path
    build_args: Mapping[str, str]
    image_config: ImageConfigOf
    named: bool = False


@frozen
class Prepared:
    """A prepared definition.

    Attributes:
        text: The text of the definition.
        files: The files that the definition copies into the image.
        arguments: The default values of the definition's build arguments, by name.
        secrets: The names of the secrets that the definition's steps use.
        notes: Messages for the user: choices that were made, and unexpected behaviour of the container.
    """

    text: str
    files: tuple[ContextFile, ...]
    arguments: Mapping[str, str]
    secrets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
