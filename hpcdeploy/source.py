"""Where an image comes from: a locked environment, an image that exists, a Dockerfile, a definition file."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class User:
    """A user of the final image. An empty ``home`` is ``/opt/NAME``."""

    name: str
    uid: int = 1001
    gid: int = 1001
    home: str = ""


@dataclass(frozen=True, kw_only=True)
class PixiSource:
    """A Pixi workspace's locked environment.

    ``workspace`` is the folder of the manifest, relative to the project's folder. ``cuda`` overrides the CUDA version that
    the workspace itself asks for (None: what the workspace says; empty: none, though it says one), and chooses among
    several platforms. ``platform`` is the manifest's name of one of them (empty: not chosen by name). ``secrets`` are those
    that the installation may read. ``files`` are files and folders of the workspace, relative to it, that the build stage
    needs besides (None: the tracked files in the folders of its activation scripts).
    """

    workspace: str = "."
    environment: str = "default"
    platform: str = ""
    cuda: str | None = None
    secrets: tuple[str, ...] = ()
    files: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class SpackSource:
    """A Spack environment: the folder of its ``spack.yaml``, and how it is installed.

    ``target`` is the microarchitecture that everything is compiled for (empty: what ``spack.yaml`` requires, else a
    default that is said aloud). ``repos`` are folders with package repositories, ``recipes`` single recipes by package
    name, both of the project. ``push_cache`` names the mirror of ``spack.yaml`` that gets what was compiled. ``cc`` and
    ``cxx`` are a final image's own compilers, ``check`` is a script of the project that runs before every command.
    ``jobs`` is the number of processes that compile (0: Spack decides).
    """

    environment: str = "."
    target: str = ""
    repos: tuple[str, ...] = ()
    recipes: tuple[tuple[str, str], ...] = ()
    push_cache: str = ""
    cc: str = ""
    cxx: str = ""
    check: str = ""
    jobs: int = 0
    user: User | None = None
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OciSource:
    """An image that exists: a reference in a registry, or ``oci-archive:FILE`` or ``docker-archive:FILE`` of the project."""

    reference: str


@dataclass(frozen=True, kw_only=True)
class DockerfileSource:
    """A Dockerfile (``file``), the folder that its ``COPY`` reads (``context``), and the stage to build (empty: the last).

    Both paths are relative to the project's folder.
    """

    file: str = "Dockerfile"
    context: str = "."
    target: str = ""


@dataclass(frozen=True, kw_only=True)
class DefinitionSource:
    """A definition file that somebody wrote, relative to the project's folder; its ``%files`` begin at that folder."""

    file: str


Source = PixiSource | SpackSource | OciSource | DockerfileSource | DefinitionSource


@dataclass(frozen=True, kw_only=True)
class OciConfig:
    """What an OCI image says of itself (the ``config`` object of the OCI image specification), and its digest.

    ``digest`` is that of one platform's manifest (``sha256:...``; empty for an archive). An empty ``workdir`` is ``/``.
    ``ports`` are as in ``80/tcp``, ``health_check`` tells whether there is one.
    """

    digest: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    env: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    ports: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()
    shell: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    health_check: bool = False

    def values(self) -> dict[str, object]:
        """Return the fields as JSON has them."""
        return {name: _listed(value) for name, value in asdict(self).items()}

    @staticmethod
    def of(values: Mapping[str, Any]) -> "OciConfig":
        """Return the configuration whose `values` these are."""
        return OciConfig(**{name: _tupled(value) for name, value in values.items()})


def _listed(value: object) -> object:
    return [_listed(inner) for inner in value] if isinstance(value, tuple | list) else value


def _tupled(value: Any) -> Any:  # noqa: ANN401 - a value of JSON
    return tuple(_tupled(inner) for inner in value) if isinstance(value, list) else value


ImageConfigOf = Callable[[str], OciConfig]
"""Asks a registry what an image says of itself: ``registry/repository:tag`` (no scheme) for linux/amd64."""
