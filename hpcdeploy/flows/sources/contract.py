"""Define the request for the preparation of a definition, and its result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Generic, TypeVar

from hpcdeploy.errors import RegistryError
from hpcdeploy.frozen import frozen
from hpcdeploy.image import ContextFile, ImageSettings
from hpcdeploy.source import ImageConfigOf, OciConfig, Source

S = TypeVar("S", bound=Source)


def no_registry(reference: str) -> OciConfig:
    """Raise `RegistryError`; used if no registry may be queried."""
    raise RegistryError(f"the configuration of {reference} is not known; query its registry")


@frozen
class Request(Generic[S]):
    """A request to prepare one image of the project.

    Attributes:
        settings: The image's settings.
        source: The source.
        project: The project's folder.
        build_args: The build arguments of this build.
        image_config: Queries a registry.
        named: The user named the source's file in the command, so it may be outside the project.
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
        text: Its text.
        files: The files that it copies.
        arguments: Its build arguments with their defaults.
        secrets: The names of the secrets that its steps use.
        notes: Messages for the user: choices that were made, and unexpected behaviour of the container.
    """

    text: str
    files: tuple[ContextFile, ...]
    arguments: Mapping[str, str]
    secrets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
