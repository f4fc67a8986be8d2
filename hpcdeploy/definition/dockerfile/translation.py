"""Translate the stages of a Dockerfile into stages of a definition, and instructions into shell lines of ``%post``.

Apptainer copies all files before ``%post``, and ``%post`` has no ENV, WORKDIR or ARG. So each stage first copies its files
into a staging folder. Then ``%post`` executes the instructions in order, each RUN in its own shell.
Sources of Docker's behaviour: the Dockerfile reference, and BuildKit's ``frontend/dockerfile/dockerfile2llb/convert.go``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hpcdeploy.architecture import AMD64, Architecture
from hpcdeploy.definition.dockerfile.context import Context
from hpcdeploy.definition.dockerfile.copying import Taken
from hpcdeploy.definition.dockerfile.parsing import Dockerfile, Instruction
from hpcdeploy.definition.dockerfile.running import StageState
from hpcdeploy.definition.dockerfile.stages import Plan, PlannedStage, Stage, Stages, read_stages
from hpcdeploy.errors import ConfigError, DefinitionError, HpcdeployError
from hpcdeploy.source import ImageConfigOf, OciConfig

_BARE = re.compile(r"[^/:@.]+")
"""An image name that might also be a named context: no registry, folder, tag or digest."""


@dataclass
class Translator:
    """State of one translation. Each stage is planned once, when another stage first needs it.

    Attributes:
        stages: The stages of the Dockerfile.
        escape: The escape character of the Dockerfile.
        context: The files that COPY and ADD can read.
        given: The build arguments of this build.
        image_config: Returns the configuration of an image.
        planned: The planned stages by key. The key of a stage of the Dockerfile is its number. The key of an image that is
            only a source of copies is ``image REFERENCE``.
        names: The names of the definition's stages so far; each is its own value.
        notes: Notes for the user.
        known: The names of the arguments that the instructions declare or use; the values are empty.
    """

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
        """Plan a stage after all stages that it copies from.

        Raises:
            DefinitionError: An instruction cannot be translated.
            HpcdeployError: The configuration of an image cannot be read.
        """
        ancestry = self.stages.ancestry_of(stage)
        for one in ancestry:
            if one.refusal:
                raise one.start.refused(one.refusal)
        config = self._config(ancestry[0])
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
        for one in ancestry:
            state.enter(one)
            for instruction in one.instructions:
                state.do(instruction)
        taken = [(self._origin(number, item), item) for number, item in state.taken]
        return state.finished(self._name(stage), self._pinned(ancestry[0].base, config), taken)

    def _origin(self, number: int, taken: Taken) -> str:
        """Return the name of the definition's stage for ``--from`` in stage `number`; plan that stage if it is new."""
        origin = taken.origin
        stage = self.stages.find(origin, number)
        key = str(stage.number) if stage else f"image {origin}"
        if key not in self.planned:
            if stage:
                self.planned[key] = self.plan(stage, final=False)
            else:
                config = self._image_config(taken.instruction, origin, f"copies from {origin}", number)
                name = self._unique(f"image-{len(self.planned)}")
                self.planned[key] = PlannedStage(name=name, base=self._pinned(origin, config))
        return self.planned[key].name

    def _config(self, stage: Stage) -> OciConfig:
        config = self._image_config(stage.start, stage.base, f"starts from {stage.base}", stage.number)
        if config.on_build:
            raise stage.start.refused(
                f"starts from {stage.base}, whose ONBUILD instructions Docker would run here ({config.on_build[0]}"
                f"{', ...' if len(config.on_build) > 1 else ''}); they are not translated: add them to this Dockerfile "
                "and start from that image's base"
            )
        return config

    def _image_config(self, instruction: Instruction, image: str, does: str, number: int) -> OciConfig:
        """Return the configuration of an image.

        If the image cannot be read, the error has the line number. If the image's name may also be the name of a named
        context, the error lists the possible meanings. A named context (``docker build --build-context NAME=...``) looks
        like an image of Docker Hub but is not one (Docker's documentation, "Build context", section on additional contexts).
        """
        try:
            return self.image_config(image)
        except HpcdeployError as error:
            message = f"line {instruction.line}: {instruction.name} {does}: {str(error).rstrip('.')}"
            if _BARE.fullmatch(image):
                message += (
                    f"; {image!r} is not an earlier stage either ({self.stages.names(number)}); if it is a named context "
                    "(docker build --build-context), copy its files into the build's context and COPY them from there"
                )
            # An invalid image address here is an error of the Dockerfile, not of a setting.
            raise (DefinitionError if isinstance(error, ConfigError) else type(error))(message) from error

    def _name(self, stage: Stage) -> str:
        return self._unique(stage.name or f"stage-{stage.number}")

    def _unique(self, name: str) -> str:
        while name in self.names:
            name += "-again"
        self.names[name] = name
        return name

    @staticmethod
    def _pinned(base: str, config: OciConfig) -> str:
        """Return `base` with the digest of the image whose configuration was read, so that the build uses the same image."""
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
    architecture: Architecture = AMD64,
) -> Plan:
    """Translate a Dockerfile. Stages that the target does not need are ignored, as in BuildKit.

    Args:
        dockerfile: The parsed file.
        context: The files that COPY and ADD can read.
        image_config: Returns the configuration of a base image. An error is raised again with the line number added.
        build_args: The build arguments of this build.
        target: The name of the stage to build; empty for the last one.
        architecture: The architecture of the image.

    Raises:
        DefinitionError: An instruction cannot be translated; the message has the line number and the reason.
        HpcdeployError: The configuration of an image cannot be read.
    """
    given = dict(build_args or {})
    stages = read_stages(dockerfile, given, target, architecture)
    translator = Translator(stages=stages, escape=dockerfile.escape, context=context, given=given, image_config=image_config)
    final = translator.plan(stages.target(target), final=True)
    planned = _set_given(tuple(translator.planned.values()), final)
    known = {**translator.known, **{name: value for stage in planned for name, value in stage.arguments}}
    return Plan(stages=planned, known=tuple(known.items()), notes=tuple(translator.notes))


def _set_given(others: tuple[PlannedStage, ...], final: PlannedStage) -> tuple[PlannedStage, ...]:
    """Put the stages in order, and set `PlannedStage.given` of each stage.

    The value is the paths that other stages copy from the stage and that the stage must gather (`Taken.gathered`).
    """
    ordered = [*others, final]
    for position, stage in enumerate(ordered):
        patterns = tuple(
            dict.fromkeys(
                taken.path for other in ordered for name, taken in other.taken if name == stage.name and taken.gathered
            )
        )
        ordered[position] = replace(stage, given=patterns)
    return tuple(ordered)
