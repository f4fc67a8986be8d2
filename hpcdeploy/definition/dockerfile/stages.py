"""Split a Dockerfile into stages, and define the result of its translation, before that becomes a definition."""

from collections.abc import Mapping

from hpcdeploy.architecture import AMD64, ARCHITECTURES, Architecture
from hpcdeploy.definition.dockerfile.copying import StagedFile, Taken
from hpcdeploy.definition.dockerfile.parsing import Dockerfile, Instruction, listed
from hpcdeploy.definition.dockerfile.words import Lexer, Lookup, split_words
from hpcdeploy.errors import DefinitionError
from hpcdeploy.frozen import frozen


@frozen
class Start:
    """The program that runs when a container starts, as Docker stores it: entry point, command, working folder."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    workdir: str = "/"


@frozen
class PlannedStage:
    """One stage of the definition.

    Attributes:
        name: The stage's name.
        base: The reference of the stage's base image.
        arguments: Build arguments and their defaults.
        shell: The pieces of ``%post``; the lines of one piece belong together.
        files: Staged files of the context.
        taken: Paths to copy from other stages, each with the name of the other stage in the definition.
        given: Paths and patterns that other stages copy from this stage, and that this stage must gather
            (`Taken.gathered`).
        environment: The variables of the base image, and those that the Dockerfile sets.
        labels: The labels that the Dockerfile sets.
        start: The program that runs when a container starts.
        temporary: Whether `shell` mounts private folders over ``/tmp`` and ``/var/tmp``.
        emptied: Whether `shell` uses the shell functions for mounts of a RUN.
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


@frozen
class Plan:
    """The definition that a Dockerfile becomes.

    Attributes:
        stages: The stages in order; the last one is the image.
        known: The arguments that the file declares or uses, with their values.
        notes: Notes for the user.
    """

    stages: tuple[PlannedStage, ...]
    known: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def _platforms(architecture: Architecture) -> frozenset[str]:
    """Return the values of ``--platform`` that mean an architecture; a variant that all processors can run is allowed."""
    names = {architecture.name, architecture.platform, f"linux/{architecture.machine}"}
    return frozenset({*names, *(f"{architecture.platform}/{variant}" for variant in architecture.variants if variant)})


def automatic_arguments(architecture: Architecture) -> Mapping[str, str]:
    """Return the arguments that BuildKit sets automatically if a stage declares them.

    The variant is empty, also for arm64: BuildKit leaves out ``v8`` (``Normalize`` in containerd/platforms).
    """
    values = {"OS": "linux", "ARCH": architecture.name, "PLATFORM": architecture.platform, "VARIANT": ""}
    return {f"{side}{name}": value for side in ("TARGET", "BUILD") for name, value in values.items()}


_SCRATCH = (
    "starts from 'scratch': the image has no /bin/sh, which %post, %test and every job require. "
    'Start from a small image, such as busybox, or build the stage that this one copies from (target = "NAME")'
)


@frozen
class Stage:
    """One stage.

    Attributes:
        number: The stage's position in the file, from 0.
        name: The stage's name; empty for none.
        start: The stage's FROM instruction.
        instructions: The instructions after FROM.
        base: The reference of the image that this stage starts from; empty if this stage continues the stage `parent`.
        parent: The number of the stage that this stage continues; None if this stage starts from an image.
        arguments: The names of the global arguments that FROM uses.
        refusal: The reason why the stage cannot be built; empty if it can be built. The reason is an error only if the
            target needs the stage.
    """

    number: int
    name: str
    start: Instruction
    instructions: tuple[Instruction, ...]
    base: str = ""
    parent: int | None = None
    arguments: tuple[str, ...] = ()
    refusal: str = ""


@frozen
class Stages:
    """The stages of a Dockerfile.

    Attributes:
        stages: The stages in the order of the file.
        arguments: The values of the global arguments, which precede the first FROM; None for an argument without a value.
        automatic: The arguments that BuildKit sets automatically (`automatic_arguments`).
    """

    stages: tuple[Stage, ...]
    arguments: Mapping[str, str | None]
    automatic: Mapping[str, str]

    def find(self, name: str, before: int) -> Stage | None:
        """Return the stage that ``--from=NAME`` in stage number `before` means, by name (ignoring case) or by number.

        Only stages before that stage are searched. None is returned if none of them fits.
        """
        for stage in reversed(self.stages[:before]):
            if stage.name and stage.name == name.lower():
                return stage
        if name.isdecimal() and int(name) < before:
            return self.stages[int(name)]
        return None

    def names(self, before: int) -> str:
        """Return the names of the stages before stage number `before`, for a message."""
        return ", ".join(stage.name or str(stage.number) for stage in self.stages[:before]) or "none"

    def target(self, name: str) -> Stage:
        """Return the stage to build; an empty name means the last one.

        Raises:
            DefinitionError: The Dockerfile has no stage of that name or number.
        """
        if not name:
            return self.stages[-1]
        found = self.find(name, len(self.stages))
        if not found:
            named = ", ".join(stage.name for stage in self.stages if stage.name)
            raise DefinitionError(f"there is no stage {name!r} to build; named stages: {named or 'none'}")
        return found

    def ancestry_of(self, stage: Stage) -> tuple[Stage, ...]:
        """Return `stage` and all stages that it continues, from the oldest ancestor to `stage` itself."""
        ancestry = [stage]
        while ancestry[-1].parent is not None:
            ancestry.append(self.stages[ancestry[-1].parent])
        return tuple(reversed(ancestry))


def read_stages(dockerfile: Dockerfile, given: Mapping[str, str], target: str, architecture: Architecture = AMD64) -> Stages:
    """Split a Dockerfile into its stages.

    Args:
        dockerfile: The parsed file.
        given: The build arguments of this build.
        target: The name of the stage to build; empty for the last one.
        architecture: The architecture of the image.

    Raises:
        DefinitionError: Docker would reject the file.
    """
    arguments: dict[str, str | None] = {}
    own = automatic_arguments(architecture)
    automatic = {**own, "TARGETSTAGE": target or "default"}

    def lookup(name: str) -> str | None:
        return arguments[name] if name in arguments else automatic.get(name)

    heads: list[tuple[Instruction, list[Instruction]]] = []
    for instruction in dockerfile.instructions:
        if instruction.name == "FROM":
            heads.append((instruction, []))
        elif heads:
            heads[-1][1].append(instruction)
        elif instruction.name == "ARG":
            for name, value in argument_words(instruction, dockerfile.escape, lookup):
                arguments[name] = given.get(name, value)
        else:
            raise instruction.refused("comes before the first FROM, where only ARG is allowed")
    if not heads:
        raise DefinitionError("the Dockerfile has no FROM; add one")
    stages: list[Stage] = []
    for start, instructions in heads:
        stages.append(_stage(start, tuple(instructions), stages, dockerfile.escape, lookup, architecture))
    return Stages(stages=tuple(stages), arguments=arguments, automatic=own)


def argument_words(instruction: Instruction, escape: str, lookup: Lookup) -> list[tuple[str, str | None]]:
    """Parse ``ARG NAME[=VALUE] ...``. Variables in names and values are expanded with `lookup`.

    Raises:
        DefinitionError: An argument has no name.
    """
    found: list[tuple[str, str | None]] = []
    lexer = Lexer(escape=escape, lookup=lookup)
    for text in split_words(instruction.rest, escape):
        name, sign, value = text.partition("=")
        name = lexer.word(name)
        if not name:
            raise instruction.refused(f"contains {text!r}, which has no argument name")
        found.append((name, lexer.word(value) if sign else None))
    return found


def _stage(
    start: Instruction,
    instructions: tuple[Instruction, ...],
    before: list[Stage],
    escape: str,
    lookup: Lookup,
    architecture: Architecture,
) -> Stage:
    words = listed(start)
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].lower() != "as"):
        raise start.refused("must have the form FROM [--platform=PLATFORM] IMAGE [AS NAME]")
    used: list[str] = []

    def noted(name: str) -> str | None:
        used.append(name)
        return lookup(name)

    lexer = Lexer(escape=escape, lookup=noted)
    refusal = ""
    for flag, value in start.flags:
        platform = lexer.word(value)
        if flag != "platform" or platform.lower() not in _platforms(architecture):
            refusal = f"has --{flag}={value}; this image is built for {architecture.platform} only"
            other = next((one for one in ARCHITECTURES if platform.lower() in _platforms(one)), None)
            if flag == "platform" and other:
                refusal += f" (the image's 'platform' can be \"{other.subdir}\")"
    name = words[2].lower() if len(words) == 3 else ""
    image = lexer.word(words[0])
    number = len(before)
    parent = next((stage.number for stage in reversed(before) if stage.name and stage.name == image.lower()), None)
    if not image:
        raise start.refused(f"starts from {words[0]!r}, which is empty; set the argument before the first FROM")
    if parent is None and image == "scratch":
        refusal = refusal or _SCRATCH
    return Stage(
        number=number,
        name=name,
        start=start,
        instructions=instructions,
        base="" if parent is not None else image,
        parent=parent,
        arguments=tuple(dict.fromkeys(used)),
        refusal=refusal,
    )
