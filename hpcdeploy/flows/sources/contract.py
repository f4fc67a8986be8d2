"""What the preparation of a definition is asked, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from hpcdeploy.errors import RegistryError
from hpcdeploy.image import ContextFile, ImageSettings
from hpcdeploy.source import ImageConfigOf, OciConfig, Source

S = TypeVar("S", bound=Source)


def no_registry(reference: str) -> OciConfig:
    """Stand where no registry can be asked: raise `RegistryError`."""
    raise RegistryError(f"nothing is known here of the image {reference}; its registry must be asked")


@dataclass(frozen=True, kw_only=True)
class Request(Generic[S]):
    """One image of the project in the folder `project`; ``build_args`` are those given for this build.

    ``named``: the person named the source's file in the command, so it may lie anywhere.
    """

    settings: ImageSettings
    source: S
    project: Path
    build_args: Mapping[str, str]
    image_config: ImageConfigOf
    named: bool = False


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A definition's text, the files that it copies, and the arguments that it knows with their defaults.

    ``secrets`` are the names that its steps ask for, ``notes`` what a person should know: what was chosen for them, and
    what a container will do otherwise than they may expect.
    """

    text: str
    files: tuple[ContextFile, ...]
    arguments: Mapping[str, str]
    secrets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
