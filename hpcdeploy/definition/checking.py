"""Reads a finished definition as Apptainer will, before Apptainer does."""

from collections.abc import Mapping

from hpcdeploy.definition.bootstrap import check_bootstrap
from hpcdeploy.definition.grammar import Stage, read_definition, substitute
from hpcdeploy.errors import DefinitionError


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
    for stage in after:
        check_bootstrap(stage.header)
    _check_copies(after)
    return after


def _check_copies(stages: tuple[Stage, ...]) -> None:
    """Refuse ``%files from`` a stage that is not an earlier one, spelled just so (``internal/pkg/build/build.go``)."""
    earlier: list[str] = []
    for stage in stages:
        for copies in stage.files:
            if copies.stage and copies.stage not in earlier:
                raise DefinitionError(
                    f"'%files {copies.words}' names no earlier stage (there is {', '.join(earlier) or 'none'}): a stage is "
                    "known by its 'Stage:' line, capitals count, and a number is no name"
                )
        earlier += [stage.header["stage"]] if stage.header.get("stage") else []
