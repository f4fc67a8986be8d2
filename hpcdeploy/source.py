"""Define the sources of images: a locked environment, an existing image, a Dockerfile, or a definition file."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from hpcdeploy.frozen import frozen


@frozen
class User:
    """A user to create in the final image. An empty ``home`` means ``/opt/NAME``."""

    name: str
    uid: int = 1001
    gid: int = 1001
    home: str = ""


@frozen
class PixiSource:
    """A Pixi workspace's locked environment.

    Attributes:
        workspace: The folder of the manifest, relative to the project's folder.
        environment: The name of the environment.
        platform: The name of a platform in the manifest; empty if the platform is chosen automatically.
        cuda: The CUDA version that replaces the workspace's, and by which one of several platforms is chosen. None keeps the
            workspace's version, and an empty text means no CUDA.
        secrets: The names of the secrets that the installation may read.
        files: Further files and folders of the workspace that the build stage needs; None for the files that git tracks in
            the folders of the activation scripts.
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
        environment: The folder of the ``spack.yaml``, relative to the project's folder.
        target: The microarchitecture of all packages. If it is empty, the target in ``spack.yaml`` is used; without one, a
            default is used, and a note tells the user.
        repos: The folders of the project that contain package repositories.
        recipes: Pairs of a package's name and its recipe in the project.
        push_cache: The name of the mirror in ``spack.yaml`` to which compiled packages are pushed; empty for none.
        cc: The C compiler of the final image.
        cxx: The C++ compiler of the final image.
        check: A script of the project that runs before every command in the image; empty for none.
        jobs: The number of processes that compile at the same time; 0 for Spack's default.
        user: The user to create in the final image; None for none.
        secrets: The names of the secrets that the installation may read.
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
    """A definition file that the user wrote.

    Its path, and the paths in its ``%files`` sections, are relative to the project's folder.
    """

    file: str


Source = PixiSource | SpackSource | OciSource | DockerfileSource | DefinitionSource


@frozen
class OciConfig:
    """The configuration of an OCI image (the ``config`` object of the OCI image specification), and its digest.

    ``digest`` is the digest of the manifest for one platform (``sha256:...``; empty for an archive). An empty ``workdir``
    means ``/``. ``ports`` have the form ``80/tcp``. ``health_check`` tells whether the image has a health check.
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
"""Return the configuration of an image in a registry for one processor architecture.

The argument is the reference of the image without a scheme (``HOST/PATH:TAG``).
"""
