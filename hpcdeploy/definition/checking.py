"""Reads a finished definition as Apptainer will, before Apptainer does."""

from collections.abc import Mapping

from hpcdeploy.definition.grammar import Stage, read_definition, substitute
from hpcdeploy.errors import DefinitionError


def check_definition(text: str, build_args: Mapping[str, str] | None = None) -> tuple[Stage, ...]:
    """Return the stages as a build will see them, templates replaced; `DefinitionError` where Apptainer would refuse."""
    before = read_definition(text)
    after = read_definition(substitute(text, build_args or {}))
    if [stage.header.get("stage") for stage in before] != [stage.header.get("stage") for stage in after] or not after:
        raise DefinitionError("a build argument's value changes the definition's stages; leave line breaks out of it")
    return after
