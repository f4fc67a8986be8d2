"""What an image is to hold, before it is text; and what an image is, once it was built or pushed."""

from dataclasses import dataclass
from pathlib import Path

from hpcdeploy.source import OciConfig, Source


@dataclass(frozen=True, kw_only=True)
class FileCopy:
    """A file or folder of the project (``source``, relative to the project's folder) and its absolute place in the image."""

    source: str
    destination: str


@dataclass(frozen=True, kw_only=True)
class Secret:
    """Something that a build may read and must not keep: the variable ``env``, or the file ``file``, one of both.

    A step that asks for it finds it at ``/run/secrets/NAME``; one out of a variable is that step's variable ``NAME`` too.
    ``file`` is relative to the project's folder, or begins with ``/`` or ``~/``.
    """

    name: str
    env: str = ""
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Shell lines that run while the image is built, and the names of the secrets that they, and only they, may read."""

    run: str
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """One image of the project, as its settings say it (``[image]`` or ``[images.NAME]``).

    ``tags`` are given wherever ``latest`` is. ``base`` is the image that the build stage starts from, ``final_base`` the
    final one; empty leaves the choice to the source. ``setup`` runs in the final stage with the environment active,
    ``test`` are shell lines of ``%test``; ``command`` is what runs when nobody says what to run, ``start`` what an instance
    runs (empty: the command). ``environment`` are variables that the container sets besides the activation. ``ports`` are
    those that the command listens on; ``bind_points`` are folders that are made so that a site can bind something there.
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


@dataclass(frozen=True, kw_only=True)
class ContextFile:
    """A file that a build needs: where it lies (``source``), and its place in the build's folder (``staged``, relative).

    ``mode`` is 0o755 or 0o644, ``sha256`` that of its content.
    """

    source: Path
    staged: str
    mode: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A definition file's text with everything that a build of it needs.

    ``build_args`` are those given for this build, over the definition's own ``%arguments``. ``inputs`` is the sha256 of
    text, files and build arguments together: the same inputs, the same image. ``secrets`` are the names of those that its
    steps ask for, ``base`` is the image that its last stage starts from, ``notes`` are what a person should know of it.
    ``given`` are the build arguments of the command, of which ``build_args`` may be some; ``asked`` are the images that
    registries were asked about, with their answers.
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


@dataclass(frozen=True, kw_only=True)
class BuiltImage:
    """A ``.sif`` that was built: its sha256 (64 hex digits, no prefix) is its name in every cache.

    ``path`` is where it lies here, or, where it only lies in the cache of the cluster ``built_on``, where it lies there. One
    that was fetched from there lies in the cache of ``cached_on`` still. ``inputs`` is the sha256 of everything that went
    in; ``size`` is in bytes, ``created`` an RFC 3339 time; ``base`` is the image under it.
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


@dataclass(frozen=True, kw_only=True)
class PublishedImage:
    """A ``.sif`` in a registry: ``manifest`` pins it there, ``sha256`` is the file's own (the one layer's digest).

    ``repository`` is ``host[:port]/path`` without scheme or tag; both digests are 64 hex digits without ``sha256:``.
    """

    repository: str
    manifest: str
    sha256: str
    size: int

    @property
    def reference(self) -> str:
        """The address that ``apptainer pull`` takes and that nobody can move: ``oras://REPOSITORY@sha256:MANIFEST``."""
        return f"oras://{self.repository}@sha256:{self.manifest}"
