"""Reads a finished definition as Apptainer will, before Apptainer does."""

from collections.abc import Mapping

from hpcdeploy.definition.grammar import Stage, read_definition, substitute
from hpcdeploy.errors import DefinitionError

_WITH_BASE = frozenset({"docker", "library", "oras", "shub", "localimage", "oci", "oci-archive", "docker-archive"})


def check_definition(text: str, build_args: Mapping[str, str] | None = None) -> tuple[Stage, ...]:
    """Return the stages as a build will see them, templates replaced; `DefinitionError` where Apptainer would refuse."""
    before = read_definition(text)
    if not before:
        raise DefinitionError("the definition is empty; it begins with a line 'Bootstrap: docker' or another agent's")
    after = read_definition(substitute(text, build_args or {}))
    if [stage.header.get("stage") for stage in before] != [stage.header.get("stage") for stage in after]:
        raise DefinitionError("a build argument's value changes the definition's stages; leave line breaks out of it")
    if any("bootstrap" not in stage.header for stage in after):
        raise DefinitionError(
            "the definition has lines before its first 'Bootstrap:', which must come first: move them down"
        )
    _check_bases(after)
    _check_copies(after)
    return after


def _check_bases(stages: tuple[Stage, ...]) -> None:
    """Refuse what Apptainer 1.4.5 stops at: an agent with capitals ("invalid build source Docker"), and no ``From``."""
    for stage in stages:
        agent = stage.header["bootstrap"]
        if agent != agent.lower():
            raise DefinitionError(f"'Bootstrap: {agent}' is no agent that Apptainer knows; write {agent.lower()!r}")
        if agent in _WITH_BASE and not stage.header.get("from"):
            raise DefinitionError(f"a stage has 'Bootstrap: {agent}' and no 'From:' that names its base; add one")


def _check_copies(stages: tuple[Stage, ...]) -> None:
    """Refuse ``%files from`` a stage that is not an earlier one, spelled just so (``internal/pkg/build/build.go``)."""
    earlier: list[str] = []
    for stage in stages:
        for copies in stage.files:
            words = copies.words.split()
            if words[:1] == ["from"] and words[1:2] != [] and words[1] not in earlier:
                raise DefinitionError(
                    f"'%files {copies.words}' names no earlier stage (there is {', '.join(earlier) or 'none'}): a stage is "
                    "known by its 'Stage:' line, capitals count, and a number is no name"
                )
        earlier += [stage.header["stage"]] if stage.header.get("stage") else []
