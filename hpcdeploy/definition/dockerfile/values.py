"""The result of translating a Dockerfile, before it becomes a definition."""

from dataclasses import dataclass

from hpcdeploy.definition.dockerfile.copying import StagedFile, Taken


@dataclass(frozen=True, kw_only=True)
class Start:
    """The program that runs when a container starts, as Docker stores it: entry point, command, working folder."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    workdir: str = "/"


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """One stage of the definition.

    Attributes:
        name: Its name.
        base: The reference of its base image.
        arguments: Build arguments and their defaults.
        shell: The pieces of ``%post``; the lines of one piece belong together.
        files: Staged files of the context.
        taken: Copies from earlier stages, with the names of these stages.
        given: Patterns that later stages copy from this one.
        environment: The variables of the base image, and those that the Dockerfile sets.
        labels: The labels that the Dockerfile sets.
        start: The program that runs when a container starts.
        temporary: `shell` mounts private folders over ``/tmp`` and ``/var/tmp``.
        emptied: `shell` provides empty folders to a RUN.
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
    """All stages in order (the last is the image), the known arguments with their values, and notes for the user."""

    stages: tuple[PlannedStage, ...]
    known: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
