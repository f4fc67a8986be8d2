"""Define an image in each of its states: its settings, its definition, the built file, and the published file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from hpcdeploy.architecture import AMD64, Architecture
from hpcdeploy.frozen import frozen
from hpcdeploy.source import OciConfig, Source

EPOCH = 315_532_800
"""The time of all files of an image, unless SOURCE_DATE_EPOCH is set: 1980-01-01 00:00 UTC, in seconds since 1970.

Earlier times cannot be written into a zip file, such as a Python wheel that a build makes.
"""

CompressionName = Literal["zstd", "gzip"]


@frozen
class Compression:
    """The compression of an image's squashfs file system.

    Attributes:
        name: The compressor.
        level: The level of the compressor.
        block: The size of a block in bytes.
    """

    name: CompressionName
    level: int
    block: int = 131_072

    @property
    def options(self) -> tuple[str, ...]:
        """The options of mksquashfs.

        The level is always given with the compressor, because mksquashfs and Apptainer have different default levels, and
        Apptainer passes a level for gzip that other compressors refuse.
        """
        return ("-comp", self.name, "-Xcompression-level", str(self.level), "-b", str(self.block))


ZSTD, GZIP = Compression(name="zstd", level=3), Compression(name="gzip", level=1)

COMPRESSIONS: Mapping[CompressionName, Compression] = {"zstd": ZSTD, "gzip": GZIP}
"""The compression by the value of the setting ``compression``.

zstd at level 3 makes smaller images than gzip at level 1, in half the time, and reads faster. A kernel that mounts an image
needs CONFIG_SQUASHFS_ZSTD for it (Linux 4.14; not in the kernels of some old systems).
"""


@frozen
class FileCopy:
    """A file or folder to copy into the image.

    Attributes:
        source: The path relative to the project's folder.
        destination: The absolute path in the image.
    """

    source: str
    destination: str


@frozen
class Secret:
    """A secret that steps of a build may read. The image must not contain it.

    Exactly one of ``env`` and ``file`` is set. A step that uses the secret can read its value from the file
    ``/run/secrets/NAME``. If ``env`` is set, the step also gets the value as the environment variable ``NAME``.

    Attributes:
        name: The NAME of the secret.
        env: The environment variable of this machine that contains the value; empty for none.
        file: The file on this machine that contains the value, relative to the project's folder or beginning with ``/`` or
            ``~/``; empty for none.
    """

    name: str
    env: str = ""
    file: str = ""


@frozen
class Step:
    """A step of a build.

    Attributes:
        run: The shell lines of the step.
        secrets: The names of the secrets that these lines may read. Other lines cannot read them.
    """

    run: str
    secrets: tuple[str, ...] = ()


@frozen
class ImageSettings:
    """The settings of one image of the project (``[image]`` or ``[images.NAME]``).

    Attributes:
        name: The NAME of ``[images.NAME]``; a fixed name for ``[image]``.
        source: Source of the image, such as a Pixi environment or a Dockerfile.
        repositories: The repositories to which the image is pushed, as ``HOST/PATH``.
        tags: Additional tags, which are set whenever the tag ``latest`` is set.
        base: The base image of the build stage; if empty, the source determines it.
        final_base: The base image of the final stage; if empty, the source determines it.
        files: Files and folders of the project that are copied into the image.
        setup: Steps that run in the final stage, in the activated environment.
        test: Shell lines of ``%test``.
        command: The program and arguments that ``apptainer run`` runs; empty for the default of the source.
        start: The program and arguments of an instance; empty for `command`.
        environment: Names and values of variables that are set in the container after the activation of the environment.
        labels: Names and values of the image's labels.
        build_args: Names and values of build arguments.
        ports: The network ports on which the command listens.
        bind_points: Absolute paths of empty folders to create in the image, at which a site can mount its own folders.
        secrets: The secrets that steps may read.
        platform: The architecture of the image; None if it is not set.
        compression: The compressor of the image's file system.
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
    platform: Architecture | None = None
    compression: CompressionName = "zstd"

    @property
    def architecture(self) -> Architecture:
        """The architecture for which environments and base images are chosen."""
        return self.platform or AMD64


@frozen
class ContextFile:
    """A file that a build needs.

    Attributes:
        source: The path of the file on this machine.
        staged: The path of its copy, relative to the build's folder.
        mode: The permissions of its copy: 0o755 for an executable file, else 0o644.
        sha256: The checksum of its content (64 hex digits).
    """

    source: Path
    staged: str
    mode: int
    sha256: str


@frozen
class CodePlace:
    """A file or folder of the project's code in an image.

    Attributes:
        staged: The path of the file or folder in the build's folder.
        destination: The absolute path in the image.
    """

    staged: str
    destination: str


@frozen
class Definition:
    """A definition file, and all other values that its build needs.

    Attributes:
        name: The name of the image.
        text: The text of the definition file.
        files: The files that are copied to the build's folder.
        build_args: Names and values of the build arguments. They override ``%arguments`` in the definition.
        inputs: The key of the image (64 hex digits). An image with the same inputs is not built again. Before the digests of
            the base images are known, this is the sha256 of the text, the files and the build arguments together, which
            releases without keys recorded (`former`).
        secrets: The names of the secrets that the steps use.
        base: The base image of the last stage.
        notes: Messages for the user that are no errors.
        given: Names and values of the build arguments on the command line. Some of them may also be in `build_args`.
        asked: The references of the images whose configuration was read from a registry, each with the configuration.
        code: The project's code (the setting ``files``). Its files are also in `files`.
        why_baked: The reason why the code must be copied while the image is built; empty if it can be appended to an image
            that was built without it.
        environment: The key of the environment (64 hex digits); empty before the digests of the base images are known.
        former: The `inputs` that releases without keys recorded; empty if `inputs` is that value.
        bases: The references of the base images, each with its digest.
        architecture: The architecture that the building machine must have; None if any will do.
        key_architecture: The architecture in the key, such as ``amd64``: `architecture`, or that of the building machine;
            empty without a key.
        epoch: The time of all files of the image, in seconds since 1970.
        compression: The compression of the image's file system.
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
    code: tuple[CodePlace, ...] = ()
    why_baked: str = ""
    environment: str = ""
    former: str = ""
    bases: tuple[tuple[str, str], ...] = ()
    architecture: Architecture | None = None
    key_architecture: str = ""
    epoch: int = EPOCH
    compression: Compression = ZSTD


@frozen
class Toolchain:
    """What built an image.

    Attributes:
        builder: The builder: ``apptainer`` or ``direct``.
        program: The name and version of the program that built the image, such as ``apptainer version 1.4.5``.
        tools: Names and versions of further tools.
    """

    builder: str
    program: str
    tools: tuple[tuple[str, str], ...] = ()


@frozen
class BuiltImage:
    """A ``.sif`` that was built.

    Attributes:
        name: The name of the image in the settings.
        sha256: The checksum of the file (64 hex digits, no prefix). The file has this name in every image cache.
        size: The size of the file in bytes.
        inputs: The key of the image (`Definition.inputs`).
        apptainer: The program that built the image, and its version, such as ``apptainer 1.4.5``.
        created: The time of the build (RFC 3339).
        path: The path of the file on this machine; if the file is only in the image cache of the cluster `built_on`, its
            path on that cluster.
        built_on: The name of the cluster that built the image; empty if this machine built it.
        base: The base image of the last stage.
        cached_on: The name of the cluster from which the file was downloaded, and whose image cache still has it; empty if
            there is none.
        architecture: The processor architecture in the header of the image, such as ``arm64``; empty if unknown.
        environment: The key of the environment (64 hex digits); empty for an image that was built without keys.
        builder: The builder, such as ``apptainer``; empty for an image of a release that did not record it.
        tools: Names and versions of the tools that built the image, in addition to `apptainer`. They are in no key: images
            with equal keys have equal content, and equal bytes if the tools are equal too.
        untested: The image has a ``%test`` that did not run where it was built. It runs on a cluster before the first job.
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
    architecture: str = ""
    environment: str = ""
    builder: str = ""
    tools: tuple[tuple[str, str], ...] = ()
    untested: bool = False


@frozen
class PublishedImage:
    """A ``.sif`` in a registry.

    Attributes:
        repository: The repository as ``HOST[:PORT]/PATH``, without scheme or tag.
        manifest: The sha256 of the manifest, which identifies the image in the registry (64 hex digits).
        sha256: The sha256 of the ``.sif``, which is the only layer of the manifest (64 hex digits).
        size: The size of the ``.sif`` in bytes.
    """

    repository: str
    manifest: str
    sha256: str
    size: int

    @property
    def reference(self) -> str:
        """Return the immutable address for ``apptainer pull``: ``oras://REPOSITORY@sha256:MANIFEST``."""
        return f"oras://{self.repository}@sha256:{self.manifest}"
