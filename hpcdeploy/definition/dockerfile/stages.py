"""The stages of a Dockerfile: which there are, on what each is built, and which a target needs."""

from collections.abc import Mapping
from dataclasses import dataclass

from hpcdeploy.definition.dockerfile.parsing import Dockerfile, Instruction, listed
from hpcdeploy.definition.dockerfile.words import Lexer, Lookup, split_words
from hpcdeploy.errors import DefinitionError

PLATFORM = "linux/amd64"
_PLATFORMS = frozenset({PLATFORM, "linux/x86_64", "linux/amd64/v1", "amd64"})
AUTOMATIC: Mapping[str, str] = {
    **{f"{side}{name}": value for side in ("TARGET", "BUILD") for name, value in (("OS", "linux"), ("ARCH", "amd64"))},
    **{f"{side}{name}": value for side in ("TARGET", "BUILD") for name, value in (("PLATFORM", PLATFORM), ("VARIANT", ""))},
}
"""Arguments that BuildKit gives by itself, where a stage declares them."""

_SCRATCH = (
    "starts from 'scratch': the image has no /bin/sh, which %post, %test and every job need; "
    'start from a small image, such as busybox, or build the stage that this one copies from (target = "NAME")'
)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage: its place in the file, its name (empty for none), what it starts from, its instructions after ``FROM``.

    ``base`` is an image's reference, or empty where ``parent`` is the number of the stage that it goes on from.
    ``arguments`` are the names of those from before the first ``FROM`` that the reference was made with. ``refusal`` is the
    reason why it cannot be made here, empty where it can: a stage that no target needs may be as it likes.
    """

    number: int
    name: str
    start: Instruction
    instructions: tuple[Instruction, ...]
    base: str = ""
    parent: int | None = None
    arguments: tuple[str, ...] = ()
    refusal: str = ""


@dataclass(frozen=True, kw_only=True)
class Stages:
    """All stages in order, and the arguments from before the first: their values (None: no value)."""

    stages: tuple[Stage, ...]
    arguments: Mapping[str, str | None]

    def find(self, name: str, before: int) -> Stage | None:
        """Return the stage that ``--from=NAME`` means in stage `before`: by name, any case, or by number."""
        for stage in reversed(self.stages[:before]):
            if stage.name and stage.name == name.lower():
                return stage
        if name.isdecimal() and int(name) < before:
            return self.stages[int(name)]
        return None

    def names(self, before: int) -> str:
        """Return the names of the stages before `before`, for people."""
        return ", ".join(stage.name or str(stage.number) for stage in self.stages[:before]) or "none"

    def target(self, name: str) -> Stage:
        """Return the stage to build; empty means the last one. `DefinitionError` where there is none of that name."""
        if not name:
            return self.stages[-1]
        found = self.find(name, len(self.stages))
        if not found:
            named = ", ".join(stage.name for stage in self.stages if stage.name)
            raise DefinitionError(f"there is no stage {name!r} to build; named stages are: {named or 'none'}")
        return found

    def line_of(self, stage: Stage) -> tuple[Stage, ...]:
        """Return the stages that `stage` goes on from, the first one first, and itself."""
        line = [stage]
        while line[-1].parent is not None:
            line.append(self.stages[line[-1].parent])
        return tuple(reversed(line))


def read_stages(dockerfile: Dockerfile, given: Mapping[str, str], target: str) -> Stages:
    """Split a Dockerfile into its stages; `DefinitionError` for what Docker or Apptainer has no stage for."""
    arguments: dict[str, str | None] = {}
    automatic = {**AUTOMATIC, "TARGETSTAGE": target or "default"}

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
        raise DefinitionError("the Dockerfile has no FROM, so it makes no image")
    stages: list[Stage] = []
    for start, instructions in heads:
        stages.append(_stage(start, tuple(instructions), stages, dockerfile.escape, lookup))
    return Stages(stages=tuple(stages), arguments=arguments)


def argument_words(instruction: Instruction, escape: str, lookup: Lookup) -> list[tuple[str, str | None]]:
    """Read ``ARG NAME[=VALUE] ...``; all values are read with the variables from before the instruction."""
    found: list[tuple[str, str | None]] = []
    lexer = Lexer(escape=escape, lookup=lookup)
    for text in split_words(instruction.rest, escape):
        name, sign, value = text.partition("=")
        name = lexer.word(name)
        if not name:
            raise instruction.refused(f"holds {text!r}, which names no argument")
        found.append((name, lexer.word(value) if sign else None))
    return found


def _stage(
    start: Instruction, instructions: tuple[Instruction, ...], before: list[Stage], escape: str, lookup: Lookup
) -> Stage:
    words = listed(start)
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].lower() != "as"):
        raise start.refused("needs the form FROM [--platform=PLATFORM] IMAGE [AS NAME]")
    used: list[str] = []

    def noted(name: str) -> str | None:
        used.append(name)
        return lookup(name)

    lexer = Lexer(escape=escape, lookup=noted)
    refusal = ""
    for flag, value in start.flags:
        platform = lexer.word(value)
        if flag != "platform" or platform.lower() not in _PLATFORMS:
            refusal = f"has --{flag}={value}; images are built for {PLATFORM} only"
    name = words[2].lower() if len(words) == 3 else ""
    image = lexer.word(words[0])
    number = len(before)
    parent = next((stage.number for stage in reversed(before) if stage.name and stage.name == image.lower()), None)
    if not image:
        raise start.refused(f"starts from {words[0]!r}, which is empty; give the argument a value before the first FROM")
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
