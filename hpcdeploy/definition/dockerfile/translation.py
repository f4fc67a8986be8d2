"""A Dockerfile's stages as those of a definition: every instruction becomes shell lines of ``%post``, in its own place.

Apptainer copies all files before ``%post`` and knows no ENV, WORKDIR or ARG there. So each stage stages what it copies in a
folder of its own, and one ``%post`` does what the instructions say, one after the other, each RUN in a shell of its own.
Source of what Docker does: the Dockerfile reference, and ``frontend/dockerfile/dockerfile2llb/convert.go`` of BuildKit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hpcdeploy.definition.dockerfile.context import Context
from hpcdeploy.definition.dockerfile.copying import Taken
from hpcdeploy.definition.dockerfile.parsing import Dockerfile, Instruction
from hpcdeploy.definition.dockerfile.running import StageState
from hpcdeploy.definition.dockerfile.stages import Stage, Stages, read_stages
from hpcdeploy.definition.dockerfile.values import Plan, PlannedStage
from hpcdeploy.errors import ConfigError, DefinitionError, HpcdeployError
from hpcdeploy.source import ImageConfigOf, OciConfig

_BARE = re.compile(r"[^/:@.]+")
"""An image's name that may be a named context just as well: no registry, no folder, no tag, no digest."""


@dataclass
class Translator:
    """One translation: stages are planned in the order in which they are needed, each once."""

    stages: Stages
    escape: str
    context: Context
    given: Mapping[str, str]
    image_config: ImageConfigOf
    planned: dict[str, PlannedStage] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)

    def plan(self, stage: Stage, *, final: bool) -> PlannedStage:
        """Plan a stage after all those that it takes something from."""
        line = self.stages.line_of(stage)
        for one in line:
            if one.refusal:
                raise one.start.refused(one.refusal)
        config = self._config(line[0])
        state = StageState(
            stages=self.stages,
            escape=self.escape,
            context=self.context,
            given=self.given,
            base=config,
            notes=self.notes,
            known=self.known,
            final=final,
        )
        for one in line:
            state.enter(one)
            for instruction in one.instructions:
                state.do(instruction)
        taken = [(self._origin(number, item), item) for number, item in state.taken]
        return state.finished(self._name(stage), self._pinned(line[0].base, config), taken)

    def _origin(self, number: int, taken: Taken) -> str:
        """Return the name of the definition's stage that ``--from`` means, planning it where it is new."""
        origin = taken.origin
        stage = self.stages.find(origin, number)
        key = str(stage.number) if stage else f"image {origin}"
        if key not in self.planned:
            if stage:
                self.planned[key] = self.plan(stage, final=False)
            else:
                config = self._asked(taken.instruction, origin, f"takes from {origin}", number)
                name = self._unique(f"image-{len(self.planned)}")
                self.planned[key] = PlannedStage(name=name, base=self._pinned(origin, config))
        return self.planned[key].name

    def _config(self, stage: Stage) -> OciConfig:
        config = self._asked(stage.start, stage.base, f"starts from {stage.base}", stage.number)
        if config.on_build:
            raise stage.start.refused(
                f"starts from {stage.base}, whose ONBUILD instructions Docker would run here ({config.on_build[0]}"
                f"{', ...' if len(config.on_build) > 1 else ''}); they are not translated: write them into this Dockerfile "
                "and start from the image under it"
            )
        return config

    def _asked(self, instruction: Instruction, image: str, does: str, number: int) -> OciConfig:
        """Ask what an image says of itself; an error names the line, and what else a bare name may have meant.

        A named context (``docker build --build-context NAME=...``) looks like an image of Docker Hub and is none: Docker's
        documentation, "Build context", section on additional contexts.
        """
        try:
            return self.image_config(image)
        except HpcdeployError as error:
            said = f"line {instruction.line}: {instruction.name} {does}: {str(error).rstrip('.')}"
            if _BARE.fullmatch(image):
                said += (
                    f"; {image!r} is no stage before it either ({self.stages.names(number)}); if it is a named context "
                    "(docker build --build-context), copy its files into the build's context and COPY them from there"
                )
            # What is no image's address at all is the Dockerfile's fault, not that of a setting.
            raise (DefinitionError if isinstance(error, ConfigError) else type(error))(said) from error

    def _name(self, stage: Stage) -> str:
        return self._unique(stage.name or f"stage-{stage.number}")

    def _unique(self, name: str) -> str:
        while name in self.names:
            name += "-again"
        self.names[name] = name
        return name

    @staticmethod
    def _pinned(base: str, config: OciConfig) -> str:
        """Return the reference with the digest that was asked about: what was known of it is what is built on."""
        if not config.digest:
            return base
        repository = base.partition("@")[0]
        head, slash, last = repository.rpartition("/")
        return f"{head}{slash}{last.partition(':')[0]}@{config.digest}"


def translate(
    dockerfile: Dockerfile,
    *,
    context: Context,
    image_config: ImageConfigOf,
    build_args: Mapping[str, str] | None = None,
    target: str = "",
) -> Plan:
    """Translate a Dockerfile; `DefinitionError`, with the line and the reason, where one of its instructions cannot be.

    `build_args` are those given for this build. `image_config` tells what each base image says of itself; what it raises
    goes through. Stages that the target does not need are not looked at, as in BuildKit.
    """
    given = dict(build_args or {})
    stages = read_stages(dockerfile, given, target)
    translator = Translator(stages=stages, escape=dockerfile.escape, context=context, given=given, image_config=image_config)
    final = translator.plan(stages.target(target), final=True)
    planned = _give(tuple(translator.planned.values()), final)
    known = {**translator.known, **{name: value for stage in planned for name, value in stage.arguments}}
    return Plan(stages=planned, known=tuple(known.items()), notes=tuple(translator.notes))


def _give(others: tuple[PlannedStage, ...], final: PlannedStage) -> tuple[PlannedStage, ...]:
    """Put the stages in order, and add what wildcards take to the end of the stages that they take it from."""
    whole = [*others, final]
    for position, stage in enumerate(whole):
        patterns = tuple(
            dict.fromkeys(
                taken.path for other in whole for name, taken in other.taken if name == stage.name and taken.gathered
            )
        )
        whole[position] = replace(stage, given=patterns)
    return tuple(whole)
