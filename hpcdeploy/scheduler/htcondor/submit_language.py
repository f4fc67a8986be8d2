"""Write the lines of a submit description: commands and their values (condor_submit(1))."""

from collections.abc import Iterable

from hpcdeploy.errors import ConfigError

Command = tuple[str, str]
"""A line of a submit description: the name to the left of ``=`` and the value to the right."""


def lines(chosen: Iterable[Command]) -> str:
    """Return submit commands as the lines of a submit description."""
    return "\n".join(f"{name} = {value}" for name, value in chosen)


def one_line(name: str, value: str) -> str:
    """Return `value` unchanged if it fits on the line of the command `name`.

    Raises:
        ConfigError: It contains a line break or a NUL.
    """
    if any(sign in value for sign in "\n\r\0"):
        raise ConfigError(
            f"{name} = {value!r} cannot be written in a submit description: it contains a line break; remove it"
        )
    return value
