"""Define the sources of images: a locked environment, an existing image, a Dockerfile, a definition file."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from hpcdeploy.frozen import frozen


@frozen
class User:
    """A user of the final image. An empty ``home`` is ``/opt/NAME``."""

    name: str
    uid: int = 1001
    gid: int = 1001
    home: str = ""


@frozen
class PixiSource:
    """A Pixi workspace's locked environment.

    Attributes:
        workspace: The folder of the manifest, relative to the project's folder.
        environment: The environment.
        platform: The manifest's name of a platform; empty to choose it by other rules.
        cuda: A CUDA version that replaces the workspace's own, and selects among several platforms; None to keep it, empty
            for none.
        secrets: Secrets that the installation may read.
        files: Further files and folders of the workspace for the build stage; None for the tracked files in the folders of
            its activation scripts.
    """

    workspace: str = "."
    environment: str = "default"
    platform: str = ""
    cuda: str | None = None
    secrets: tuple[str, ...] = ()
    files: tuple[str, ...] | None = None


@frozen
class SpackSource:
    """A Spack environment, and the settings of its installation.

    Attributes:
        environment: The folder of its ``spack.yaml``.
        target: The microarchitecture of all packages; empty for that in ``spack.yaml``, or else a default, with a note.
        repos: Folders of the project with package repositories.
        recipes: Single recipes of the project by package name.
        push_cache: The mirror in ``spack.yaml`` to which compiled packages are pushed.
        cc: The C compiler of a final image.
        cxx: The C++ compiler of a final image.
        check: A script of the project that runs before every command.
        jobs: The number of compiling processes; 0 for Spack's default.
        user: The user of the final image.
        secrets: Secrets that the installation may read.
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


@frozen
class OciSource:
    """An existing image: a registry reference, or ``oci-archive:FILE`` or ``docker-archive:FILE`` in the project."""

    reference: str


@frozen
class DockerfileSource:
    """A Dockerfile (``file``), its build context (``context``), and the stage to build (empty: the last).

    Both paths are relative to the project's folder.
    """

    file: str = "Dockerfile"
    context: str = "."
    target: str = ""


@frozen
class DefinitionSource:
    """A definition file that the user wrote, relative to the project's folder, where its ``%files`` start too."""

    file: str


Source = PixiSource | SpackSource | OciSource | DockerfileSource | DefinitionSource


@frozen
class OciConfig:
    """The configuration of an OCI image (the ``config`` object of the OCI image specification), and its digest.

    ``digest`` is that of one platform's manifest (``sha256:...``; empty for an archive). An empty ``workdir`` means ``/``.
    ``ports`` have the form ``80/tcp``; ``health_check`` tells whether there is one.
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
        """Return the fields as values for JSON."""
        return {name: _listed(value) for name, value in asdict(self).items()}

    @staticmethod
    def of(values: Mapping[str, Any]) -> "OciConfig":
        """Return the configuration with these `values`."""
        return OciConfig(**{name: _tupled(value) for name, value in values.items()})


def _listed(value: object) -> object:
    return [_listed(inner) for inner in value] if isinstance(value, tuple | list) else value


def _tupled(value: Any) -> Any:  # noqa: ANN401 - a value of JSON
    return tuple(_tupled(inner) for inner in value) if isinstance(value, list) else value


ImageConfigOf = Callable[[str], OciConfig]
"""Return the configuration of an image ``registry/repository:tag`` (no scheme) for one architecture from its registry."""
