"""Validate a finished definition by Apptainer's rules, before Apptainer builds it."""

from collections.abc import Mapping

from hpcdeploy.definition.bootstrap import check_bootstrap
from hpcdeploy.definition.grammar import Stage, read_definition, substitute
from hpcdeploy.errors import DefinitionError


def check_definition(text: str, build_args: Mapping[str, str] | None = None) -> tuple[Stage, ...]:
    """Return the stages of a definition with all templates replaced, as a build reads them.

    Raises:
        DefinitionError: Apptainer would reject the definition.
    """
    before = read_definition(text)
    if not before:
        raise DefinitionError("the definition is empty; it must begin with 'Bootstrap: docker' or similar")
    after = read_definition(substitute(text, build_args or {}))
    if [stage.header.get("stage") for stage in before] != [stage.header.get("stage") for stage in after]:
        raise DefinitionError(
            "the value of a build argument changes the definition's stages; remove the line breaks from it"
        )
    if any("bootstrap" not in stage.header for stage in after):
        raise DefinitionError(
            "the definition has lines before its first 'Bootstrap:', which must come first: move them below it"
        )
    for stage in after:
        check_bootstrap(stage.header)
    _check_copies(after)
    return after


def _check_copies(stages: tuple[Stage, ...]) -> None:
    """Check that ``%files from`` names an earlier stage, with the same capitals (``internal/pkg/build/build.go``)."""
    earlier: list[str] = []
    for stage in stages:
        for copies in stage.files:
            if copies.stage and copies.stage not in earlier:
                raise DefinitionError(
                    f"'%files {copies.words}' names no earlier stage (earlier stages: {', '.join(earlier) or 'none'}): use "
                    "the name of its 'Stage:' line with the same capitals; a number does not work"
                )
        earlier += [stage.header["stage"]] if stage.header.get("stage") else []
