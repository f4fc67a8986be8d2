"""The settings of an image before it is rendered, and an image after it was built or pushed."""

from pathlib import Path

from hpcdeploy.frozen import frozen
from hpcdeploy.source import OciConfig, Source


@frozen
class FileCopy:
    """A file or folder of the project (``source``, relative to the project's folder) and its absolute path in the image."""

    source: str
    destination: str


@frozen
class Secret:
    """A secret that a build may read and must not keep: the variable ``env``, or the file ``file``, exactly one of both.

    A step that uses it can read it at ``/run/secrets/NAME``; one from a variable is also that step's variable ``NAME``.
    ``file`` is relative to the project's folder, or begins with ``/`` or ``~/``.
    """

    name: str
    env: str = ""
    file: str = ""


@frozen
class Step:
    """Shell lines that run while the image is built, and the names of the secrets that only these lines may read."""

    run: str
    secrets: tuple[str, ...] = ()


@frozen
class ImageSettings:
    """The settings of one image of the project (``[image]`` or ``[images.NAME]``).

    Attributes:
        name: The image's name.
        source: The source of its content.
        repositories: The repositories that it is pushed to.
        tags: Additional tags, set wherever ``latest`` is.
        base: The base image of the build stage; empty leaves the choice to the source.
        final_base: The base image of the final stage; empty leaves the choice to the source.
        files: Files of the project to copy.
        setup: Steps that run in the final stage with the environment active.
        test: Shell lines of ``%test``.
        command: The default command.
        start: The command of an instance; empty for the default command.
        environment: Variables that the container sets in addition to the activation.
        labels: Labels.
        build_args: Build arguments.
        ports: The ports that the command listens on.
        bind_points: Folders to create so that a site can bind its own there.
        secrets: The secrets that steps may read.
    """

    name: str
    source: Source
    repositories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    base: str = ""
    final_base: str = ""
    files: tuple[FileCopy, ...] = ()
    setup: tuple[Step, ...] = ()
    test: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    build_args: tuple[tuple[str, str], ...] = ()
    ports: tuple[int, ...] = ()
    bind_points: tuple[str, ...] = ()
    secrets: tuple[Secret, ...] = ()


@frozen
class ContextFile:
    """A file that a build needs.

    Attributes:
        source: Its path on this machine.
        staged: Its relative path in the build's folder.
        mode: 0o755 or 0o644.
        sha256: The checksum of its content.
    """

    source: Path
    staged: str
    mode: int
    sha256: str


@frozen
class Definition:
    """The text of a definition file with everything that its build needs.

    Attributes:
        name: The image's name.
        text: The definition.
        files: Files to stage.
        build_args: The build arguments of this build, which override the definition's own ``%arguments``.
        inputs: The sha256 of text, files and build arguments together: equal inputs mean an equal image.
        secrets: The names of the secrets that its steps use.
        base: The base image of its last stage.
        notes: Notes for the user.
        given: The build arguments on the command line; `build_args` may contain some of them.
        asked: Images whose configuration was read from a registry, with that configuration.
    """

    name: str
    text: str
    files: tuple[ContextFile, ...]
    build_args: tuple[tuple[str, str], ...]
    inputs: str
    secrets: tuple[str, ...] = ()
    base: str = ""
    notes: tuple[str, ...] = ()
    given: tuple[tuple[str, str], ...] = ()
    asked: tuple[tuple[str, OciConfig], ...] = ()


@frozen
class BuiltImage:
    """A ``.sif`` that was built.

    Attributes:
        name: The image's name.
        sha256: Its checksum (64 hex digits, no prefix), which is its name in every cache.
        size: Its size in bytes.
        inputs: The sha256 of everything that the build used.
        apptainer: The version of Apptainer.
        created: The time of the build (RFC 3339).
        path: Its path on this machine, or on the cluster `built_on` if it is only in that cluster's cache.
        built_on: The cluster that built it.
        base: Its base image.
        cached_on: The cluster that it was downloaded from and whose cache still has it.
    """

    name: str
    sha256: str
    size: int
    inputs: str
    apptainer: str
    created: str
    path: str = ""
    built_on: str = ""
    base: str = ""
    cached_on: str = ""


@frozen
class PublishedImage:
    """A ``.sif`` in a registry.

    Attributes:
        repository: ``host[:port]/path`` without scheme or tag.
        manifest: The digest of its manifest, which identifies it there (64 hex digits without ``sha256:``).
        sha256: The checksum of the file (the digest of the only layer; 64 hex digits without ``sha256:``).
        size: Its size in bytes.
    """

    repository: str
    manifest: str
    sha256: str
    size: int

    @property
    def reference(self) -> str:
        """Return the immutable address for ``apptainer pull``: ``oras://REPOSITORY@sha256:MANIFEST``."""
        return f"oras://{self.repository}@sha256:{self.manifest}"
