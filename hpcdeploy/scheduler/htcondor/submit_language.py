"""Lines of a submit description: commands and their values (condor_submit(1))."""

from collections.abc import Iterable

from hpcdeploy.errors import ConfigError

Command = tuple[str, str]
"""A line of a submit description: the word left of ``=`` and the value right of it."""


def lines(chosen: Iterable[Command]) -> str:
    """Write submit commands as the lines of a submit description."""
    return "\n".join(f"{name} = {value}" for name, value in chosen)


def one_line(name: str, value: str) -> str:
    """Return `value` as it stands; raises `ConfigError` where it would end the line of the command `name`."""
    if any(sign in value for sign in "\n\r\0"):
        raise ConfigError(
            f"{name} = {value!r} cannot be written in a submit description: it contains a line break; remove it"
        )
    return value
