"""Derive the options of ``render``, ``submit`` and ``rerun`` from the declaration of a job's settings."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from hpcdeploy.cli import completion
from hpcdeploy.cli.paths import absolute, image, source_of
from hpcdeploy.config.sweeps import parse_values
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import SETTINGS
from hpcdeploy.job_field import Form, Option, Setting

_TYPES: Mapping[Form, Any] = {
    "text": str,
    "number": int,
    "flag": bool,
    "list": list[str],
    "pairs": list[str],
    "options": list[str],
    "sweep": list[str],
    "sweep file": str,
    "image": str,
    "folder": str,
    "sources": list[str],
    "off": bool,
}

NOT_GIVEN: tuple[object, ...] = (None, [], {}, ())
"""Values that mean that an option was not given."""

_COMPLETERS = {"image": completion.images, "after": completion.runs}
"""Functions that complete the values of options, by the key that the option sets."""

_SCHEDULERS = {"slurm": "Slurm", "htcondor": "HTCondor"}


def _parameter(setting: Setting, option: Option) -> inspect.Parameter:
    only = f" ({_SCHEDULERS[setting.only]})" if setting.only else ""
    described = typer.Option(
        *option.names.split(),
        help=f"{option.help.removesuffix('.')}{only}.",
        show_default=False,
        rich_help_panel="Job",
        autocompletion=_completion(option.completions) if option.completions else _COMPLETERS.get(setting.key),
    )
    kind: Any = _TYPES[option.form]
    annotation: Any = Annotated[kind | None, described]
    return inspect.Parameter(option.parameter, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _completion(words: Sequence[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


_PARAMETERS = tuple(_parameter(setting, option) for setting in SETTINGS for option in setting.options)


def takes_job_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Replace ``**options`` in the signature of a command's function by one keyword parameter for each option of a job.

    typer derives the command line from the signature.
    """
    own = list(inspect.signature(verb).parameters.values())[:-1]
    verb.__signature__ = inspect.Signature([*own, *_PARAMETERS])  # type: ignore[attr-defined]  # PEP 362
    verb.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *_PARAMETERS)}
    return verb


def as_settings(options: Mapping[str, Any], command: Sequence[str]) -> dict[str, object]:
    """Convert parsed options to the values of a table ``[jobs.NAME]``.

    Args:
        options: The values that typer parsed, by the name of the parameter.
        command: The arguments after ``--``.

    Returns:
        The value of each key; None if no option sets the key.

    Raises:
        ConfigError: An option needs ``NAME=VALUE`` but its value has no ``=``, or two options set the same key.
    """
    given = {setting.key: _given(setting, options) for setting in SETTINGS if setting.options}
    return {**given, "command": list(command)}


def _given(setting: Setting, options: Mapping[str, Any]) -> object:
    """Return the value of `setting` from its options; None if none of these options was given."""
    values = {option: _converted(option, options[option.parameter]) for option in setting.options}
    used = {option: value for option, value in values.items() if value not in NOT_GIVEN}
    if len(used) > 1 and not all(isinstance(value, dict) for value in used.values()):
        names = " and ".join(option.names.split()[-1] for option in used)
        raise ConfigError(f"on the command line: {names} contradict each other; expected only one of them")
    if len(used) > 1:
        return {key: value for table in used.values() for key, value in table.items()}
    return next(iter(used.values()), None)


def _converted(option: Option, value: Any) -> Any:  # noqa: ANN401 - converts any value that typer parsed
    name = option.names.split()[-1]
    match option.form:
        case "pairs":
            return pairs(value, name)
        case "options":
            return _key_values(value)
        case "sweep":
            return _grid(value, name)
        case "sweep file":
            return {"file": absolute(value)} if value else None
        case "image":
            return image(value) if value else None
        case "folder":
            return absolute(value) if value else None
        case "sources":
            return [source_of(words) for words in value or ()]
        case "off":
            return False if value else None
        case "text" | "number" | "flag" | "list":
            return value


def joined(first: Mapping[str, object], later: Mapping[str, object]) -> dict[str, object]:
    """Merge the options of an old run (`first`) with options for a new run (`later`).

    Tables are merged by name, and binds are appended. For all other keys, the value in `later` replaces the value in
    `first`.
    """
    both = dict(first)
    for key, value in later.items():
        if value in NOT_GIVEN:
            continue
        before = both.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            both[key] = {**before, **value}
        elif key == "binds" and isinstance(before, list) and isinstance(value, list):
            both[key] = [*before, *value]
        else:
            both[key] = value
    return both


def _grid(given: list[str] | None, option: str) -> dict[str, object]:
    """Convert the arguments ``NAME=A,B,C`` to a table ``sweep``."""
    grid = {name: list(parse_values(values)) for name, values in pairs(given, option).items()}
    if given and len(grid) < len(given):
        raise ConfigError(f"on the command line: {option} has a parameter twice; expected all values in one NAME=A,B,C")
    return {"grid": grid} if grid else {}


def pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """Parse the values ``NAME=VALUE`` of an option; if a name occurs several times, its last value is used.

    Raises:
        ConfigError: A value has no ``=``.
    """
    pairs: dict[str, str] = {}
    for words in given or []:
        name, sign, value = words.partition("=")
        if not sign:
            raise ConfigError(f"on the command line: {option} {words!r} has no '='; expected NAME=VALUE")
        pairs[name] = value
    return pairs


def _key_values(given: list[str] | None) -> dict[str, str | bool]:
    """Parse the values ``KEY[=VALUE]`` of an option to a table.

    The value of a key without ``=`` is True, because an option of ``sbatch`` may have no value.
    """
    split = (words.partition("=") for words in given or [])
    return {key.removeprefix("--"): value if sign else True for key, sign, value in split}
