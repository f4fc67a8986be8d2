"""Parse TOML into dictionaries, for every TOML file.

Pixi reads TOML 1.1 since version 0.73, with multi-line inline tables and trailing commas (prefix-dev/pixi, CHANGELOG,
0.73.0); Python's ``tomllib`` only supports 1.0. So tomli is used, which supports 1.1 (seen with 2.5.0).
"""

import re
from collections.abc import Callable


class TomlError(ValueError):
    """The text is not TOML. ``line`` and ``column`` start at 1, and are 0 if unknown."""

    def __init__(self, reason: str, line: int = 0, column: int = 0) -> None:
        place = f" (at line {line}, column {column})" if line else ""
        super().__init__(f"{reason}{place}")
        self.reason, self.line, self.column = reason, line, column


class UnusableTomlError(ValueError):
    """The text may be TOML, but exceeds a limit of Python: digits of an integer, or depth of nesting."""


def load_toml(text: str, *, parse_float: Callable[[str], object] = float) -> dict[str, object]:
    """Return the tables of TOML 1.1 text; `parse_float` converts each number with a point or an exponent.

    Raises:
        TomlError: The text is not TOML.
        UnusableTomlError: It exceeds one of Python's limits.
    """
    import tomli

    try:
        return tomli.loads(text, parse_float=parse_float)
    except tomli.TOMLDecodeError as error:
        match = re.fullmatch(r"(.*?)(?: \(at (?:line ([0-9]+), column ([0-9]+)|end of document)\))?", str(error), re.DOTALL)
        assert match is not None
        end = (text.count("\n") + 1, len(text) - text.rfind("\n"))
        line, column = (int(match[2]), int(match[3])) if match[2] else end
        raise TomlError(match[1], line, column) from error
    except (ValueError, RecursionError) as error:
        raise UnusableTomlError(str(error)) from error
