"""What a translated Dockerfile is, before it is a definition's text."""

from dataclasses import dataclass

from hpcdeploy.definition.dockerfile.copying import StagedFile, Taken


@dataclass(frozen=True, kw_only=True)
class Start:
    """What runs when a container starts, as Docker keeps it: entry point, command, working folder."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    workdir: str = "/"


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """One stage of the definition.

    ``shell`` are the pieces of ``%post``, each some lines that belong together. ``taken`` are copies from earlier stages
    with their names, ``given`` the patterns that later stages take from this one. ``environment`` is that of the
    image under it with what the Dockerfile sets, ``labels`` only the latter. ``temporary`` tells whether ``shell`` mounts
    folders of its own over ``/tmp`` and ``/var/tmp``, ``emptied`` whether it gives a RUN empty folders.
    """

    name: str
    base: str
    arguments: tuple[tuple[str, str], ...] = ()
    shell: tuple[tuple[str, ...], ...] = ()
    files: tuple[StagedFile, ...] = ()
    taken: tuple[tuple[str, Taken], ...] = ()
    given: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    start: Start = Start()
    temporary: bool = False
    emptied: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All stages in order, the last is the image; the known arguments and their values; what a person should know of it."""

    stages: tuple[PlannedStage, ...]
    known: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
